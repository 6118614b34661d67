//! The script that installs or upgrades the management functions: one transaction of plain SQL, composed from `sql/`.
//!
//! The same text is printed for `psql` and run by the operator, so that both install the same. It may be run again at any
//! time, and in several databases of one server.

use sha2::{Digest, Sha256};

use crate::ident::Ident;

/// The number of the contract between operator and functions; it grows when an older operator cannot use newer functions.
pub const CONTRACT: i32 = 1;

/// Name and text of every installed file, in order.
pub const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sql_files.rs"));

const OPEN: &str = include_str!("../../sql/install/open.sql");
const BOOTSTRAP: &str = include_str!("../../sql/bootstrap.sql");
const ENTER: &str = include_str!("../../sql/install/enter.sql");
const RECORD: &str = include_str!("../../sql/install/record.sql");

/// For whom the script is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A person pipes it into `psql`: roles are made if they are missing.
    Printed,
    /// The operator runs it, and the roles are still missing.
    Bootstrapping,
    /// The operator runs it, and the roles stand.
    Managed,
}

/// The whole script for one owner role.
#[must_use]
pub fn script(owner_role: &Ident, form: Form) -> String {
    let open = OPEN
        .replace(":'owner_role'", &literal(owner_role.as_str()))
        .replace(":'functions_version'", &literal(env!("CARGO_PKG_VERSION")))
        .replace(":'functions_checksum'", &literal(&checksum()))
        .replace(":'contract'", &literal(&CONTRACT.to_string()));
    let bootstrap = (form != Form::Managed).then_some(BOOTSTRAP);
    let files = FILES.iter().map(|(_, text)| *text);
    let parts = ["BEGIN ISOLATION LEVEL READ COMMITTED;\n", &open]
        .into_iter()
        .chain(bootstrap)
        .chain([ENTER])
        .chain(files)
        .chain([RECORD, "COMMIT;\n"]);
    parts.collect()
}

/// SHA-256 over everything that is installed, in hexadecimal.
#[must_use]
pub fn checksum() -> String {
    let mut hasher = Sha256::new();
    for text in [BOOTSTRAP].into_iter().chain(FILES.iter().map(|(_, text)| *text)) {
        hasher.update(text.as_bytes());
    }
    hasher
        .finalize()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// A string constant; a backslash is written so that it means the same with either `standard_conforming_strings`.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_one_transaction_in_order() {
        let role = Ident::new("o'wner").unwrap();
        let text = script(&role, Form::Printed);
        assert!(text.starts_with("BEGIN ISOLATION LEVEL READ COMMITTED;") && text.trim_end().ends_with("COMMIT;"));
        assert!(text.contains("'edu_matrix.owner_role', 'o''wner'"));
        let place = |part: &str| text.find(part).unwrap();
        assert!(place(BOOTSTRAP) < place(ENTER) && place(ENTER) < place(FILES[0].1));
        assert!(!script(&role, Form::Managed).contains(BOOTSTRAP));
    }

    #[test]
    fn registry_comes_before_functions() {
        let folders: Vec<_> = FILES.iter().map(|(name, _)| name.split('/').next().unwrap()).collect();
        let mut sorted = folders.clone();
        sorted.sort_by_key(|folder| {
            ["registry", "schema_management", "observe"].iter().position(|known| known == folder)
        });
        assert_eq!(folders, sorted);
    }
}
