//! Long work in the catalogue: what is asked for, what it waits for, what was claimed. Pure.

use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::{Refusal, words::words};

words! {
    /// What a job does. The database has the same list, in `sql/registry/70_schema_jobs.sql`.
    JobKind {
        /// Makes a copy of a tenant.
        Snapshot = "snapshot",
        /// Writes a dump of a tenant into an object store.
        Archive = "archive",
        /// Removes what was set aside or copied.
        Purge = "purge",
        /// Removes an archive, or what attempts at one left, from its object store.
        RemoveArchive = "remove_archive",
    }
}

/// What a job takes up while it runs: each class has places of its own, so that none waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobClass {
    /// Calls of a few seconds, one after the other, over the connections of all others.
    Short,
    /// One call that may last for hours, over a connection that nothing else uses.
    Long,
    /// A program outside of the database, which opens a connection of its own.
    Program,
}

impl JobKind {
    /// What its jobs take up; nothing is known of another release's.
    #[must_use]
    pub fn class(&self) -> Option<JobClass> {
        match self {
            Self::Snapshot => Some(JobClass::Long),
            Self::Purge | Self::RemoveArchive => Some(JobClass::Short),
            Self::Archive => Some(JobClass::Program),
            Self::Other(_) => None,
        }
    }
}

impl JobClass {
    /// Every class.
    pub const ALL: [Self; 3] = [Self::Short, Self::Long, Self::Program];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Long => "long",
            Self::Program => "program",
        }
    }
}

words! {
    /// How far a job is.
    JobState {
        /// It waits for its turn.
        Requested = "requested",
        /// An attempt is under way.
        Running = "running",
        /// It came to its end.
        Done = "done",
        /// It is not tried again.
        Failed = "failed",
        /// It was given up.
        Cancelled = "cancelled",
    }
}

/// What a job is about.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct JobSubject {
    /// In which table its row is.
    pub kind: SubjectKind,
    /// Its row.
    pub id: Uuid,
}

words! {
    /// The kind of thing that a job is about.
    SubjectKind {
        /// A backup in the catalogue.
        Backup = "backup",
        /// A tenant.
        Tenant = "tenant",
    }
}

impl fmt::Display for JobSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

/// A Kubernetes object that the end of a job concerns.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct JobObject {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its namespace; none when it has none.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its UID when it asked. For a user, an object that was applied again since is the same.
    pub uid: String,
}

words! {
    /// The kind of an object that waits for jobs.
    ObjectKind {
        /// A backup.
        SchemaBackup = "SchemaBackup",
        /// A tenant.
        TenantSchema = "TenantSchema",
    }
}

/// A job in the catalogue.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct JobRow {
    /// Its id.
    pub job_id: Uuid,
    /// What it does.
    pub kind: JobKind,
    /// How far it is.
    pub state: JobState,
    /// The backup that it makes or removes.
    pub backup_id: Option<Uuid>,
    /// Which try this is.
    #[serde(default)]
    pub attempt: i32,
    /// Why the latest try failed.
    #[serde(default)]
    pub error: Option<String>,
    /// What kind of thing a person has to do about that; none when it may pass by itself.
    #[serde(default)]
    pub reason: Option<Refusal>,
    /// What it waits for, if it is requested and something else has its place.
    #[serde(default)]
    pub waits: Option<JobWaits>,
}

/// What a requested snapshot waits for. It names no other tenant, since the user who asks may not know of them.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct JobWaits {
    /// The kind of the tenant's own job that is running, of which there is one at a time; none when only those of others are.
    pub own: Option<JobKind>,
    /// When the one that has been running longest began.
    pub since: Timestamp,
}

/// A job that was claimed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ClaimedJob {
    /// Its id.
    pub job_id: Uuid,
    /// What it does.
    pub kind: JobKind,
    /// What it is about; former functions do not tell.
    #[serde(default)]
    pub subject: Option<JobSubject>,
    /// The tenant that it works on, if it works on one.
    pub schema_id: Option<Uuid>,
    /// The tenant's schema.
    pub schema_name: Option<String>,
    /// The backup that it needs, if it needs one.
    pub backup_id: Option<Uuid>,
    /// Which try this is, from 1.
    pub attempt: i32,
    /// Tables, indexes and TOAST of the tenant, as the latest survey measured them.
    #[serde(default)]
    pub storage_bytes: Option<i64>,
    /// The objects that its end concerns; former functions do not tell.
    #[serde(default)]
    pub wake: Option<Vec<JobObject>>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_of_job_has_a_place_and_each_place_a_word() {
        assert_eq!(JobKind::Snapshot.class(), Some(JobClass::Long));
        assert_eq!(JobKind::Purge.class(), Some(JobClass::Short));
        assert_eq!(JobKind::Archive.class(), Some(JobClass::Program));
        assert_eq!(JobKind::RemoveArchive.class(), Some(JobClass::Short));
        assert_eq!(JobClass::ALL.map(JobClass::as_str), ["short", "long", "program"]);
    }

    #[test]
    fn the_words_of_a_newer_release_are_read() {
        let job: ClaimedJob = serde_json::from_value(json!({
            "job_id": Uuid::nil(), "kind": "verify", "subject": { "kind": "template", "id": Uuid::nil() }, "schema_id": null,
            "schema_name": null, "backup_id": null, "attempt": 1,
            "wake": [{ "kind": "SchemaTemplate", "namespace": null, "name": "t", "uid": "u" }],
        }))
        .unwrap();
        assert_eq!((job.kind.as_str(), job.kind.class()), ("verify", None));
        assert_eq!(job.subject.unwrap().to_string(), format!("template {}", Uuid::nil()));
        assert_eq!(job.wake.unwrap()[0].kind.as_str(), "SchemaTemplate");
    }
}
