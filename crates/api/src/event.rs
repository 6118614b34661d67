//! The closed list of reasons that an Event can have.
//!
//! Events tell what happened once; conditions tell what is. An Event is for a user who reads `kubectl describe`, so
//! there is one only for what such a user needs to know.

use std::fmt;

/// Whether an Event is good to know or calls for attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Good to know.
    Normal,
    /// Calls for attention.
    Warning,
}

impl EventKind {
    /// The word as Events have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

macro_rules! event_reasons {
    ($($name:ident $kind:ident $summary:literal)*) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventReason {
            $(#[doc = $summary] $name,)*
        }

        impl EventReason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word as Events have it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Whether it is good to know or calls for attention.
            #[must_use]
            pub const fn kind(self) -> EventKind {
                match self { $(Self::$name => EventKind::$kind,)* }
            }

            /// What it means.
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$name => $summary,)* }
            }
        }
    };
}

event_reasons! {
    Recreated Normal "The schema was made again, empty, because the annotation `edumatrixhub.io/recreate` asked for it."
    Reclaimed Normal "A schema that an earlier object of this namespace and name left behind was taken back."
    Adopted Normal "A schema that stood already became the tenant's, as the annotation `edumatrixhub.io/confirm-adopt` confirmed; or a tenant that was made by hand became this object's."
    DriftRepaired Warning "Owner, grants or roles of the tenant were not as they should be, most often because a user had changed them by hand; the message says what was repaired."
    Suspended Normal "The tenant was suspended."
    Resumed Normal "The tenant got its access back."
    WritesTaken Warning "Nothing more is written to the tenant, since its spec says `ReadOnly` or its quota is used up; the message says why, and how many sessions ended."
    WritesGivenBack Normal "The tenant may be written again."
    Updated Normal "A change of the spec was applied."
    CredentialPublished Normal "A Secret has another password for the tenant's applications than before; the message names the Secret, the login and the id of the credential, and says if the Secret was gone or not as it was written."
    PasswordChanged Warning "A login had another password than its Secret: a session of it changed that, or an administrator. The other login has a new one, in the Secret; the message has the command that closes the changed one at once."
    LoginClosed Normal "The login of a former password was closed, when its grace was over or by another rotation; the message says how many sessions ended."
    CredentialRevoked Warning "A tenant's logins were closed and their sessions ended at once: a user revoked the password, or the spec asks for no Secret, or a session from before a revocation came in."
    NotIsolated Warning "The tenant's roles may do something beyond its schema; the message has the statement that takes it back."
    PastPolicies Warning "Something reads or writes past the policies of `spec.rowLevelSecurity`, or a table cannot have them; the message names it."
    ViewsRemoved Warning "Views and functions of the tenant over the tables of one that gave it a grant were removed when that was set aside; the message names them."
    ViewsRemade Normal "Views and functions that had ended with another tenant were made again when that was back; the message names them, and those that could not be."
    QuotaWarning Warning "The tenant now uses more of its quota than `spec.quota.warningPercent`."
    QuotaExceeded Warning "The tenant now uses more than its quota."
    SetAside Normal "The schema of a deleted tenant was set aside whole; the message names it."
    Dropped Warning "The drop of a deleted tenant's schema without a backup has begun; the message has its size, and who wrote the confirming annotation."
    DeletionWaits Warning "A deletion has waited for ten seconds; the message says for what."
    BroughtBack Normal "Schemas that were set aside are back under their names, because the annotation `edumatrixhub.io/bring-back` asked for it; the message has the number."
    Retained Normal "The tenant was deleted and its schema left as it is."
    Released Warning "The objects of tenants are gone without a deletion; their schemas stay and can be reclaimed."
    Rebound Warning "After a restore or an upgrade of the server it was found out again which schema is whose; the message says of which it was not."
    BackupCompleted Normal "A backup was finished."
    BackupFailed Warning "A backup could not be made."
    BackupNotProved Warning "An archive is complete, and not all was proved that `spec.verification` asks for; the message says what and why."
    BackupLate Warning "A backup that a schedule asks for is not complete an hour after its time; the message has the command that shows why."
    StoreUsable Normal "The backup store of the database can be written and read; after it could not, or for the first time."
    StoreUnusable Warning "Archives cannot be written into the backup store of the database; the message says why. They wait."
    Ready Normal "The object became ready after it was not."
    Stalled Warning "A person must act; the message says what to do."
    Unavailable Warning "The database cannot be reached."
    Recovered Normal "The database can be reached again."
    WentBack Warning "The database is, or may be, an older state of itself: a standby was promoted, or it was restored. Every tenant is looked at again, and nothing expires for hours."
    ClusterRestored Warning "The API server answered with an older state than before, as after a restore of etcd; all objects were read again and all tenants looked at."
    FunctionsInstalled Normal "The management functions were installed in the database."
    FunctionsUpgraded Normal "The management functions in the database were upgraded."
}

impl fmt::Display for EventReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_one_of_the_two_types_that_the_api_server_takes() {
        let check = |reason: EventReason, expected: &str| assert_eq!(reason.kind().as_str(), expected, "{reason}");
        check(EventReason::SetAside, "Normal");
        check(EventReason::Dropped, "Warning");
    }

    #[test]
    fn a_reason_is_told_as_the_word_that_people_filter_events_by() {
        assert_eq!(EventReason::SetAside.to_string(), "SetAside");
        for reason in EventReason::ALL {
            assert_eq!(reason.to_string(), reason.as_str());
        }
    }
}
