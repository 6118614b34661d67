//! What goes wrong, one enum for each stage. A message names what is wrong, where, and what to do; text of servers in it is one
//! tame line, and what is secret was taken out of it. `may_pass` tells whether the same call may go well later without anyone
//! doing anything.

use std::{io, path::PathBuf};

use thiserror::Error;

/// A url that is none for archives.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Nothing known stands in front.
    #[error("the url of a store must begin with `s3://`, `gs://`, `az://` or `file://`")]
    NoScheme,
    /// Something else does.
    #[error("`{0}` is no kind of store; write `s3://`, `gs://`, `az://` or `file://`")]
    Scheme(String),
    /// It has an `@`.
    #[error(
        "the url of a store must have no credentials and no `@`; put credentials into the Secret that goes with it"
    )]
    Credentials,
    /// It has a `?` or `#`.
    #[error("the url of a store must have no `?` and no `#`; a region and an endpoint are fields of their own")]
    Query,
    /// It leads elsewhere.
    #[error("the url of a store must have no part that is `.` or `..`")]
    Dots,
    /// Two slashes in a row.
    #[error("the url of a store has an empty part; write one slash between two parts, not two")]
    EmptyPart,
    /// Neither bucket nor container.
    #[error("the url has no bucket; write it after the scheme, as in `s3://bucket/prefix`")]
    NoBucket,
    /// Something unseen.
    #[error("the url of a store has a control character, perhaps a line break at its end")]
    ControlCharacter,
    /// Something that stores or programs understand differently.
    #[error("the url of a store has the character {0:?}; use letters, digits and -_.+=,~!() between slashes")]
    Character(char),
    /// `file://host/…`.
    #[error("a folder is written with three slashes, as in `file:///backups/archives`")]
    Host,
    /// Folders are not offered.
    #[error(
        "`file://` is not offered here: the operator was started without a file-store root; mount a volume and name it"
    )]
    NoRoot,
    /// The folder is elsewhere.
    #[error("the folder must be below the file-store root {}, without `..` and without a link that leads out", root.display())]
    OutsideRoot {
        /// The root that the operator was started with.
        root: PathBuf,
    },
}

/// A store that did not do what it was asked. Each text says what was asked, of which url, and what came back.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// No connection, no answer in time, or an answer that says "later".
    #[error("the store cannot be reached or is not well: {0}")]
    Unreachable(String),
    /// 401 or 403, or a folder that this user may not use.
    #[error("the store refuses these credentials: {0}; look at the Secret and at what its account may do")]
    Refused(String),
    /// No such bucket, folder or object.
    #[error("not found: {0}")]
    NotFound(String),
    /// The file system takes no writes.
    #[error("the store can only be read: {0}; mount it so that it can be written")]
    ReadOnly(String),
    /// No room, or no more allowed.
    #[error("the store is full: {0}; delete old archives or make it larger")]
    Full(String),
    /// An object of this name is there and stays.
    #[error("there is one already: {0}")]
    Exists(String),
    /// The store overwrote what it was told to create only.
    #[error(
        "the store overwrites objects that it was asked to create only (it ignores `If-None-Match`): {0}; use a store or a \
         version of it that honours conditional writes"
    )]
    IgnoresConditions(String),
    /// Credentials, endpoint or certificates that cannot be used as they are.
    #[error("{0}")]
    Invalid(String),
    /// Anything else.
    #[error("the store failed: {0}")]
    Other(String),
}

impl StoreError {
    /// Whether the same may go well later by itself.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

/// What cannot be encrypted, or read back.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CipherError {
    /// A recipient that is none. Its text is not repeated: it may be a key in the wrong place.
    #[error(
        "recipient {number} is no age recipient ({why}); write one that begins with `age1`, as `age-keygen -y` prints it"
    )]
    Recipient {
        /// Its place in the list, from 1.
        number: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// None at all.
    #[error("the list of recipients is empty; name at least one that begins with `age1`, or turn encryption off")]
    NoRecipient,
    /// A line that is no identity; its text is secret.
    #[error(
        "line {line} is no age identity; write one that begins with `AGE-SECRET-KEY-1` on each line, as `age-keygen` prints it"
    )]
    Identity {
        /// The line, from 1.
        line: usize,
    },
    /// No identity at all.
    #[error("there is no age identity; write at least one line that begins with `AGE-SECRET-KEY-1`")]
    NoIdentity,
    /// It is encrypted and no identity was given.
    #[error("the archive is encrypted and no identity is given")]
    IdentityNeeded,
    /// It was encrypted for others.
    #[error("the archive is encrypted for other recipients than the identity that is given")]
    WrongKey,
    /// It is not what was written.
    #[error("the archive cannot be decoded: {0}")]
    Damaged(String),
    /// It ends too early, because its source did.
    #[error("the archive ends before its end mark")]
    CutOff,
    /// Compression or encryption itself failed.
    #[error("compressing or encrypting failed: {0}")]
    Failed(String),
}

/// `pg_dump` or `pg_restore` did not do what it was started for.
#[derive(Debug, Error)]
pub enum DumpError {
    /// There is no such program.
    #[error(
        "`{name}` of PostgreSQL {at_least} or newer is not there; looked in PATH and /usr/lib/postgresql/*/bin; install \
         `postgresql-client-{at_least}`"
    )]
    NotFound {
        /// Its name.
        name: String,
        /// The oldest major version that would do.
        at_least: u32,
    },
    /// All are too old.
    #[error(
        "`{name}` must be of PostgreSQL {at_least} or newer, since it refuses servers newer than itself; found {}; install \
         `postgresql-client-{at_least}`", found.join(", ")
    )]
    TooOld {
        /// Its name.
        name: String,
        /// The oldest major version that would do.
        at_least: u32,
        /// The versions that are there.
        found: Vec<String>,
    },
    /// Something cannot be handed to it.
    #[error("{0}")]
    Invalid(&'static str),
    /// It was not started, or its output could not be read.
    #[error("{doing}: {source}")]
    Io {
        /// What was done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A table was locked by others for too long.
    #[error("a table stayed locked by another session for longer than may be waited: {0}")]
    LockTimeout(String),
    /// Row security would hide rows, so the dump would be none.
    #[error("row-level security hides rows from the login that dumps; let it bypass row security: {0}")]
    RowSecurity(String),
    /// The login may not.
    #[error("the login may not do so: {0}")]
    Denied(String),
    /// No connection, or not any more.
    #[error("the database cannot be reached, or the connection broke: {0}")]
    Connection(String),
    /// The server is newer than the program.
    #[error("the server is newer than the program that dumps it; install a newer one: {0}")]
    Version(String),
    /// The transaction that had it is over.
    #[error("the snapshot to dump is not there any more: {0}")]
    Snapshot(String),
    /// It needed more memory than a program may have.
    #[error(
        "it needs more than the 256 MiB that it may have; definitions or comments in the database are very long, or it has very many \
         tables: {0}"
    )]
    Memory(String),
    /// Anything else.
    #[error("it ended with {}: {message}", code.map_or("a signal".to_owned(), |code| format!("status {code}")))]
    Failed {
        /// Its exit status; nothing if a signal ended it.
        code: Option<i32>,
        /// The end of what it wrote to stderr.
        message: String,
    },
}

impl DumpError {
    /// Whether the same may go well later by itself. So may what is told in words that are not known: a program that was killed for
    /// want of memory, a table that was dropped under it.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::LockTimeout(_) | Self::Connection(_) | Self::Snapshot(_) | Self::Io { .. } | Self::Failed { .. } => {
                true
            }
            Self::Memory(_)
            | Self::NotFound { .. }
            | Self::TooOld { .. }
            | Self::Invalid(_)
            | Self::RowSecurity(_)
            | Self::Denied(_)
            | Self::Version(_) => false,
        }
    }
}

/// A manifest that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// A later version of the operator wrote it.
    #[error(
        "the manifest has format {found}, and this version reads up to {ours}; use the version of the operator that wrote it or a newer one"
    )]
    Newer {
        /// Its format.
        found: u64,
        /// The newest that is read.
        ours: u32,
    },
    /// Too large to be one.
    #[error("the manifest has {0} bytes, more than 64 MiB")]
    TooLarge(usize),
    /// Not what is written.
    #[error("the manifest cannot be read: {0}")]
    Unreadable(String),
}

/// An archive that was not made; nothing of it is left unless the text says so.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// What is archived did not come, or not to its end.
    #[error("dumping failed: {0}")]
    Dump(#[from] DumpError),
    /// It could not be encoded.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ArchiveError {
    /// Whether the same may go well later by itself.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Dump(error) => error.may_pass(),
            Self::Store(error) => error.may_pass(),
            Self::Cipher(_) => false,
        }
    }
}

/// An archive that is not what was written, or could not be looked at.
#[derive(Debug, Error)]
pub enum CheckError {
    /// It is gone.
    #[error("the archive is not there: {0}")]
    Missing(String),
    /// It has another length.
    #[error("the archive has {found} bytes and not {expected}: it is cut off or another object")]
    Length {
        /// What was recorded.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// It has other content.
    #[error("the archive has the SHA-256 {found} and not {expected}: its content changed since it was written")]
    Digest {
        /// What was recorded.
        expected: String,
        /// What is there.
        found: String,
    },
    /// It is for other recipients.
    #[error("the archive is encrypted for other recipients than the identity that is given")]
    WrongKey,
    /// It has what was written, and that is no archive.
    #[error("the archive is damaged though its digest is right, so it was written so: {0}")]
    Damaged(String),
    /// `pg_restore` cannot list it.
    #[error("pg_restore cannot list the archive: {0}")]
    Listing(#[from] DumpError),
    /// The store did not give it.
    #[error(transparent)]
    Store(StoreError),
}

impl CheckError {
    /// Whether the same may go well later by itself, so that nothing is said about the archive yet.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Store(error) if error.may_pass())
    }
}

impl From<StoreError> for CheckError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(text) => Self::Missing(text),
            error => Self::Store(error),
        }
    }
}

/// An archive that was not restored, or not known to be; what was restored of it is in the database.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// It is not there, not what was recorded, or the store did not give it.
    #[error(transparent)]
    Archive(#[from] CheckError),
    /// It is encrypted and no identity was given.
    #[error("the archive is encrypted and no identity is given")]
    IdentityNeeded,
    /// It is for other recipients.
    #[error("the archive is encrypted for other recipients than the identity that is given")]
    WrongKey,
    /// It has what was written, and that is no archive.
    #[error("the archive is damaged though its digest is right, so it was written so: {0}")]
    Damaged(String),
    /// `pg_restore` failed.
    #[error("restoring failed: {0}")]
    Program(#[from] DumpError),
}

impl RestoreError {
    /// Whether the same may go well later by itself, in a database that is as new as this one was. What `pg_restore` ends with by itself
    /// for a reason that is not known is about what it restores and where: a name that is taken, an extension that is not there.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Archive(error) => error.may_pass(),
            Self::Program(DumpError::Failed { code: Some(_), .. })
            | Self::IdentityNeeded
            | Self::WrongKey
            | Self::Damaged(_) => false,
            Self::Program(error) => error.may_pass(),
        }
    }
}

impl From<CipherError> for RestoreError {
    fn from(error: CipherError) -> Self {
        match error {
            CipherError::WrongKey => Self::WrongKey,
            CipherError::IdentityNeeded => Self::IdentityNeeded,
            error => Self::Damaged(error.to_string()),
        }
    }
}
