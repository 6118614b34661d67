//! Closed sets of words that go over the wire. Each has an `Other`, so that the words of newer functions are read and shown. Pure.

/// An enum of the words that functions and operator agree on. A word that this release does not know becomes `Other`, with its
/// letters.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
            /// A word of newer functions.
            Other(Box<str>),
        }

        impl $name {
            /// All words of this release.
            pub const ALL: &[&str] = &[$($word),+];

            /// What each of them is.
            pub fn all() -> impl Iterator<Item = Self> {
                Self::ALL.iter().map(|word| Self::from(*word))
            }

            /// The word.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    other => Self::Other(other.into()),
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <::std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Ok(Self::from(word.as_ref()))
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

pub(crate) use words;

words! {
    /// How a tenant's row in the registry stands.
    RowStatus {
        /// The operator works on it.
        Active = "active",
        /// Only its owner role has its schema.
        Suspended = "suspended",
        /// It is being dropped in parts.
        Dropping = "dropping",
        /// It has no object any more, and stays as it is.
        Released = "released",
        /// Its schema is gone or set aside.
        Dropped = "dropped",
    }
}

impl RowStatus {
    /// True while the operator works on the tenant.
    #[must_use]
    pub const fn lives(&self) -> bool {
        matches!(self, Self::Active | Self::Suspended)
    }
}

words! {
    /// Who may come into a schema.
    AccessWord {
        /// All who have a grant.
        ReadWrite = "ReadWrite",
        /// The same, and they read and delete.
        WriteBlocked = "WriteBlocked",
        /// The same, and they read.
        ReadOnly = "ReadOnly",
        /// Its owner role alone.
        Suspended = "Suspended",
    }
}

words! {
    /// Who closed a schema, wholly or to writes.
    AccessCause {
        /// The spec of its object.
        Spec = "Spec",
        /// Its quota, which is used up.
        Quota = "Quota",
        /// Its institution.
        Institution = "Institution",
    }
}

words! {
    /// How an institution stands in the registry.
    InstitutionStatus {
        /// Its tenant may be used.
        Active = "active",
        /// Its tenant may not be used.
        Suspended = "suspended",
        /// The same, and it gets no new tenant.
        Closed = "closed",
        /// The application's table named it once and does not any more. Its tenant may be used.
        Gone = "gone",
    }
}

words! {
    /// How a backup stands in the catalogue.
    BackupState {
        /// It waits for a runner.
        Requested = "requested",
        /// It is being made.
        Running = "running",
        /// It is whole.
        Complete = "complete",
        /// It could not be made.
        Failed = "failed",
        /// It was given up.
        Cancelled = "cancelled",
        /// It is being removed.
        Purging = "purging",
        /// It was removed.
        Purged = "purged",
        /// It is the tenant's schema again.
        Restored = "restored",
    }
}

words! {
    /// What the log says that was done.
    OperationType {
        /// A backup was taken although tables are missing.
        AcceptMissingTables = "accept_missing_tables",
        /// A backup got another object.
        AdoptBackup = "adopt_backup",
        /// A schema that stood already became a tenant's, or began to.
        AdoptTenantSchema = "adopt_tenant_schema",
        /// A copy was made.
        Backup = "backup",
        /// What was set aside came back.
        BringBack = "bring_back",
        /// A copy was given up.
        CancelBackup = "cancel_backup",
        /// Jobs were ended.
        CancelJobs = "cancel_jobs",
        /// An operator took the lane.
        ClaimLane = "claim_lane",
        /// A session in which the operator worked as a tenant was closed.
        CloseTenantSession = "close_tenant_session",
        /// A schema was made.
        CreateTenantSchema = "create_tenant_schema",
        /// What a role had in an adopted schema ended.
        EndKeptRole = "end_kept_role",
        /// The login of an earlier credential was closed.
        EndPreviousLogin = "end_previous_login",
        /// Sessions of a tenant's logins were ended.
        EndSessions = "end_sessions",
        /// A login got a new password.
        IssueCredential = "issue_credential",
        /// What deletes left free was noted.
        NoteLivePart = "note_live_part",
        /// A session was opened in which the operator works as a tenant.
        OpenTenantSession = "open_tenant_session",
        /// What was set aside or copied was removed.
        Purge = "purge",
        /// After a restore schemas were bound to their tenants again.
        RebindTenants = "rebind_tenants",
        /// An object took back what an earlier one left.
        ReclaimTenantSchema = "reclaim_tenant_schema",
        /// A schema that was lost was made again, empty.
        RecreateTenantSchema = "recreate_tenant_schema",
        /// An operator gave the lane back.
        ReleaseLane = "release_lane",
        /// A tenant stays without an object.
        ReleaseTenants = "release_tenants",
        /// The UIDs of namespaces were noted.
        RememberNamespaces = "remember_namespaces",
        /// What differed from what was applied was put right.
        RepairTenantSchema = "repair_tenant_schema",
        /// A backup was asked for.
        RequestBackup = "request_backup",
        /// A removal was asked for.
        RequestPurge = "request_purge",
        /// Older backups of a schedule were let expire.
        Retention = "retention",
        /// What was set aside is a tenant's schema again.
        Restore = "restore",
        /// Views and functions that had ended with another tenant were made again.
        RemakeDependents = "remake_dependents",
        /// A schema was set aside.
        SetAside = "set_aside",
        /// What a login may was changed.
        SetCredentialLimits = "set_credential_limits",
        /// Policies on tables were changed.
        SetRowSecurity = "set_row_security",
        /// Who may come in was changed.
        SetTenantAccess = "set_tenant_access",
        /// What others may do was changed.
        SetTenantGrants = "set_tenant_grants",
        /// The configuration was changed.
        SetTenantConfig = "set_tenant_config",
        /// All tenants were looked at.
        SurveyTenants = "survey_tenants",
        /// Views and functions ended with a tenant that gave a grant.
        TakeDependents = "take_dependents",
        /// Another cluster's database was taken over.
        TakeOver = "take_over",
        /// A tenant's logins were closed for good.
        WithdrawCredential = "withdraw_credential",
    }
}

words! {
    /// How the log says that it ended.
    OperationStatus {
        /// It was done.
        Success = "success",
        /// A part was done and committed.
        Partial = "partial",
        /// Another session held the lock.
        Busy = "busy",
        /// Nothing was done.
        Error = "error",
    }
}

words! {
    /// Why a function refused, as the `reason` of its answer.
    Refusal {
        /// The schema's name belongs to another tenant.
        NameTaken = "name_taken",
        /// The institution belongs to another tenant.
        InstitutionTaken = "institution_taken",
        /// What had the name or the institution is set aside.
        SetAside = "set_aside",
        /// The tenant belongs to another object.
        NotOwner = "not_owner",
        /// No schema may have this name.
        InvalidName = "invalid_name",
        /// The institution is not registered.
        InstitutionUnknown = "institution_unknown",
        /// The schema is not there, or is another one.
        SchemaMissing = "schema_missing",
        /// A schema that is to come back has fewer tables than it had.
        TablesMissing = "tables_missing",
        /// Something outside of the schema depends on it.
        Dependents = "dependents",
        /// Too many tenants were deleted at once.
        DeletionBrake = "deletion_brake",
        /// Another operator works on the database.
        LaneContested = "lane_contested",
        /// Only a DBA can put it right.
        NotRepairable = "not_repairable",
        /// The owner role lacks a right.
        InsufficientPrivilege = "insufficient_privilege",
        /// A newer holder has the lane.
        StaleEpoch = "stale_epoch",
        /// The database is another installation.
        WrongInstallation = "wrong_installation",
        /// The database went back to an older state.
        WentBack = "went_back",
        /// The server was started again.
        ServerRestarted = "server_restarted",
        /// It was ended on request.
        Cancelled = "cancelled",
        /// Another session or transaction is in the way.
        Busy = "busy",
        /// No tenant or backup has this id.
        NotFound = "not_found",
        /// A call by hand is about a tenant that belongs to an object.
        OwnedByTenantSchema = "owned_by_tenant_schema",
        /// A call by hand is about a tenant of another database's operator.
        ManagedElsewhere = "managed_elsewhere",
        /// A table of the tenant cannot be read whole.
        UnreadableTables = "unreadable_tables",
        /// A copy would take more locks than the server has.
        TooManyTables = "too_many_tables",
        /// The transaction sees an older state.
        Isolation = "isolation",
        /// The database is a copy of another one.
        Copy = "copy",
        /// Two holders work on the database.
        Contested = "contested",
        /// A fault that the functions have no word for.
        Internal = "internal",
    }
}
