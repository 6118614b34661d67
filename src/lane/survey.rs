//! What the latest survey found, kept so that a reconcile need not ask again.
//!
//! A tenant's row serves as its observation while nothing was applied to the tenant since a survey that began later. After
//! a restart one survey so stands for ten thousand single look-ups.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::time::Instant;

use crate::{
    contract::{Asked, TenantRow},
    kubernetes::id::Id,
};

/// The rows of one database's tenants, by the UID of their object.
#[derive(Debug, Default)]
pub struct SurveyBook {
    rows: HashMap<Id, Arc<TenantRow>>,
    /// When something was applied to a tenant whose row was not read again since.
    applied: HashMap<Id, Instant>,
    /// When a row came or went without a survey.
    touched: Option<Instant>,
    complete: bool,
}

impl SurveyBook {
    /// The row, if it is as good as asking the database now.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<Arc<TenantRow>> {
        self.known(Id::of_uid(uid))
    }

    fn known(&self, uid: Id) -> Option<Arc<TenantRow>> {
        if self.applied.contains_key(&uid) { None } else { self.rows.get(&uid).cloned() }
    }

    /// The rows that are as good as asking now, of tenants that belong to an object which should be there.
    #[must_use]
    pub fn living(&self) -> Vec<Arc<TenantRow>> {
        self.of_objects(false)
    }

    /// The same of tenants that were taken over and wait for their object.
    #[must_use]
    pub fn taken_over(&self) -> Vec<Arc<TenantRow>> {
        self.of_objects(true)
    }

    fn of_objects(&self, taken_over: bool) -> Vec<Arc<TenantRow>> {
        let lives = |row: &TenantRow| row.status.lives() && row.taken_over == taken_over;
        let rows = self.rows.iter().filter(|(uid, row)| !self.applied.contains_key(*uid) && lives(row));
        rows.map(|(_, row)| row.clone()).collect()
    }

    /// True once a survey of all tenants is booked.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// A survey was asked for and its answer lost: the next one must tell everything.
    pub fn doubt(&mut self) {
        self.complete = false;
    }

    /// Something was, or may have been, applied to the tenant: its row is not an observation any more.
    pub fn applied(&mut self, uid: &str, at: Instant) {
        self.applied.insert(Id::of_uid(uid), at);
        self.touched = self.touched.max(Some(at));
    }

    /// A single look-up that began after everything that was applied. It is kept unless something was applied since.
    pub fn observed(&mut self, row: &Arc<TenantRow>, begun: Instant) {
        if let Some(owner) = &row.owner {
            let uid = Id::of_uid(&owner.uid);
            if self.applied.get(&uid).is_none_or(|at| *at <= begun) {
                self.applied.remove(&uid);
                let mut row = row.clone();
                if row.measured.is_some() {
                    // What was measured besides is no part of what surveys tell, which it is compared with.
                    Arc::make_mut(&mut row).measured = None;
                }
                if self.rows.insert(uid, row).is_none() {
                    self.touched = Some(Instant::now());
                }
            }
        }
    }

    /// The tenant is gone.
    pub fn forget(&mut self, uid: &str) {
        self.rows.remove(&Id::of_uid(uid));
        self.applied.remove(&Id::of_uid(uid));
        self.touched = Some(Instant::now());
    }

    /// Whether a survey that began at `begun` and is booked counted as many rows as are known. A row that was removed by hand
    /// shows so at once, and not when its slice comes. What was touched meanwhile may be in the count or not, and a tenant
    /// to which something was applied may have ended.
    #[must_use]
    pub fn agrees_with(&self, owned: usize, begun: Instant) -> bool {
        let known = self.rows.keys().filter(|uid| !self.applied.contains_key(*uid)).count();
        self.touched.is_some_and(|at| at > begun) || (known..=known + self.applied.len()).contains(&owned)
    }

    /// Books a survey that began at `begun`, and returns the rows that are news: also those that were known and are not
    /// there any more, since their objects must look.
    pub fn book(&mut self, tenants: Vec<TenantRow>, begun: Instant, asked: Asked) -> Vec<Arc<TenantRow>> {
        let mut news = Vec::new();
        let mut seen = HashSet::new();
        // A tenant that another object has now is not the former object's any more.
        let mut owners = HashMap::new();
        for row in tenants {
            let Some(owner) = &row.owner else { continue };
            let uid = Id::of_uid(&owner.uid);
            seen.insert(uid);
            owners.insert(row.schema_id, uid);
            let known = self.known(uid);
            if self.applied.get(&uid).is_some_and(|at| *at > begun) {
                // No observation, but perhaps news: the object that is woken asks the database.
                news.push(Arc::new(row));
                continue;
            }
            self.applied.remove(&uid);
            if known.as_deref() != Some(&row) {
                let row = Arc::new(row);
                self.rows.insert(uid, row.clone());
                news.push(row);
            }
        }
        self.complete |= asked == Asked::All;
        // A row that was asked for and is not there is gone: the object that is woken asks the database and sees that.
        self.rows.retain(|uid, row| {
            let moved = owners.get(&row.schema_id).is_some_and(|owner| owner != uid);
            let stays = !moved && (!asked.covers(row.schema_id) || seen.contains(uid));
            if !stays {
                news.push(row.clone());
            }
            stays
        });
        news
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn row(uid: &str, bytes: i64) -> TenantRow {
        serde_json::from_value(json!({
            "schema_id": Uuid::from_u128(uid.bytes().map(u128::from).sum()), "institution_id": null, "schema_name": "s",
            "status": "active", "access": "ReadWrite", "taken_over": false,
            "owner": { "cluster": "c", "namespace": "n", "name": "t", "uid": uid },
            "config": {}, "quota_limit": null, "schema_exists": true, "drift": [], "storage_bytes": bytes,
            "table_count": 0, "usage_stale": false, "last_backup": null, "last_operation": null, "jobs": [], "recreations": 0,
        }))
        .unwrap()
    }

    #[test]
    fn a_survey_that_began_before_an_apply_is_no_observation() {
        let mut book = SurveyBook::default();
        let begun = Instant::now();
        book.applied("a", begun + Duration::from_secs(1));
        assert_eq!(book.book(vec![row("a", 1)], begun, Asked::All).len(), 1, "the tenant is woken to ask for itself");
        assert!(book.get("a").is_none());
        assert_eq!(book.book(vec![row("a", 1)], begun + Duration::from_secs(2), Asked::Slice(1)).len(), 1);
        assert!(book.get("a").is_some());
    }

    #[test]
    fn only_news_is_returned_and_what_is_gone_is_forgotten() {
        let mut book = SurveyBook::default();
        let begun = Instant::now();
        assert_eq!(book.book(vec![row("a", 1), row("b", 1)], begun, Asked::All).len(), 2);
        assert_eq!(book.book(vec![row("a", 1), row("b", 2)], begun, Asked::Slice(1)).len(), 1);
        book.book(vec![row("a", 1)], begun, Asked::Slice(1));
        assert!(book.get("b").is_some(), "its id is in slice 0");
        let news = book.book(vec![row("a", 1)], begun, Asked::Slice(0));
        assert!(book.get("b").is_none());
        assert_eq!(news, [Arc::new(row("b", 2))], "its object is woken");
        assert_eq!(book.book(Vec::new(), begun, Asked::All), [Arc::new(row("a", 1))]);
        assert!(book.get("a").is_none());
        assert!(book.book(Vec::new(), begun, Asked::All).is_empty(), "once");
    }

    #[test]
    fn a_tenant_that_another_object_has_now_is_that_of_the_one_before_no_more() {
        let mut book = SurveyBook::default();
        let begun = Instant::now();
        book.book(vec![row("old", 1)], begun, Asked::All);
        let mut moved = row("new", 1);
        moved.schema_id = row("old", 1).schema_id;
        let elsewhere = u8::from(Asked::Slice(0).covers(moved.schema_id));
        book.book(vec![moved], begun, Asked::Slice(elsewhere));
        assert!(book.get("old").is_none() && book.get("new").is_some());
        assert_eq!(book.living().len(), 1);
    }

    #[test]
    fn a_look_up_stands_until_something_is_applied() {
        let mut book = SurveyBook::default();
        let begun = Instant::now();
        book.observed(&Arc::new(row("a", 1)), begun);
        assert!(book.get("a").is_some());
        book.applied("a", begun + Duration::from_secs(1));
        assert!(book.get("a").is_none());
        book.observed(&Arc::new(row("a", 1)), begun);
        assert!(book.get("a").is_none(), "a look-up that began before the apply says nothing about it");
    }

    /// `check(rows that are known, of these applied to, counted, expected)` of a survey after which nothing was touched.
    fn check_count(known: &[&str], applied: &[&str], counted: usize, expected: bool) {
        let mut book = SurveyBook::default();
        let begun = Instant::now();
        book.book(known.iter().map(|uid| row(uid, 1)).collect(), begun, Asked::All);
        for uid in applied {
            book.applied(uid, begun);
        }
        assert_eq!(book.agrees_with(counted, begun), expected, "{known:?} {applied:?} {counted}");
        book.applied("c", begun + Duration::from_secs(1));
        assert!(book.agrees_with(counted, begun), "what is touched meanwhile may be in the count or not");
    }

    #[test]
    fn a_row_that_is_gone_shows_by_the_count() {
        check_count(&["a", "b"], &[], 2, true);
        check_count(&["a", "b"], &[], 1, false);
        check_count(&["a", "b"], &[], 3, false);
        // One may be new and not told yet, or at its end.
        check_count(&["a", "b"], &["b"], 1, true);
        check_count(&["a"], &["b"], 2, true);
        check_count(&["a", "b"], &["b"], 0, false);
    }
}
