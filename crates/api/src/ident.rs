//! Names that PostgreSQL will accept, as types.
//!
//! An [`Ident`] or a [`SchemaName`] is a name that has passed every check, so that nothing later has
//! to check again. This file knows the rules of names only; whether a name is still free is for the database to say.

#![allow(clippy::doc_markdown, reason = "PostgreSQL is a name, not code")]

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

/// Schemas that no tenant may be called like, because they belong to PostgreSQL or to the operator.
pub const RESERVED_SCHEMAS: [&str; 3] = ["edu_matrix_hub_schema", "information_schema", "public"];

/// What no tenant's schema may begin with, and who keeps it for itself: the operator's are the sandboxes of running jobs.
pub const RESERVED_PREFIXES: [(&str, &str); 2] = [("pg_", "PostgreSQL"), ("edu_matrix_work_", "the operator")];

/// Why a text is not a PostgreSQL identifier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdentError {
    /// The text is empty.
    #[error("an identifier must not be empty")]
    Empty,
    /// The text is longer than PostgreSQL keeps; PostgreSQL itself would cut it silently.
    #[error("identifier {name:?} has {bytes} bytes, PostgreSQL keeps {}; choose a shorter one", Ident::MAX_BYTES)]
    TooLong {
        /// The text that was given.
        name: String,
        /// Its length in bytes of UTF-8.
        bytes: usize,
    },
    /// The text contains a NUL, which cannot be sent to PostgreSQL.
    #[error("identifier {name:?} contains a NUL character; remove it")]
    Nul {
        /// The text that was given.
        name: String,
    },
}

/// Why a text cannot be the name of a tenant's schema.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaNameError {
    /// The text is not an identifier at all.
    #[error(transparent)]
    Ident(#[from] IdentError),
    /// The text has characters that a schema's name may not have.
    #[error(
        "schema name {name:?} may only have lower-case letters, digits and underscores and must not begin with a \
         digit, unless it is inst_ followed by a UUID; choose another"
    )]
    Characters {
        /// The text that was given.
        name: String,
    },
    /// The name begins with one of [`RESERVED_PREFIXES`].
    #[error("schema name {name:?} begins with {prefix}, which {keeper} keeps for itself; choose another prefix")]
    ReservedPrefix {
        /// The text that was given.
        name: String,
        /// What it begins with.
        prefix: &'static str,
        /// Whose prefix it is.
        keeper: &'static str,
    },
    /// The name belongs to PostgreSQL or to the operator.
    #[error("schema name {name:?} is reserved; choose a name of your own, such as inst_{name}")]
    Reserved {
        /// The text that was given.
        name: String,
    },
    /// The name looks like a backup's, and what looks like a backup is treated as one.
    #[error("schema name {name:?} has the form of a backup (_bak_ and 14 digits at its end); choose another ending")]
    BackupForm {
        /// The text that was given.
        name: String,
    },
}

/// Why a text is not an institution's id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("institution id {text:?} is not a UUID with hyphens; write it like 3f0c1d52-8a3e-4a43-9d3b-0d1f6a2b7c11")]
pub struct InstitutionIdError {
    text: String,
}

/// A valid PostgreSQL identifier: 1 to 63 bytes without NUL.
///
/// `Display` quotes it for SQL, so that an identifier written into a statement cannot be anything but an identifier.
/// [`Ident::as_str`] is the bare name, for parameters and for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ident(String);

/// A name that a tenant's schema may have.
///
/// `Display` is the bare name, for people. SQL takes [`SchemaName::ident`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SchemaName(Ident);

/// The id of an institution, a UUID; written in lower case with hyphens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstitutionId(Uuid);

impl Ident {
    /// How many bytes of a name PostgreSQL keeps (`NAMEDATALEN` less one).
    pub const MAX_BYTES: usize = 63;

    /// Checks that `name` is an identifier.
    pub fn new(name: impl Into<String>) -> Result<Self, IdentError> {
        let name = name.into();
        if name.is_empty() {
            return Err(IdentError::Empty);
        }
        if name.contains('\0') {
            return Err(IdentError::Nul { name });
        }
        if name.len() > Self::MAX_BYTES {
            let bytes = name.len();
            return Err(IdentError::TooLong { name, bytes });
        }
        Ok(Self(name))
    }

    /// The bare name, unquoted.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

impl FromStr for Ident {
    type Err = IdentError;

    fn from_str(name: &str) -> Result<Self, IdentError> {
        Self::new(name)
    }
}

impl TryFrom<String> for Ident {
    type Error = IdentError;

    fn try_from(name: String) -> Result<Self, IdentError> {
        Self::new(name)
    }
}

impl From<Ident> for String {
    fn from(ident: Ident) -> Self {
        ident.0
    }
}

impl SchemaName {
    /// Checks that `name` may be the name of a tenant's schema.
    pub fn new(name: impl Into<String>) -> Result<Self, SchemaNameError> {
        Self::of(name.into(), |text| is_plain(text) || is_institution_with_hyphens(text))
    }

    /// Checks that `name` may be that of a schema which stands already: anything that is no control character.
    pub fn standing(name: impl Into<String>) -> Result<Self, SchemaNameError> {
        Self::of(name.into(), |text| !text.contains(char::is_control))
    }

    fn of(name: String, may_be: impl Fn(&str) -> bool) -> Result<Self, SchemaNameError> {
        let ident = Ident::new(name)?;
        let text = ident.as_str();
        let name = || text.to_owned();
        if !may_be(text) {
            return Err(SchemaNameError::Characters { name: name() });
        }
        if let Some((prefix, keeper)) = RESERVED_PREFIXES.into_iter().find(|(prefix, _)| text.starts_with(prefix)) {
            return Err(SchemaNameError::ReservedPrefix { name: name(), prefix, keeper });
        }
        if RESERVED_SCHEMAS.contains(&text) {
            return Err(SchemaNameError::Reserved { name: name() });
        }
        if has_backup_form(text) {
            return Err(SchemaNameError::BackupForm { name: name() });
        }
        Ok(Self(ident))
    }

    /// The name that a tenant gets from its institution: `inst_` and the UUID with `_` for `-`.
    #[must_use]
    pub fn for_institution(institution: InstitutionId) -> Self {
        let uuid = institution.0.hyphenated().to_string().replace('-', "_");
        // 41 bytes of lower-case letters, digits and underscores, which satisfy every rule.
        Self(Ident(format!("inst_{uuid}")))
    }

    /// The name that a tenant without institution gets from its object: `ts_` and 20 hexadecimal digits of a hash.
    ///
    /// A Kubernetes name may have four times the bytes of a schema's name and characters that need quoting, so it is
    /// hashed rather than cut: two long names with the same beginning must not get the same schema.
    #[must_use]
    pub fn for_object(namespace: &str, name: &str) -> Self {
        let digest = Sha256::digest(format!("{namespace}/{name}"));
        let first_bytes = digest.iter().take(10).fold(0_u128, |bytes, byte| (bytes << 8) | u128::from(*byte));
        // 23 bytes of lower-case letters, digits and one underscore, which satisfy every rule.
        Self(Ident(format!("ts_{first_bytes:020x}")))
    }

    /// The bare name, unquoted.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name as SQL takes it.
    #[must_use]
    pub fn ident(&self) -> &Ident {
        &self.0
    }
}

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SchemaName {
    type Err = SchemaNameError;

    fn from_str(name: &str) -> Result<Self, SchemaNameError> {
        Self::new(name)
    }
}

impl TryFrom<String> for SchemaName {
    type Error = SchemaNameError;

    fn try_from(name: String) -> Result<Self, SchemaNameError> {
        Self::new(name)
    }
}

impl From<SchemaName> for String {
    fn from(name: SchemaName) -> Self {
        name.0.into()
    }
}

impl From<SchemaName> for Ident {
    fn from(name: SchemaName) -> Self {
        name.0
    }
}

impl InstitutionId {
    /// The UUID itself, as a parameter of SQL.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for InstitutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for InstitutionId {
    type Err = InstitutionIdError;

    fn from_str(text: &str) -> Result<Self, InstitutionIdError> {
        let error = || InstitutionIdError { text: text.to_owned() };
        // The uuid crate also reads braces, URNs and bare digits; one thing should have one spelling.
        if text.len() != 36 {
            return Err(error());
        }
        Uuid::try_parse(text).map(Self).map_err(|_| error())
    }
}

impl TryFrom<String> for InstitutionId {
    type Error = InstitutionIdError;

    fn try_from(text: String) -> Result<Self, InstitutionIdError> {
        text.parse()
    }
}

impl From<Uuid> for InstitutionId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl From<InstitutionId> for String {
    fn from(id: InstitutionId) -> Self {
        id.to_string()
    }
}

/// Whether `text` is `^[a-z_][a-z0-9_]*$`.
fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether `text` is `inst_` and a UUID in lower case with hyphens, a form that applications already use.
fn is_institution_with_hyphens(text: &str) -> bool {
    text.strip_prefix("inst_")
        .is_some_and(|uuid| uuid.parse::<InstitutionId>().is_ok() && !uuid.contains(|c: char| c.is_ascii_uppercase()))
}

/// Whether `text` ends like a backup's name: `_bak_`, 14 digits and perhaps `_` and a number.
fn has_backup_form(text: &str) -> bool {
    fn is_stamped(text: &str) -> bool {
        let (rest, digits) = split_digits(text);
        digits == 14 && rest.ends_with("_bak_")
    }
    let (rest, digits) = split_digits(text);
    is_stamped(text) || (digits > 0 && rest.strip_suffix('_').is_some_and(is_stamped))
}

/// What comes before the digits at the end of `text`, and how many digits there are.
fn split_digits(text: &str) -> (&str, usize) {
    let rest = text.trim_end_matches(|c: char| c.is_ascii_digit());
    (rest, text.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check_schema_name(name: &str, expected: &str) {
        let found = match SchemaName::new(name) {
            Ok(name) => name.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn identifiers_are_quoted_for_sql() {
        let ident = Ident::new("a\"b").unwrap();
        assert_eq!(ident.to_string(), "\"a\"\"b\"");
        assert_eq!(ident.as_str(), "a\"b");
    }

    #[test]
    fn identifiers_are_measured_in_bytes() {
        assert!(Ident::new("a".repeat(63)).is_ok());
        assert_eq!(
            Ident::new("é".repeat(32)).unwrap_err().to_string(),
            format!("identifier {:?} has 64 bytes, PostgreSQL keeps 63; choose a shorter one", "é".repeat(32))
        );
        assert_eq!(Ident::new(""), Err(IdentError::Empty));
        assert_eq!(Ident::new("a\0"), Err(IdentError::Nul { name: "a\0".into() }));
    }

    #[test]
    fn schema_names_say_which_rule_they_break() {
        check_schema_name("education", "education");
        check_schema_name("_x1", "_x1");
        check_schema_name("inst_3f0c1d52-8a3e-4a43-9d3b-0d1f6a2b7c11", "inst_3f0c1d52-8a3e-4a43-9d3b-0d1f6a2b7c11");
        check_schema_name("a_bak_2026010112000", "a_bak_2026010112000");
        check_schema_name("a_bak_202601011200001", "a_bak_202601011200001");
        check_schema_name("a_bak_20260101120000_", "a_bak_20260101120000_");
        check_schema_name(
            "pg_x",
            "schema name \"pg_x\" begins with pg_, which PostgreSQL keeps for itself; choose another prefix",
        );
        check_schema_name(
            "edu_matrix_work_x",
            "schema name \"edu_matrix_work_x\" begins with edu_matrix_work_, which the operator keeps for itself; choose another prefix",
        );
        check_schema_name("edu_matrix_work", "edu_matrix_work");
        check_schema_name(
            "public",
            "schema name \"public\" is reserved; choose a name of your own, such as inst_public",
        );
        for backup in ["a_bak_20260101120000", "a_bak_20260101120000_2", "_bak_20260101120000"] {
            assert_eq!(SchemaName::new(backup), Err(SchemaNameError::BackupForm { name: backup.into() }));
        }
        for odd in ["1a", "A", "a-b", "a b", "é", "inst_3F0C1D52-8A3E-4A43-9D3B-0D1F6A2B7C11"] {
            assert_eq!(SchemaName::new(odd), Err(SchemaNameError::Characters { name: odd.into() }));
        }
        assert_eq!(SchemaName::new(""), Err(SchemaNameError::Ident(IdentError::Empty)));
    }

    #[test]
    fn names_made_by_the_operator_are_valid() {
        let id: InstitutionId = "3F0C1D52-8A3E-4A43-9D3B-0D1F6A2B7C11".parse().unwrap();
        let name = SchemaName::for_institution(id);
        assert_eq!(name.as_str(), "inst_3f0c1d52_8a3e_4a43_9d3b_0d1f6a2b7c11");
        assert_eq!(SchemaName::new(name.as_str()), Ok(name));
        // printf team-a/school | sha256sum | cut -c-20
        assert_eq!(SchemaName::for_object("team-a", "school").as_str(), "ts_aae3bd0e6e65e270777c");
    }

    #[test]
    fn institution_ids_have_one_spelling() {
        for odd in ["", "3f0c1d528a3e4a439d3b0d1f6a2b7c11", "{3f0c1d52-8a3e-4a43-9d3b-0d1f6a2b7c11}"] {
            assert!(odd.parse::<InstitutionId>().is_err(), "{odd}");
        }
    }

    #[test]
    fn names_and_ids_are_written_in_json_as_people_write_them() {
        fn check<T: serde::de::DeserializeOwned + Serialize>(text: &str, expected: Option<&str>) {
            let read = serde_json::from_value::<T>(text.into()).ok();
            let found = read.map(|value| serde_json::to_value(value).unwrap());
            assert_eq!(found, expected.map(Into::into), "{text}");
        }
        check::<Ident>("Odd \"name\"", Some("Odd \"name\""));
        check::<Ident>("", None);
        check::<SchemaName>("education", Some("education"));
        check::<SchemaName>("public", None);
        let id = "3f0c1d52-8a3e-4a43-9d3b-0d1f6a2b7c11";
        check::<InstitutionId>(&id.to_uppercase(), Some(id));
        check::<InstitutionId>("3f0c1d52", None);
        assert_eq!(id.parse::<InstitutionId>().unwrap().uuid(), Uuid::parse_str(id).unwrap());
    }

    proptest! {
        #[test]
        fn quoting_can_be_undone(name in "\\PC{1,20}") {
            if let Ok(ident) = Ident::new(name.clone()) {
                let quoted = ident.to_string();
                let inner = &quoted[1..quoted.len() - 1];
                prop_assert_eq!(inner.replace("\"\"", "\""), name);
                prop_assert!(!inner.replace("\"\"", "").contains('"'));
            }
        }

        #[test]
        fn generated_names_are_valid(namespace in "[a-z-]{1,63}", name in "[a-z.-]{1,253}", id: [u8; 16]) {
            let name = SchemaName::for_object(&namespace, &name);
            prop_assert_eq!(SchemaName::new(name.as_str()), Ok(name));
            let name = SchemaName::for_institution(Uuid::from_bytes(id).into());
            prop_assert_eq!(SchemaName::new(name.as_str()), Ok(name));
        }

        #[test]
        fn any_text_is_answered(name in any::<String>()) {
            let _ = (Ident::new(name.clone()), SchemaName::new(name.clone()), name.parse::<InstitutionId>());
        }
    }
}
