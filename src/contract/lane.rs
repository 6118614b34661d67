//! What the functions tell of the lane: which operator holds it, which other one wants it, and whether the database is
//! the one that it was. Pure.

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

/// The installation of the management functions in a database.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Installation {
    /// Given once, when the registry was first installed; it says which database this is.
    pub installation_id: Uuid,
    /// The operator release whose functions are installed.
    pub functions_version: String,
    /// The number of the contract between operator and functions.
    pub contract: i32,
    /// SHA-256 of the installed files.
    pub checksum: String,
    /// False when a user changed a function by hand.
    pub fingerprint_matches: bool,
    /// UID of the kube-system namespace of the cluster that manages the database, if one does.
    pub cluster: Option<String>,
    /// The TenantDatabase that manages it.
    pub tenant_database: Option<String>,
    /// How often the lane was claimed.
    pub epoch: i64,
    /// When the holder said last that it is alive: nothing when it left in order, or is of a release that does not say so.
    #[serde(default)]
    pub heartbeat_at: Option<String>,
    /// For how many seconds no operator was heard of. Former functions do not tell.
    #[serde(default)]
    pub silent_for: Option<f64>,
}

/// The answer to taking a lane.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct LaneClaim {
    /// Which database this is.
    pub installation_id: Uuid,
    /// Counts the holders; an older one is refused from now on.
    pub epoch: i64,
    /// By what it is known that the database is, or may be, an older state of itself. Former functions do not tell.
    pub went_back: Option<String>,
    /// The state of the world. Former functions do not tell.
    #[serde(flatten)]
    pub beat: Option<Beat>,
}

/// What every answer to the holder tells of the world.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Beat {
    /// How many signs of life the registry has counted.
    pub beats: i64,
    /// When the server started, in microseconds since 1970.
    pub start: i64,
    /// The server's clock, in seconds since 1970.
    pub clock: f64,
    /// The other operator that wants the lane.
    pub contest: Option<Contest>,
    /// Until when nothing expires and nothing is purged.
    pub quiet: Option<Quiet>,
}

/// Two operators that want one database.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Contest {
    /// The one that is at work.
    pub holder: Party,
    /// The one that asks.
    pub contender: Party,
}

/// An operator, and where it is.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Party {
    /// The process.
    pub holder: Option<String>,
    /// UID of its cluster's kube-system namespace.
    pub cluster: Option<String>,
    /// Its TenantDatabase.
    pub tenant_database: Option<String>,
    /// Namespace and name of its Lease.
    pub lease: Option<String>,
    /// The address that it connected from.
    pub from: Option<String>,
}

/// A time in which nothing expires and nothing is purged.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Quiet {
    /// Until then.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
}

/// Backups that are past their time and wait for a person.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct HeldBackups {
    /// How many.
    pub count: i64,
    /// The moment that confirms all of them.
    pub confirm: Timestamp,
    /// True when too many expired within an hour.
    pub stopped: bool,
}
