//! What operator and management functions say to each other: the wire contract between `sql/` and this crate. Pure.
//!
//! Each function returns one JSON document. Unknown fields are ignored, so that newer functions serve an older operator;
//! a missing field is an error, never a default that looks like an observation.

mod adoption;
mod archive;
mod backup;
mod call;
mod config;
mod credential;
mod database;
mod grant;
mod grave;
mod identity;
mod isolation;
mod job;
mod lane;
mod row_security;
mod step;
mod survey;
mod taken;
mod tenant;
mod words;

pub use adoption::{Adoption, AdoptionPlan, FormerOwner, KindCount, Outside};
pub use archive::{ArchiveUpload, BegunArchive, BegunRemoval, BegunScratch, LeftScratch, MadeArchive, Proof};
pub use backup::{BackupAnswer, BackupQuestion, BackupRow, RetentionRule, ScheduledBackup};
pub use call::{CallResult, CallStatus, may_pass};
pub use config::ConfigDigest;
pub use credential::{CredentialRow, LoginLimits, LoginToTry, NewCredential, SaltFound, Verifier};
pub use database::{DatabaseFacts, Missing};
pub use grant::{GrantRow, GrantTo, GrantWish, GrantWord};
pub use grave::{HeldUp, SetAside, Tombstone};
pub use identity::{Absence, Bearer, Claim, Fate, Owner};
pub use isolation::{Hole, HoleKind};
pub use job::{
    ClaimedJob, JobClass, JobKind, JobObject, JobRow, JobState, JobSubject, JobWaits, ObjectKind, SubjectKind,
};
pub use lane::{Beat, Contest, HeldBackups, Installation, LaneClaim, Party, Quiet};
pub use row_security::{RowSecurity, RowSecurityRow, RowSecurityState, Uncovered};
pub use step::{Brake, Call, Caller, ConfigChange, Purpose, Quota, Step, Withdrawal, document};
pub use survey::{Asked, ChangedBackup, InstitutionTable, LivePartDue, SurveyAnswer, Surveyed, ToBringBack};
pub use taken::{TakenRow, TakenWord};
pub use tenant::{
    Drift, ForeignTables, InstitutionSource, LargeObjects, LargeObjectsHow, LastBackup, LastOperation, Measured,
    SizeEstimate, TenantAnswer, TenantQuestion, TenantRow,
};
pub use words::{
    AccessCause, AccessWord, BackupState, InstitutionStatus, OperationStatus, OperationType, Refusal, RowStatus,
};
