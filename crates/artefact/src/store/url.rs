//! Where archives go, as a user writes it: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or
//! `file:///folder`. It has no secret, so it may be shown everywhere; one that has is refused without being repeated. A folder
//! is taken only below the root that the operator was started with: users write the url, and the disk is the operator's.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

use crate::error::UrlError;

/// The kind of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Amazon S3, or a server that speaks as it does.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage.
    Az,
    /// A folder that is mounted into the operator's pod.
    File,
}

impl Scheme {
    /// What stands before `://`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Az => "az",
            Self::File => "file",
        }
    }
}

/// A place for archives that has the form of one; whether it is there is found out when it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreUrl {
    scheme: Scheme,
    /// Empty for a folder.
    bucket: String,
    /// Parts joined by slashes, without one at either end; for a folder its path without the first slash.
    prefix: String,
    /// The root that a folder must lie below.
    root: Option<PathBuf>,
}

impl StoreUrl {
    /// Reads a url. `file_store_root` is the folder below which `file://` may lead; without one it leads nowhere.
    pub fn parse(text: &str, file_store_root: Option<&Path>) -> Result<Self, UrlError> {
        if text.chars().any(char::is_control) {
            return Err(UrlError::ControlCharacter);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
        let scheme = match scheme {
            "s3" => Scheme::S3,
            "gs" => Scheme::Gs,
            "az" => Scheme::Az,
            "file" => Scheme::File,
            // What stands there may be the beginning of a password that holds `://`, so it is told only where it is a word.
            other if other.len() <= 16 && other.chars().all(|c| c.is_ascii_alphanumeric()) => {
                return Err(UrlError::Scheme(other.to_owned()));
            }
            _ => return Err(UrlError::NoScheme),
        };
        if rest.contains('@') {
            return Err(UrlError::Credentials);
        }
        if rest.contains(['?', '#']) {
            return Err(UrlError::Query);
        }
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        // One slash at the end is a habit and means nothing.
        let prefix = path.strip_suffix('/').unwrap_or(path);
        if !prefix.is_empty() {
            prefix.split('/').try_for_each(part)?;
        }
        let root = match (scheme, file_store_root) {
            (Scheme::File, _) if !bucket.is_empty() => return Err(UrlError::Host),
            (Scheme::File, None) => return Err(UrlError::NoRoot),
            (Scheme::File, Some(root)) => {
                let folder = Path::new("/").join(prefix);
                if !folder.starts_with(root) || !plain(root) {
                    return Err(UrlError::OutsideRoot { root: root.to_owned() });
                }
                Some(root.to_owned())
            }
            _ => {
                check_bucket(bucket)?;
                None
            }
        };
        Ok(Self { scheme, bucket: bucket.to_owned(), prefix: prefix.to_owned(), root })
    }

    /// The kind of the store.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The bucket or container; empty for a folder.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// What comes before each key in the bucket, without slashes at its ends; empty for a folder, which is all of it.
    #[must_use]
    pub fn prefix(&self) -> &str {
        if self.scheme == Scheme::File { "" } else { &self.prefix }
    }

    /// The folder of a `file://`, and the root that it must lie below.
    pub(crate) fn folder(&self) -> Option<(PathBuf, &Path)> {
        let root = self.root.as_deref()?;
        Some((Path::new("/").join(&self.prefix), root))
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

fn part(part: &str) -> Result<(), UrlError> {
    match part {
        "" => Err(UrlError::EmptyPart),
        "." | ".." => Err(UrlError::Dots),
        // `%20` would mean a space to one program and three characters to another; the rest has a meaning to some store.
        part => match part.chars().find(|c| !(c.is_alphanumeric() || "-_.+=,~!() ".contains(*c))) {
            Some(character) => Err(UrlError::Character(character)),
            None => Ok(()),
        },
    }
}

fn check_bucket(bucket: &str) -> Result<(), UrlError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match bucket {
        "" => Err(UrlError::NoBucket),
        "." | ".." => Err(UrlError::Dots),
        bucket => match bucket.chars().find(|c| !fine(*c)) {
            Some(character) => Err(UrlError::Character(character)),
            None => Ok(()),
        },
    }
}

fn plain(root: &Path) -> bool {
    let mut parts = root.components();
    parts.next() == Some(Component::RootDir) && parts.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_urls_are_read_and_shown() {
        let check = |text: &str, bucket: &str, prefix: &str, shown: &str| {
            let url = StoreUrl::parse(text, Some(Path::new("/backups"))).unwrap();
            assert_eq!((url.bucket(), url.prefix(), url.to_string().as_str()), (bucket, prefix, shown), "{text}");
        };
        check("s3://b", "b", "", "s3://b");
        check("s3://b/", "b", "", "s3://b");
        check("s3://my.bucket/a/b c/", "my.bucket", "a/b c", "s3://my.bucket/a/b c");
        check("gs://b/x", "b", "x", "gs://b/x");
        check("az://c/x.y", "c", "x.y", "az://c/x.y");
        check("file:///backups", "", "", "file:///backups");
        check("file:///backups/one", "", "", "file:///backups/one");
    }

    #[test]
    fn bad_urls_are_refused_each_with_its_own_message() {
        let root = Some(Path::new("/backups"));
        let check = |text: &str, root, says: &str| {
            let message = StoreUrl::parse(text, root).unwrap_err().to_string();
            assert!(message.contains(says), "{text}: {message}");
            assert!(!message.contains("hunter2"), "{message}");
        };
        check("s3://user:hunter2@b/x", root, "credentials");
        check("s3://b/x@y", root, "credentials");
        check("hunter2-is+the_password://b", root, "begin");
        check("s3://b/x?region=eu", root, "`?`");
        check("s3://b/x#y", root, "`?`");
        check("s3://b/../x", root, "`..`");
        check("s3://b/./x", root, "`..`");
        check("s3://../x", root, "`..`");
        check("s3://b//x", root, "empty part");
        check("s3://b/x//", root, "empty part");
        check("ftp://b/x", root, "`ftp`");
        check("S3://b/x", root, "`S3`");
        check("/backups", root, "begin");
        check("", root, "begin");
        check("s3://", root, "no bucket");
        check("s3:///x", root, "no bucket");
        check("az://", root, "no bucket");
        check("s3://b/x\ny", root, "control character");
        check("s3://b/x%20y", root, "'%'");
        check("s3://b\\c/x", root, "'\\\\'");
        check("s3://büro/x", root, "'ü'");
        check("file:///backups/x", None, "file-store root");
        check("file:///etc", root, "/backups");
        check("file:///backups-of-others", root, "/backups");
        check("file:///backups/../etc", root, "`..`");
        check("file://host/backups", root, "three slashes");
        check("file:///backups/x", Some(Path::new("/backups/../etc")), "below");
        check("file:///x", Some(Path::new("x")), "below");
    }
}
