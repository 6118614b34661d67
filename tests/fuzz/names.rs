//! Identifiers, names of schemas, ids of institutions.

use std::{fmt::Debug, sync::LazyLock};

use proptest::{prelude::*, sample::select};
use regex::Regex;
use serde::{Serialize, de::DeserializeOwned};
use tenant_schema_operator::ident::{Ident, InstitutionId, RESERVED_PREFIXES, RESERVED_SCHEMAS, SchemaName};

/// A text near a name that is good: one character is put in, taken out or replaced, anywhere.
fn near() -> impl Strategy<Value = String> {
    let good = prop_oneof![
        "[a-z_][a-z0-9_]{0,62}",
        "inst_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "[a-z]{1,9}_bak_[0-9]{13,15}(_[0-9]{0,3})?",
        "(pg_|edu_matrix_work_|edu_matrix_work|public|information_schema)[a-z_]{0,2}",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        any::<String>(),
    ];
    let change = prop_oneof![any::<char>(), select(vec!['"', '\0', '-', '_', 'A', '0', 'é', '\u{ff10}', '\n'])];
    (good, change, any::<prop::sample::Index>(), 0..5_u8).prop_map(|(good, change, at, how)| {
        let mut characters: Vec<char> = good.chars().collect();
        if characters.is_empty() {
            return good;
        }
        let at = at.index(characters.len());
        match how {
            0 => characters.insert(at, change),
            1 => characters[at] = change,
            2 => drop(characters.remove(at)),
            _ => {}
        }
        characters.into_iter().collect()
    })
}

static SCHEMA: LazyLock<Regex> = LazyLock::new(|| {
    let hyphens = "inst_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    Regex::new(&format!(r"\A(?:[a-z_][a-z0-9_]{{0,62}}|{hyphens})\z")).unwrap()
});
static BACKUP: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"_bak_[0-9]{14}(_[0-9]+)?\z").unwrap());

/// What may be the name of a tenant's schema, said a second time in another way.
fn may_be_a_schema(name: &str) -> bool {
    SCHEMA.is_match(name)
        && !BACKUP.is_match(name)
        && !RESERVED_SCHEMAS.contains(&name)
        && !RESERVED_PREFIXES.iter().any(|(prefix, _)| name.starts_with(prefix))
}

fn survives_json<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, text: &str) {
    let json = serde_json::to_string(value).unwrap();
    assert_eq!(json, serde_json::to_string(text).unwrap());
    assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), value);
}

/// A message that is shown has no characters that move a reader's cursor.
fn is_one_line(message: &str) -> bool {
    !message.contains(char::is_control)
}

proptest! {
    #[test]
    fn an_identifier_is_what_was_written_and_nothing_else_once_quoted(name in near()) {
        match Ident::new(name.clone()) {
            Ok(ident) => {
                prop_assert_eq!(ident.as_str(), &name);
                prop_assert!(name.len() <= Ident::MAX_BYTES && !name.contains('\0'));
                survives_json(&ident, &name);
                let quoted = ident.to_string();
                let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
                prop_assert!(!inner.replace("\"\"", "").contains('"'), "{} ends early", quoted);
                prop_assert_eq!(inner.replace("\"\"", "\""), name);
            }
            Err(error) => {
                prop_assert!(name.is_empty() || name.len() > Ident::MAX_BYTES || name.contains('\0'));
                prop_assert!(is_one_line(&error.to_string()), "{error}");
            }
        }
    }

    #[test]
    fn the_rules_of_schema_names_are_the_same_when_they_are_said_in_another_way(name in near()) {
        match SchemaName::new(name.clone()) {
            Ok(schema) => {
                prop_assert!(may_be_a_schema(&name), "{}", name);
                prop_assert_eq!(schema.to_string(), name.clone());
                prop_assert_eq!(&name.parse::<SchemaName>().unwrap(), &schema);
                survives_json(&schema, &name);
            }
            Err(error) => {
                prop_assert!(!may_be_a_schema(&name), "{}", name);
                prop_assert!(is_one_line(&error.to_string()), "{error}");
                prop_assert!(serde_json::from_value::<SchemaName>(name.into()).is_err());
            }
        }
    }

    #[test]
    fn an_id_of_an_institution_is_printed_as_it_is_read(text in near()) {
        match text.parse::<InstitutionId>() {
            Ok(id) => {
                prop_assert_eq!(id.to_string(), text.to_ascii_lowercase());
                prop_assert_eq!(id.to_string().parse::<InstitutionId>(), Ok(id));
                survives_json(&id, &id.to_string());
                let schema = SchemaName::for_institution(id);
                prop_assert!(may_be_a_schema(schema.as_str()));
            }
            Err(error) => prop_assert!(is_one_line(&error.to_string()), "{error}"),
        }
    }

    #[test]
    fn objects_of_other_names_have_other_schemas(a in "[a-z0-9-]{1,9}", b in "[a-z0-9.-]{1,9}", c in "[a-z0-9-]{1,9}") {
        let name = SchemaName::for_object(&a, &b);
        prop_assert!(may_be_a_schema(name.as_str()));
        prop_assert_eq!(a == c, SchemaName::for_object(&c, &b) == name);
    }
}
