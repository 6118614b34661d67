//! When a schedule fires: the five fields of cron by the clock of a time zone. Pure.
//!
//! The fields are read and followed by `cronexpr` as times of a clock that never jumps, and each is then looked up in the time
//! zone. So what falls into the hour that a clock leaves out comes an hour later, and what falls into the hour that it has twice comes
//! once, the first time: a nightly backup is made every night.

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions, parse_crontab_with};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use thiserror::Error;

/// The least time between two times of a schedule.
pub const LEAST_PERIOD: SignedDuration = SignedDuration::from_mins(10);

/// No clock is changed by more.
const LONGEST_JUMP: SignedDuration = SignedDuration::from_hours(3);

/// A schedule that fires at some time.
#[derive(Clone, Debug)]
pub struct Schedule {
    crontab: Crontab,
    zone: TimeZone,
}

/// Why there is no such schedule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// It has more or fewer fields.
    #[error("cron {cron:?} has {fields} fields and not five: minute, hour, day of month, month, day of week")]
    Fields {
        /// As it was written.
        cron: String,
        /// How many it has.
        fields: usize,
    },
    /// A field says nothing that cron knows.
    #[error("cron {cron:?}: {why}")]
    Field {
        /// As it was written.
        cron: String,
        /// What is wrong.
        why: String,
    },
    /// The IANA database has no such time zone.
    #[error("there is no time zone {0:?}; its name is one of the IANA database, such as Europe/Berlin or UTC")]
    Zone(String),
    /// No day is like that.
    #[error("cron {0:?} fires on no day of the next four years")]
    Never(String),
    /// It fires again before ten minutes are over.
    #[error("cron {0:?} fires more often than every 10 minutes")]
    TooOften(String),
}

impl Schedule {
    /// The time zone of a schedule that names none.
    pub const DEFAULT_ZONE: &str = "UTC";

    /// The schedule of these five fields, in this time zone.
    pub fn new(cron: &str, zone: &str) -> Result<Self, ScheduleError> {
        let fields: Vec<_> = cron.split_ascii_whitespace().collect();
        let [minutes, hours, _, _, _] = fields[..] else {
            return Err(ScheduleError::Fields { cron: cron.to_owned(), fields: fields.len() });
        };
        let field = |why| ScheduleError::Field { cron: cron.to_owned(), why };
        if let Some(word) = fields.iter().find(|field| !is_plain(field)) {
            return Err(field(format!("{word:?} is no number, name, list, range or step")));
        }
        let crontab = parse(cron).map_err(field)?;
        if crontab.find_next(MakeTimestamp(Timestamp::UNIX_EPOCH)).is_err() {
            return Err(ScheduleError::Never(cron.to_owned()));
        }
        // If it fired every day: most do not fire too often even then, and need no look at a year.
        let every_day = parse(&format!("{minutes} {hours} * * *")).map_err(field)?;
        if is_too_often(&every_day, 1) && is_too_often(&crontab, 366) {
            return Err(ScheduleError::TooOften(cron.to_owned()));
        }
        let zone = TimeZone::get(zone).map_err(|_| ScheduleError::Zone(zone.to_owned()))?;
        Ok(Self { crontab, zone })
    }

    /// The first time after this one; none if it is more than four years away, as one 29 February in a hundred years is.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        // What a clock leaves out comes later than what it shows then, so the order of the two is not that of the times.
        let begin = self.zone.to_datetime(after.checked_sub(LONGEST_JUMP).ok()?);
        let mut clock = TimeZone::UTC.to_timestamp(begin).ok()?;
        let mut found: Option<(Timestamp, Timestamp)> = None;
        while let Ok(next) = self.crontab.find_next(MakeTimestamp(clock)) {
            clock = next.timestamp();
            if found.is_some_and(|(first, _)| clock.duration_since(first) > LONGEST_JUMP) {
                break;
            }
            let fires = self.zone.to_ambiguous_timestamp(TimeZone::UTC.to_datetime(clock)).compatible().ok()?;
            if fires > after {
                found = Some(found.map_or((clock, fires), |(first, best)| (first, best.min(fires))));
            }
        }
        found.map(|(_, fires)| fires)
    }
}

/// The fields as `cronexpr` reads them, or what is wrong with one.
fn parse(cron: &str) -> Result<Crontab, String> {
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    parse_crontab_with(cron, options).map_err(|error| {
        // The lines before show the text and where in it.
        let text = error.to_string();
        text.rsplit_once("^ ").map_or(text.as_str(), |(_, why)| why).to_owned()
    })
}

/// Whether two times, of so many days after the first one, are too close by a clock that never jumps.
fn is_too_often(crontab: &Crontab, days: i64) -> bool {
    let next = |after| crontab.find_next(MakeTimestamp(after)).map(|found| found.timestamp());
    let Ok(first) = next(Timestamp::UNIX_EPOCH) else { return false };
    let mut before = first;
    while let Ok(fires) = next(before)
        && fires.duration_since(first) <= SignedDuration::from_hours(24 * days)
    {
        if fires.duration_since(before) < LEAST_PERIOD {
            return true;
        }
        before = fires;
    }
    false
}

/// Whether a field has nothing but what every cron knows. The words of others (`L`, `W`, `#`) are refused: by `cronexpr` 1.7 the last day
/// of a month never comes in December.
fn is_plain(field: &str) -> bool {
    field.split([',', '-', '/']).all(|part| {
        part == "*"
            || !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
            || part.len() == 3 && part.bytes().all(|byte| byte.is_ascii_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `check(cron, zone, after, the next times)`.
    fn check(cron: &str, zone: &str, after: &str, expected: &[&str]) {
        let schedule = Schedule::new(cron, zone).unwrap();
        let mut now: Timestamp = after.parse().unwrap();
        for expected in expected {
            now = schedule.next(now).unwrap();
            assert_eq!(now.to_string(), *expected, "{cron} {zone}");
        }
    }

    #[test]
    fn it_fires_by_the_clock_of_its_time_zone() {
        check("0 2 * * *", "UTC", "2026-01-31T02:00:00Z", &["2026-02-01T02:00:00Z", "2026-02-02T02:00:00Z"]);
        check("0 2 * * *", "UTC", "2026-01-31T01:59:59Z", &["2026-01-31T02:00:00Z"]);
        check("30 22 * * SUN", "America/New_York", "2026-01-01T00:00:00Z", &["2026-01-05T03:30:00Z"]);
        let twice = ["2026-02-28T17:30:00Z", "2026-02-28T17:50:00Z"];
        check("*/20 23 28 feb *", "Asia/Kolkata", "2026-02-01T00:00:00Z", &twice);
        check("0 0 31 * *", "UTC", "2026-11-01T00:00:00Z", &["2026-12-31T00:00:00Z", "2027-01-31T00:00:00Z"]);
        check("0 0 1,15 * MON", "UTC", "2026-06-01T00:00:00Z", &["2026-06-08T00:00:00Z", "2026-06-15T00:00:00Z"]);
    }

    #[test]
    fn it_comes_once_in_the_nights_in_which_clocks_change() {
        let spring = ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"];
        check("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", &spring);
        let autumn = ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
        check("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z", &autumn);
        // From within the hour that comes again.
        check(
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-25T01:10:00Z",
            &["2026-10-25T02:00:00Z", "2026-10-25T02:30:00Z"],
        );
        let hourly = ["2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"];
        check("0 * * * *", "Europe/Berlin", "2026-03-28T23:00:00Z", &hourly);
        // What is left out comes after what is shown.
        let both = ["2026-03-29T01:05:00Z", "2026-03-29T01:45:00Z", "2026-03-30T00:45:00Z"];
        check("45 2 * * *", "Europe/Berlin", "2026-03-29T00:59:00Z", &both[1..]);
        check("5,45 2-3 29 3 *", "Europe/Berlin", "2026-03-29T00:59:00Z", &both[..2]);
        // A day of which midnight is left out.
        check(
            "0 0 * * *",
            "America/Santiago",
            "2026-09-05T12:00:00Z",
            &["2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"],
        );
    }

    #[test]
    fn a_leap_day_comes_when_there_is_one() {
        check("0 3 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T03:00:00Z", "2032-02-29T03:00:00Z"]);
    }

    /// `check_error(cron, zone, what is said)`.
    fn check_error(cron: &str, zone: &str, expected: &str) {
        assert_eq!(Schedule::new(cron, zone).unwrap_err().to_string(), expected);
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_reason() {
        let fields = "fields and not five: minute, hour, day of month, month, day of week";
        check_error("0 0 2 * * *", "UTC", &format!("cron \"0 0 2 * * *\" has 6 {fields}"));
        check_error("@daily", "UTC", &format!("cron \"@daily\" has 1 {fields}"));
        check_error("", "UTC", &format!("cron \"\" has 0 {fields}"));
        check_error("61 2 * * *", "UTC", "cron \"61 2 * * *\": value must be in range 0..=59; found 61");
        check_error("0 2 * * foo", "UTC", "cron \"0 2 * * foo\": malformed expression");
        for word in ["x", "L", "5L", "5#2", "15W", "1,", "-", "1//2", "*2"] {
            let cron = format!("0 2 * * {word}");
            let why = format!("{word:?} is no number, name, list, range or step");
            check_error(&cron, "UTC", &format!("cron {cron:?}: {why}"));
        }
        let zone = "its name is one of the IANA database, such as Europe/Berlin or UTC";
        check_error("0 2 * * *", "Europe/Atlantis", &format!("there is no time zone \"Europe/Atlantis\"; {zone}"));
        check_error("0 2 * * *", "", &format!("there is no time zone \"\"; {zone}"));
        check_error("0 0 30 2 *", "UTC", "cron \"0 0 30 2 *\" fires on no day of the next four years");
        check_error("* * * * *", "UTC", "cron \"* * * * *\" fires more often than every 10 minutes");
        check_error("0,5 2 * * 1", "UTC", "cron \"0,5 2 * * 1\" fires more often than every 10 minutes");
        // Five minutes from one day to the next.
        let ends = "0,55 0,23 * * fri,mon,tue";
        check_error(ends, "UTC", &format!("cron {ends:?} fires more often than every 10 minutes"));
        let ends = "0,55 0,23 1,31 * *";
        check_error(ends, "UTC", &format!("cron {ends:?} fires more often than every 10 minutes"));
        assert!(Schedule::new("0,55 0,23 * * mon", "UTC").is_ok());
        check_error("*/7 * * * *", "UTC", "cron \"*/7 * * * *\" fires more often than every 10 minutes");
    }

    proptest! {
        #[test]
        fn the_next_time_is_later_and_there_is_none_between(
            minute in 0..60_u8, hour in 0..24_u8, zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Australia/Lord_Howe",
            "America/Santiago"]), after in 1_700_000_000_i64..1_900_000_000, part in 0.0..1.0_f64,
        ) {
            let schedule = Schedule::new(&format!("{minute} {hour} * * *"), zone).unwrap();
            let after = Timestamp::from_second(after).unwrap();
            let next = schedule.next(after).unwrap();
            prop_assert!(next > after && next.duration_since(after) <= SignedDuration::from_hours(49));
            let between = after + next.duration_since(after).mul_f64(part);
            prop_assume!(between < next);
            prop_assert_eq!(schedule.next(between), Some(next));
        }
    }
}
