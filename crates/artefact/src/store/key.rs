//! What an object is called. The layout is a promise to those who keep archives for years, so it does not change:
//!
//! ```text
//! <prefix>/<installation>/owner.json                                           whose folder it is
//! <prefix>/<installation>/<schema>/<backup>/<attempt>.dump.zst                 an archive as it is, or
//! <prefix>/<installation>/<schema>/<backup>/<attempt>.dump.zst.age             encrypted
//! <prefix>/<installation>/<schema>/<backup>/<attempt>.manifest.json            what it holds
//! <prefix>/<installation>/probe, <prefix>/<installation>/probe-<uuid>          proof that the store can be written
//! ```
//!
//! All ids are UUIDs in small letters. A [`Key`] is made here alone and always lies in the folder of one installation, so
//! that nothing outside of it can be written, listed or deleted.

use std::fmt;

use uuid::Uuid;

/// The name of an object below the prefix of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The marker that says which installation the folder belongs to.
    #[must_use]
    pub fn owner(installation_id: Uuid) -> Self {
        Self(format!("{installation_id}/owner.json"))
    }

    /// An object that only proves something about the store: of this name for good, or of a name of its own.
    pub(crate) fn probe(installation_id: Uuid, own: Option<Uuid>) -> Self {
        match own {
            Some(own) => Self(format!("{installation_id}/probe-{own}")),
            None => Self(format!("{installation_id}/probe")),
        }
    }

    /// Reads a name that was listed or recorded; nothing if it is not in this installation's folder.
    #[must_use]
    pub fn parse(installation_id: Uuid, path: &str) -> Option<Self> {
        let rest = path.strip_prefix(&format!("{installation_id}/"))?;
        let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
        rest.split('/').all(plain).then(|| Self(path.to_owned()))
    }

    /// The path below the prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is that of an encrypted archive.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.0.rsplit_once('.').is_some_and(|(_, ending)| ending == "age")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which of its objects an installation lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All that it has.
    Installation(Uuid),
    /// Those of one schema.
    Schema {
        /// The installation.
        installation_id: Uuid,
        /// The schema.
        schema_id: Uuid,
    },
    /// Those of one backup, whichever attempt left them.
    Backup {
        /// The installation.
        installation_id: Uuid,
        /// The schema.
        schema_id: Uuid,
        /// The backup.
        backup_id: Uuid,
    },
}

impl Scope {
    pub(crate) fn installation_id(self) -> Uuid {
        match self {
            Self::Installation(id) => id,
            Self::Schema { installation_id, .. } | Self::Backup { installation_id, .. } => installation_id,
        }
    }

    /// The folder, without a slash at its end.
    pub(crate) fn path(self) -> String {
        match self {
            Self::Installation(id) => id.to_string(),
            Self::Schema { installation_id, schema_id } => format!("{installation_id}/{schema_id}"),
            Self::Backup { installation_id, schema_id, backup_id } => {
                format!("{installation_id}/{schema_id}/{backup_id}")
            }
        }
    }
}

/// Where one attempt to make one archive leaves what it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The installation, which has a folder of its own.
    pub installation_id: Uuid,
    /// The schema that is archived.
    pub schema_id: Uuid,
    /// The backup that the archive belongs to.
    pub backup_id: Uuid,
    /// The attempt; a new one each time, so that no attempt overwrites what another has left.
    pub attempt: Uuid,
}

/// Which of the two objects of a [`Place`] it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The archive.
    Dump {
        /// Whether it is encrypted.
        encrypted: bool,
    },
    /// What the archive holds.
    Manifest,
}

impl Place {
    /// The name of the archive.
    #[must_use]
    pub fn dump(&self, encrypted: bool) -> Key {
        self.key(Part::Dump { encrypted })
    }

    /// The name of the manifest.
    #[must_use]
    pub fn manifest(&self) -> Key {
        self.key(Part::Manifest)
    }

    /// The name of either.
    #[must_use]
    pub fn key(&self, part: Part) -> Key {
        let Self { installation_id, schema_id, backup_id, attempt } = self;
        let ending = match part {
            Part::Dump { encrypted: true } => "dump.zst.age",
            Part::Dump { encrypted: false } => "dump.zst",
            Part::Manifest => "manifest.json",
        };
        Key(format!("{installation_id}/{schema_id}/{backup_id}/{attempt}.{ending}"))
    }

    /// Reads a path below the prefix; nothing if it is not written exactly as this crate writes it.
    #[must_use]
    pub fn parse(path: &str) -> Option<(Self, Part)> {
        let mut parts = path.split('/');
        let mut id = || Uuid::try_parse(parts.next()?).ok();
        let (installation_id, schema_id, backup_id) = (id()?, id()?, id()?);
        let (attempt, ending) = parts.next()?.split_once('.')?;
        let place = Self { installation_id, schema_id, backup_id, attempt: Uuid::try_parse(attempt).ok()? };
        let part = match ending {
            "dump.zst.age" => Part::Dump { encrypted: true },
            "dump.zst" => Part::Dump { encrypted: false },
            "manifest.json" => Part::Manifest,
            _ => return None,
        };
        (place.key(part).as_str() == path).then_some((place, part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        installation_id: Uuid::from_u128(1),
        schema_id: Uuid::from_u128(2),
        backup_id: Uuid::from_u128(3),
        attempt: Uuid::from_u128(0xab),
    };

    #[test]
    fn what_is_written_is_read() {
        for part in [Part::Dump { encrypted: true }, Part::Dump { encrypted: false }, Part::Manifest] {
            assert_eq!(Place::parse(PLACE.key(part).as_str()), Some((PLACE, part)));
        }
        assert_eq!(
            PLACE.dump(true).as_str(),
            "00000000-0000-0000-0000-000000000001/00000000-0000-0000-0000-000000000002/\
             00000000-0000-0000-0000-000000000003/00000000-0000-0000-0000-0000000000ab.dump.zst.age"
        );
    }

    #[test]
    fn what_is_written_otherwise_is_not_read() {
        let good = PLACE.manifest().to_string();
        let bad = [
            format!("{good}x"),
            format!("x/{good}"),
            format!("{good}/more"),
            good.replace("ab.", "AB."),
            good.replace("manifest", "owner"),
            good.replacen('-', "", 4),
            good.replacen('/', "//", 1),
            String::new(),
        ];
        for path in bad {
            assert_eq!(Place::parse(&path), None, "{path}");
        }
    }

    #[test]
    fn a_key_stays_in_its_folder() {
        let own = Uuid::from_u128(1);
        let check = |path: &str, is: bool| assert_eq!(Key::parse(own, path).is_some(), is, "{path}");
        check(Key::owner(own).as_str(), true);
        check(PLACE.manifest().as_str(), true);
        check(Key::owner(Uuid::from_u128(2)).as_str(), false);
        check(&format!("{own}/../{}/owner.json", Uuid::from_u128(2)), false);
        check(&format!("{own}//owner.json"), false);
        check(&format!("{own}"), false);
        check(&format!("{own}/"), false);
    }
}
