//! Tenants that are alive and out of this operator's view. Each was asked for once, and is asked for again after longer
//! and longer times, so that a thousand of them cost next to nothing.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

/// When one is asked for again, at first and at most.
const FIRST: Duration = Duration::from_mins(1);
const LONGEST: Duration = Duration::from_hours(4);
/// How many are asked for again with one survey.
const AT_ONCE: usize = 50;

/// The tenants that are known to be alive, by UID.
#[derive(Default)]
pub struct Unseen(HashMap<String, Known>);

struct Known {
    ask_at: Instant,
    wait: Duration,
}

/// The tenants that a survey asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked<T> {
    /// Now.
    pub now: Vec<T>,
    /// Only if one is gone that was known to be alive: then others may be as well.
    pub later: Vec<T>,
}

impl Unseen {
    /// Sorts the missed tenants, and forgets those that are not missed any more.
    pub fn sort<T>(&mut self, missed: Vec<T>, uid: impl Fn(&T) -> &str, now: Instant) -> Asked<T> {
        let mut before = std::mem::take(&mut self.0);
        let mut asked = Asked { now: Vec::new(), later: Vec::new() };
        let mut again = 0;
        for one in missed {
            match before.remove_entry(uid(&one)) {
                None => asked.now.push(one),
                Some((uid, found)) => {
                    let due = found.ask_at <= now && again < AT_ONCE;
                    again += usize::from(due);
                    let part = if due { &mut asked.now } else { &mut asked.later };
                    part.push(one);
                    self.0.insert(uid, found);
                }
            }
        }
        asked
    }

    /// It is alive.
    pub fn is_alive(&mut self, uid: &str, now: Instant) {
        let wait = self.0.get(uid).map_or(FIRST, |known| (known.wait * 2).min(LONGEST));
        self.0.insert(uid.to_owned(), Known { ask_at: now + wait, wait });
    }

    /// It is gone; true when it was known to be alive.
    pub fn is_gone(&mut self, uid: &str) -> bool {
        self.0.remove(uid).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alive_is_asked_for_ever_more_rarely() {
        let mut unseen = Unseen::default();
        let start = Instant::now();
        let mut asked = Vec::new();
        for minute in 0..24 * 60 {
            let now = start + Duration::from_mins(minute);
            let sorted = unseen.sort(vec!["a"], |uid| uid, now);
            assert_eq!(sorted.now.len() + sorted.later.len(), 1);
            for uid in sorted.now {
                unseen.is_alive(uid, now);
                asked.push(minute);
            }
        }
        assert_eq!(asked, [0, 1, 3, 7, 15, 31, 63, 127, 255, 495, 735, 975, 1215]);
    }

    #[test]
    fn a_thousand_cost_no_more_than_a_few_a_survey() {
        let mut unseen = Unseen::default();
        let start = Instant::now();
        let all: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
        let at =
            |unseen: &mut Unseen, minute| unseen.sort(all.clone(), String::as_str, start + Duration::from_mins(minute));
        let first = at(&mut unseen, 0);
        assert_eq!((first.now.len(), first.later.len()), (1000, 0), "each is asked for once");
        first.now.iter().for_each(|uid| unseen.is_alive(uid, start));
        assert_eq!(at(&mut unseen, 0).now.len(), 0);
        let due = at(&mut unseen, 10);
        assert_eq!((due.now.len(), due.later.len()), (AT_ONCE, 1000 - AT_ONCE));
    }

    #[test]
    fn who_came_back_into_view_or_is_gone_is_forgotten() {
        let mut unseen = Unseen::default();
        let now = Instant::now();
        unseen.is_alive("a", now);
        unseen.is_alive("b", now);
        assert!(unseen.is_gone("b") && !unseen.is_gone("b") && !unseen.is_gone("c"));
        assert_eq!(unseen.sort(Vec::<&str>::new(), |uid| uid, now), Asked { now: vec![], later: vec![] });
        assert_eq!(unseen.sort(vec!["a"], |uid| uid, now).now, ["a"], "it was in view and left it again");
    }
}
