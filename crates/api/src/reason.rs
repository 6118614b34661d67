//! The closed list of reasons that a condition can have, each with what it means and what to do about it.
//!
//! The list is data: `docs/reference/conditions.md` is generated from it, metrics label by it and tests compare it. A
//! reason is never made from text at run time.

use std::fmt;

use super::condition::ConditionType;

macro_rules! reasons {
    ($($name:ident $condition:ident $summary:literal $action:literal)*) => {
        /// Why a condition is what it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $summary] $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word as status has it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// True for the word of a reason after which nothing more comes of the object: another one must be made.
            #[must_use]
            pub fn is_final(word: &str) -> bool {
                [Self::Failed, Self::Cancelled].iter().any(|last| word == last.as_str())
            }

            /// The condition that it is given with: `Ready` alone when nothing is left to do, `Reconciling` when it goes on by
            /// itself, `Stalled` when a person must act, `Paused` when a user asked for it; another one says what it is called after.
            #[must_use]
            pub const fn condition(self) -> ConditionType {
                match self { $(Self::$name => ConditionType::$condition,)* }
            }

            /// What it means.
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$name => $summary,)* }
            }

            /// What to do about it.
            #[must_use]
            pub const fn action(self) -> &'static str {
                match self { $(Self::$name => $action,)* }
            }
        }
    };
}

reasons! {
    Succeeded Ready
        "Everything is as the spec says."
        "Nothing."
    Suspended Ready
        "The tenant is suspended, as its spec, its quota or its institution says: only the owner reaches the schema."
        "Nothing; to give access back set `spec.access: ReadWrite`, raise `spec.quota.limit`, or set the institution's status to `active`; the message says which."
    ReadOnly Ready
        "The tenant may be read and not written, as its spec says."
        "Nothing; to give writes back set `spec.access: ReadWrite`."
    WritesBlocked Ready
        "The tenant has used up its quota, and `spec.quota.enforcement` is not `Report`: nothing more is written to it, and rows can be read and deleted."
        "Make room in the schema, or raise `spec.quota.limit`; the message has the size below which writes come back, and the command."
    QuotaWarning Ready
        "The tenant works, and uses more of its quota than `spec.quota.warningPercent`."
        "Make room in the schema, or raise `spec.quota.limit`."
    QuotaExceeded Ready
        "The tenant works, and uses more than its quota. Nothing is enforced."
        "Make room in the schema, or raise `spec.quota.limit`."
    OutsideLimits Ready
        "The tenant works within limits of its database that are narrower than its spec."
        "Bring the field that the message names within `spec.limits` of the `TenantDatabase`."
    Paused Paused
        "The annotation `edumatrixhub.io/paused` keeps the operator from doing anything; the message of the condition `Paused` says what it would do."
        "Remove the annotation when you want what the message says."
    NoHoleFound Isolated
        "True: the tenant's roles and logins can do nothing beyond its schema, as a survey found when it was the tenant's turn last."
        "Nothing."
    RoleTooPowerful Isolated
        "False: a role or login of the tenant has an attribute such as `BYPASSRLS`, or is a member of a role that is not the tenant's."
        "Run the statement in the message as a database administrator. The operator takes back by itself what it may."
    RightsTooWide Isolated
        "False: the tenant's roles, or `PUBLIC`, have rights on what is not the tenant's: another schema, the registry, a backup, the database, or tables in `public`."
        "Run the statement in the message as a database administrator. The operator takes back by itself what it may."
    FunctionTooPowerful Isolated
        "False: the tenant may call a function that runs with the rights of a role with more power (`SECURITY DEFINER`)."
        "Run the statement in the message as a database administrator, or let the function run with its caller's rights."
    NotLookedAt Isolated
        "Unknown: no survey has looked at the tenant's rights since it was made or opened. A survey looks at ten tenants, new ones first."
        "Wait."
    AccessClosed Isolated
        "Unknown: the tenant is suspended, so there is nothing that its roles can do."
        "Nothing."
    Completed Ready
        "The backup is finished."
        "Nothing."
    Expired Ready
        "The backup was removed because `spec.expireAfterDays` had passed."
        "Nothing; delete the object when it is no longer of interest."
    Progressing Reconciling
        "The operator is at work."
        "Wait."
    ProgressingWithRetry Reconciling
        "An attempt failed in a way that may pass; the operator tries again, at most a minute apart."
        "Wait; if it lasts, the message says what failed."
    Running Reconciling
        "The backup is being made."
        "Wait."
    AwaitingJob Reconciling
        "Something that takes long was requested and has not ended yet."
        "Wait; the message names the job."
    Deleting Reconciling
        "The object is being deleted and what it made is being dealt with."
        "Wait; the message says what is left."
    DatabaseUnavailable Reconciling
        "The tenant's database cannot be reached at the moment. Nothing is lost and nothing is changed."
        "See the conditions of the `TenantDatabase`; the tenant goes on by itself once it is back."
    DatabaseNotReady Reconciling
        "The tenant's database is known but not ready for tenants yet."
        "See the conditions of the `TenantDatabase`; the tenant goes on by itself."
    DatabaseNotFound Reconciling
        "There is no `TenantDatabase` of the name that the tenant refers to."
        "Create it, or create the tenant again with another `spec.databaseRef`; the tenant goes on by itself."
    TenantNotFound Reconciling
        "There is no `TenantSchema` of the name that the backup refers to."
        "Create it, or make the backup of another tenant."
    ConnectionFailed Reconciling
        "The database server does not answer, or refuses connections for now."
        "Check that it runs, and that address and network policies let the operator reach it; it goes on by itself."
    ReadOnlyStandby Reconciling
        "The address leads to a standby, on which nothing can be written."
        "Point the connection at the primary; after a failover it goes on by itself."
    InUse Stalled
        "The `TenantDatabase` is being deleted, but tenants, or backups that are being made or removed, still need it."
        "The message has the command that lists them; the database goes by itself when they have gone. Delete the tenants if they are to go."
    InvalidSpec Stalled
        "The spec asks for something that cannot be. What runs stays as it was."
        "Correct the field that the message names, or revert it."
    Conflict Stalled
        "The institution or the schema's name belongs to another tenant, or to what one left behind."
        "Choose another, or delete the other tenant; if it is what this tenant left behind, the message says how to go on."
    AdoptionPending Stalled
        "The schema can be adopted, and no user confirmed that yet. Nothing was changed."
        "Read in the message what would change. Let a database administrator run the statements in it, if there are any; then type the command in it, which sets the annotation `edumatrixhub.io/confirm-adopt`."
    NothingToAdopt Stalled
        "The spec says `existingSchema: Adopt`, and there is no schema of that name. Nothing was made."
        "Correct `spec.schemaName` by making the object again; or make it without `existingSchema` for a new, empty schema."
    SchemaMissing Stalled
        "The tenant's schema does not stand under its name: it was dropped or renamed by hand, or another schema has its name. It is not made again, because it would be empty."
        "The message says what stands there and what to type: rename it back, restore it, or set the annotation `edumatrixhub.io/recreate` to the value that it tells for an empty one."
    TablesMissing Stalled
        "Tables of what was set aside were dropped after that, so that the tenant would come back without them. Nothing was brought back."
        "The message names them. Put them back from a backup of the server, or accept that they are lost by the statement in the message; the tenant goes on by itself."
    NamespaceNotAllowed Stalled
        "The database does not take tenants from this namespace."
        "Ask the platform team for a label that `spec.allowedNamespaces` of the `TenantDatabase` selects."
    NameNotAllowed Stalled
        "The schema's name matches none of the patterns that the database allows for this namespace."
        "Create the tenant again with another `spec.schemaName`; the patterns are in `spec.naming` of the `TenantDatabase`."
    LimitExceeded Stalled
        "A new tenant asks for more than the database allows."
        "Bring the field that the message names within `spec.limits` of the `TenantDatabase`."
    TooManyTenants Stalled
        "The namespace has as many tenants in this database as it may have."
        "Delete one, or ask the platform team to raise `spec.limits.maxTenantsPerNamespace`."
    DropNotConfirmed Stalled
        "The tenant is being deleted with `deletionPolicy: Drop`, and no user confirmed that its data may go. Nothing was dropped."
        "Type the command in the message, which sets the annotation `edumatrixhub.io/confirm-drop`, or choose another deletion policy."
    DeletionBrake Stalled
        "Within an hour as many tenants were deleted as `spec.limits.maxDeletionsPerHour` of the `TenantDatabase` allows, or four fifths of that in one namespace. This one is open and untouched."
        "If the deletions are meant, type the command in the message, which sets the annotation `edumatrixhub.io/confirm-deletions` on the `TenantDatabase`. If they are not, the message says how to keep the tenants."
    ManyOwnersMissing Stalled
        "The `TenantSchema` objects of many tenants are gone without a deletion. Their schemas are untouched and still count as theirs."
        "Apply the manifests again if they were lost. If the objects are meant to be gone, type the command in the message, and the schemas count as released."
    BringingBack Reconciling
        "The annotation `edumatrixhub.io/bring-back` asks for what was set aside, and not all of it is back under its name yet."
        "Wait; the message counts."
    NotBroughtBack Stalled
        "A schema that the annotation `edumatrixhub.io/bring-back` asks for cannot have its name yet. It is tried again at every survey."
        "Remove what the message says is in the way, or remove the annotation to leave the rest where it is."
    IdentifiersChanged Stalled
        "The database was restored from a dump or its server upgraded, and it is not known any more which schema is whose. Nothing of the tenants is touched."
        "Type the command in the message, which sets the annotation `edumatrixhub.io/rebind` on the `TenantDatabase`."
    DependentsExist Stalled
        "Objects outside the schema depend on it, such as foreign keys or views. They are never dropped with it, but for views and functions of tenants that have a grant of it."
        "Remove the objects that the message lists, those that were set aside by its statement, or set `deletionPolicy: Retain`."
    DriftNotRepairable Stalled
        "A user changed owner, grants or roles of the tenant in a way that the operator may not repair."
        "Run the statement in the message as a role that may."
    CredentialsForbidden Stalled
        "The tenant works, but the API server refuses the Secret that its applications are to connect with."
        "Type the commands in the message, or remove what refuses it (a quota, a webhook); the operator goes on by itself."
    SecretsUnguarded Stalled
        "The tenant works, but no Secret is written: the policy that keeps the operator from writing other Secrets is not in force."
        "Install the policy, which is part of the chart and of `dist/install.yaml`; the operator goes on by itself."
    SecretConflict Stalled
        "The tenant works, but a Secret of the name in `spec.connectionSecret` or `spec.migrationSecret` is not the tenant's. It was not touched."
        "Choose another name, or delete that Secret if it is not needed; the operator goes on by itself."
    BackupNotMade Stalled
        "The tenant works, but a schedule cannot be followed, or the API server refuses to make or delete one of its `SchemaBackup`s."
        "See the message; mend the schedule, or remove what refuses the object (a missing right, a quota, a webhook). The operator goes on by itself."
    LoginRefused Stalled
        "The tenant works, but a Secret is not written: the operator has to log in once as the login in it, and the server does not let it."
        "Give `pg_hba.conf` the line in the message; the operator goes on by itself."
    ClientAuthorityMissing Stalled
        "The tenant works, but a Secret is not written: the certificates that `spec.clientEndpoint.caSecretRef` of the `TenantDatabase` names cannot be read."
        "Make the Secret that the message names, or correct the reference; the operator goes on by itself."
    ClientHostNotFound Stalled
        "No Secret of a tenant is written, since a name that it would lead to, `spec.clientEndpoint.host` or `spec.readEndpoint.host` of the `TenantDatabase`, has no address. All else goes on, also with the Secrets that are there."
        "Correct the name, or set `nameLookup: Skip` beside it if only applications can look it up; the operator goes on by itself."
    InstitutionGone Stalled
        "The tenant works, but its institution is no longer in the application's table (`institutions.source`). Nothing is closed or dropped for that."
        "Delete the `TenantSchema` that the message names if the institution has left; or put its row back."
    InstitutionsUnreadable Stalled
        "The application's table of institutions cannot be read, so it is not known which are suspended. Tenants stay as they are."
        "See the message: give the right, or correct `spec.institutions.source`; the operator goes on by itself."
    TenantSessionRefused Stalled
        "Tenants work, but the operator cannot log in as one: the server does not let it, or `spec.connection` leads to a pooler. What tenants delete that are blocked for their quota gives them no room until then."
        "Give `pg_hba.conf` the line in the message, or set `spec.directConnection`; the operator goes on by itself."
    InstitutionUnknown Stalled
        "The institution is closed; or the database requires institutions to exist, and this one does not."
        "Make it active, or add it to the database's table; or correct `spec.institutionId` by creating the tenant again."
    OperationFailed Stalled
        "The database refused an operation for a reason that does not pass by itself."
        "See the message and `status.lastOperation`, and remove the cause. Tenants and databases go on by themselves within a minute; for a `SchemaBackup` change the annotation `edumatrixhub.io/reconcile-requested-at`."
    PoliciesInForce RowSecurity
        "Every table that `spec.rowLevelSecurity` is about has its policies, and nothing that others may use reads or writes past them."
        "Nothing."
    PastPolicies RowSecurity
        "Something reads or writes past the policies, or a table cannot have them. With `mode: Required` all but the owner have lost their rights on it; with `BestEffort` they have them."
        "Run the statements in the message as the tenant's owner, or change the policies. The operator looks again at the next survey, and at once when the annotation `edumatrixhub.io/reconcile-requested-at` changes."
    PoliciesPending RowSecurity
        "Not every table has its policies yet: there are many, or a session holds one."
        "Wait; if it lasts, end the session that holds the table in the message."
    GrantorAway GrantedViews
        "Views and functions of the tenant over the tables of one that gives it a grant were removed when that was set aside, and are made again when it comes back and its grant is in force."
        "Nothing; or make what the application needs over other tables."
    NotMadeAgain GrantedViews
        "Views and functions of the tenant that ended with one that gave it a grant could not be made again, or that one was removed for good. Their definitions are kept."
        "Run the statements that the message tells how to find, or have them tried again, or forgotten, by the annotation `edumatrixhub.io/reconcile-requested-at`."
    BackupInTime BackedUp
        "The last backup of each schedule is complete."
        "Nothing."
    BackupNotYet BackedUp
        "Unknown: no schedule of the tenant that is in force has asked for a backup yet."
        "Wait for the time in the message, or make a `SchemaBackup` yourself."
    BackupLate BackedUp
        "A backup that a schedule asks for is not complete an hour after its time."
        "See the message, and the `SchemaBackup` that it names."
    StoreUnavailable Reconciling
        "The archive is asked for, and the `TenantDatabase` has no backup store that can be used."
        "See the message, and the condition `BackupStoreReady` of the `TenantDatabase`; the operator goes on by itself."
    IdentityMissing Stalled
        "The archive is to be restored to prove it, it would be encrypted, and the operator has no identity that reads it."
        "Name a Secret with an identity in `spec.backupStore.encryption.identitySecretRef` of the `TenantDatabase`; or make the `SchemaBackup` again with `verification: Checksum`. Then change the annotation `edumatrixhub.io/reconcile-requested-at`."
    ReadBack Verified
        "The archive was read back, and its length and SHA-256 are what was written."
        "Nothing."
    Restored Verified
        "The archive was restored into a scratch database, and every table has the rows and hashes that it had."
        "Nothing."
    NotRestored Verified
        "The archive was read back and could not be restored to prove it. It is kept, and counts as verified by its checksum."
        "See the message for what is in the way; the next archive is restored when it is gone."
    NotReadBack Verified
        "The archive was made when no verification was asked for, and this object, which took it over, asks for one."
        "Delete the object and its backup, and apply its manifest again."
    RestoreFailed Verified
        "The archive was read back, and restoring it failed or gave other rows. It is kept, and does not count as verified."
        "See the message: it names the object that cannot be restored. Mend it in the tenant, and make another `SchemaBackup`."
    StoreUsable BackupStoreReady
        "The backup store was written to and read from just now."
        "Nothing."
    StoreNotLookedAt BackupStoreReady
        "Unknown: `spec.backupStore` is new or was changed, and is just being looked at. Archives wait; all else goes on."
        "Wait; if it lasts, see whether the store answers."
    StoreUnreachable BackupStoreReady
        "The backup store does not answer. Archives wait; all else goes on."
        "See the message: the address, the network, or the store itself; the operator looks again every minute."
    StoreRefused BackupStoreReady
        "The backup store refuses the operator's credentials, or a right that it needs. Archives wait; all else goes on."
        "Correct the Secret of `spec.backupStore.credentialsSecretRef`, or what its identity may do in the bucket; the operator looks again every minute."
    StoreFull BackupStoreReady
        "The backup store takes nothing more: it is full, or a quota of it is used up. Archives wait; all else goes on."
        "Make room in the store; the operator looks again every minute."
    StoreInvalid BackupStoreReady
        "`spec.backupStore` cannot be followed: its URL, a Secret of it, a recipient, or a store without conditional writes. Archives wait; all else goes on."
        "See the message, and correct the spec or the Secret that it names; the operator looks again every minute."
    DumpMissing BackupStoreReady
        "The operator has no `pg_dump` of the server's major version or a newer one. Archives wait; all else goes on."
        "Use the operator's image as it is released, or install `pg_dump` where it runs; the operator looks again every minute."
    AuthenticationRefused Stalled
        "The server refuses the login of the operator."
        "Correct user and password in the connection's Secret, or `pg_hba.conf` on the server."
    NoSuchDatabase Stalled
        "The server has no database of the name in the connection's Secret."
        "Correct the name in the Secret, or create the database; the operator goes on by itself."
    ReadOnlySetting Stalled
        "The server is a primary, but a setting lets the operator's login read only."
        "Run the statement in the message as a database administrator. A hosted service sets it when the disk is full: then make room first."
    TlsFailed Stalled
        "No encrypted connection came about that meets `spec.connection.tls`."
        "Name the authority in `spec.connection.tls.caSecretRef`, correct the server's certificate, or choose another mode."
    KindsOlder Stalled
        "The definitions of the kinds in the cluster lack fields that this operator knows. The API server cuts such fields off, so nothing is done by what is left of a spec."
        "Bring the definitions up to date with `helm upgrade` or `tenant-schema-operator crds | kubectl apply --server-side -f -`; the operator goes on by itself."
    UnsupportedVersion Stalled
        "The server's version of PostgreSQL is not supported."
        "Upgrade the server to 15 or later."
    InsufficientPrivilege Stalled
        "The login of the operator lacks a right that it needs, or an event trigger of the database took it away."
        "Run the statement in the message as a database administrator. If the message names event triggers instead, let these leave out what the operator's owner role creates. Tenants and databases go on by themselves within a minute."
    FunctionsNewer Stalled
        "The management functions in the database are newer than this operator can work with."
        "Upgrade the operator."
    FunctionsUnverified Stalled
        "The management functions in the database are not those that this operator was made for, and `functions: Verified` leaves them alone."
        "Let a database administrator run what `tenant-schema-operator sql` prints."
    FunctionsMissing Stalled
        "The management functions are not in the database, and `functions: Verified` leaves their installation to others."
        "Let a database administrator run what `tenant-schema-operator sql` prints."
    SecretNotFound Stalled
        "The connection's Secret does not exist. What runs goes on."
        "Create the Secret that the message names, or correct the reference."
    SecretUnreadable Stalled
        "The operator may not read the connection's Secret. What runs goes on."
        "Allow it to `get` this Secret; the message has the rule."
    SecretInvalid Stalled
        "The connection's Secret lacks a key, or a key has no usable value. What runs goes on."
        "Correct the key that the message names."
    DatabaseChanged Stalled
        "Behind the connection is another database than before, or an empty one. Nothing is installed there."
        "Correct the Secret; if the change is meant, type the command in the message, which sets the annotation `edumatrixhub.io/take-over`."
    ManagedElsewhere Stalled
        "The database is managed by a `TenantDatabase` of another cluster."
        "Use another database. If the other cluster is gone for good, type the command in the message, which sets the annotation `edumatrixhub.io/take-over`."
    LaneContested Stalled
        "Two operators want the same database: the one that works on it goes on, except that nothing is deleted and nothing expires; the other does nothing. Or a process holds the database's Lease and does nothing."
        "Stop the operator that is not meant, or give it a database of its own; the message names both and where they are, or the Lease to delete. It ends by itself when one is alone for half a minute."
    ExpiryBrake Stalled
        "Backups are past their time and were not removed: too many expired within an hour, or no operator looked for days, as after a restore."
        "If they are meant to go, type the command in the message, which sets the annotation `edumatrixhub.io/confirm-deletions`. If not, restore what you want to keep, or set `expires_at` of the backup in the catalogue."
    ClockSkew Stalled
        "The clocks of the database server and of the API server differ by more than a minute. Times of one mean another thing for the other; deletions are counted by the API server's, and nothing expires before it is time by both."
        "Let both servers take their time from the same source."
    DuplicateDatabase Stalled
        "Another `TenantDatabase` of this cluster already manages the same database."
        "Delete the one that is not meant."
    Failed Stalled
        "The backup could not be made."
        "See the message, remove the cause and make another `SchemaBackup`."
    Cancelled Stalled
        "The backup was cancelled, by hand or because the tenant was deleted."
        "Make another `SchemaBackup` if it is still wanted."
}

impl Reason {
    /// The reasons for which a tenant's Secret is not written, while the tenant works.
    #[must_use]
    pub const fn of_secrets() -> [Self; 6] {
        [
            Self::CredentialsForbidden,
            Self::SecretsUnguarded,
            Self::SecretConflict,
            Self::LoginRefused,
            Self::ClientAuthorityMissing,
            Self::ClientHostNotFound,
        ]
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_as_the_word_that_the_documents_list() {
        assert_eq!(Reason::DeletionBrake.to_string(), "DeletionBrake");
        for reason in Reason::ALL {
            assert_eq!(reason.to_string(), reason.as_str());
        }
    }
}
