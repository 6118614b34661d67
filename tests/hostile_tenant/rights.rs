//! What each role may do, asked of a live database, as docs/security.md shows it.

use std::{fs, path::Path};

use crate::world::{World, with_world};

const PAGE: &str = "docs/security.md";
const BEGIN: &str = "<!-- What each role may do: written by `cargo test --test hostile_tenant rights`. -->\n";
const END: &str = "<!-- until here -->\n";

/// What is asked about a role, as a boolean over the role's name `{role}`.
const QUESTIONS: [(&str, &str); 15] = [
    ("log in", "(SELECT rolcanlogin FROM pg_roles WHERE rolname = '{role}')"),
    ("make roles", "(SELECT rolcreaterole FROM pg_roles WHERE rolname = '{role}')"),
    ("connect to the database", "has_database_privilege('{role}', current_database(), 'CONNECT')"),
    ("make temporary tables", "has_database_privilege('{role}', current_database(), 'TEMPORARY')"),
    ("make schemas", "has_database_privilege('{role}', current_database(), 'CREATE')"),
    ("make objects in `public`", "has_schema_privilege('{role}', 'public', 'CREATE')"),
    ("use the tenant's schema", "has_schema_privilege('{role}', 'school', 'USAGE')"),
    ("make objects in it", "has_schema_privilege('{role}', 'school', 'CREATE')"),
    (
        "read its tables",
        "has_schema_privilege('{role}', 'school', 'USAGE') AND has_table_privilege('{role}', 'school.pupils', 'SELECT')",
    ),
    (
        "write its tables",
        "has_schema_privilege('{role}', 'school', 'USAGE') AND has_table_privilege('{role}', 'school.pupils', 'INSERT') \
         AND has_table_privilege('{role}', 'school.pupils', 'UPDATE') AND has_table_privilege('{role}', 'school.pupils', 'DELETE')",
    ),
    (
        "call its functions",
        "has_schema_privilege('{role}', 'school', 'USAGE') AND has_function_privilege('{role}', 'school.greet()', 'EXECUTE')",
    ),
    ("use another tenant's schema", "has_schema_privilege('{role}', 'college', 'USAGE')"),
    ("use what is set aside", "has_schema_privilege('{role}', '{aside}', 'USAGE')"),
    (
        "call the functions for people",
        "has_schema_privilege('{role}', 'edu_matrix_hub_schema', 'USAGE') \
         AND has_function_privilege('{role}', 'edu_matrix_hub_schema.create_institution_schema(uuid, text)', 'EXECUTE')",
    ),
    (
        "call the functions that act for all tenants",
        "has_schema_privilege('{role}', 'edu_matrix_hub_schema', 'USAGE') \
         AND has_function_privilege('{role}', 'edu_matrix_hub_schema.claim_lane(jsonb)', 'EXECUTE')",
    ),
];

async fn table(world: &World) -> String {
    // A session of a migration begins as the owner role, so what that may counts besides.
    let roles = [
        ("login of applications", world.login.clone()),
        ("login of migrations", world.migration.clone()),
        ("reader", world.hostile.reader.clone()),
        ("writer", world.hostile.writer.clone()),
        ("owner", world.hostile.owner.clone()),
        ("`edu_matrix_admin`", world.database.admin_role()),
        ("`edu_matrix_operator`", world.database.operator_role()),
        ("`edu_matrix_owner`", world.database.owner_role.clone()),
    ];
    let head: Vec<_> = roles.iter().map(|(shown, _)| *shown).collect();
    let mut lines = vec![format!("| May it | {} |\n|---|{}", head.join(" | "), "---|".repeat(roles.len()))];
    for (shown, question) in QUESTIONS {
        let mut answers = Vec::new();
        for (_, role) in &roles {
            let asked = async |role: &str| {
                let question = world.filled(&question.replace("{role}", role));
                world.database.one::<bool>(&format!("SELECT {question}")).await
            };
            let may = asked(role).await || *role == world.migration && asked(&world.hostile.owner).await;
            answers.push(if may { "yes" } else { "–" });
        }
        lines.push(format!("| {shown} | {} |", answers.join(" | ")));
    }
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn the_table_of_rights_is_what_a_live_database_answers() {
    with_world(async |world| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        let page = fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let fresh = format!("{before}{BEGIN}\n{}\n{END}{after}", table(&world).await);
        if page != fresh {
            fs::write(&path, fresh).unwrap();
            panic!("{PAGE} was stale and has been written again; commit it");
        }
    })
    .await;
}
