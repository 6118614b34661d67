//! What `plpgsql_check` finds in the functions: nothing that is not allowed here, with its reason.

use std::io::{self, Write as _};

use crate::support::{server, with_database};

/// Function, beginning of the finding, and why it stays. Functions of role keepers are copies of `_keep`.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("_build_tenant_schema", INJECTION, "what is joined to the statement is a constant, and its parts are %I and %L"),
    ("_cover_table", INJECTION, "the table is %I.%I, tests are _policy_test's, and roles are quoted one by one"),
    ("_drop_dependents", INJECTION, "the kind is one of four, and names are _dependent_name's, which quotes them"),
    ("_drop_inside", INJECTION, "kind is a constant and names are of the catalogue, quoted, both from _purge_part"),
    ("_drop_tenant_roles", "the expression is not SQL injection safe", "roles are %I, one statement for each"),
    ("_empty_views", INJECTION, "the statement is _outside_references', whose names are %I"),
    (
        "_give_back_grants",
        INJECTION,
        "names and grantees are quoted, and privilege and kind are what _take_grants noted",
    ),
    ("_give_rights", INJECTION, "objects are %I.%I or _routine_name's, roles and columns are quoted one by one"),
    ("_grant_on_adopted", INJECTION, "names are the catalogue's, quoted, and what failed is granted one by one"),
    ("_grant_to_new_roles", INJECTION, "names are %I.%I or _routine_name's, and what failed is granted one by one"),
    ("_institution_in_source", INJECTION, "the table is %I.%I, and the type one of three that are listed"),
    ("_keep", INJECTION, "only _role_command and _as_keeper call it, and who writes the statements quotes every name"),
    ("_lock_dependent", INJECTION, "the kind is one of four, and names are _dependent_name's, which quotes them"),
    ("_lock_tables", INJECTION, "names are regclass as text, which quotes them"),
    (
        "_make_snapshot",
        INJECTION,
        "columns are _snapshot_tables', which quotes names and takes types from the catalogue",
    ),
    ("_only_ours", INJECTION, "grantees are quoted one by one"),
    ("_persist", INJECTION, "the statement is one of _drift, whose names are %I"),
    ("_snapshot_content", INJECTION, "each hash is an expression over one %I"),
    ("_take_rights", INJECTION, "objects are %I.%I or _routine_name's, and roles are quoted one by one"),
    ("_take_references", INJECTION, "the statement is _outside_references', whose names are %I"),
    ("_take_grants", INJECTION, "names and grantees are quoted, and privilege and kind are of the catalogue"),
    ("record_installation", INJECTION, "the signature is regprocedure as text, which quotes it"),
    ("repair_tenant_schema", INJECTION, "the statement is one of _drift, whose names are %I"),
    ("_grant_to_new_roles", STABLE, "it grants; dynamic statements are not seen"),
    ("_keep", "routine is marked as VOLATILE", "it changes roles; dynamic statements are not seen"),
    ("_reserved", STABLE, "each of its queries sees what was committed while the caller waited for a lock"),
    ("_restorable", STABLE, "each of its queries sees what was committed while the caller waited for a lock"),
    ("_snapshot_content", STABLE, "it reads what the same call has just copied"),
    ("_standing_tenant", STABLE, "each of its queries sees what was committed while the caller waited for a lock"),
    ("_system_identifier", "routine is marked as STABLE", "a server's identifier never changes"),
];

const INJECTION: &str = "text type variable is not sanitized";
const STABLE: &str = "routine is marked as VOLATILE, should be STABLE";

/// Every function that is written in PL/pgSQL, and what is found in it. A trigger's is checked with its table.
const FINDINGS: &str = "
    SELECT p.proname::text, f.message, format('%s(), line %s: %s: %s %s: %s', p.proname, f.lineno, f.level, f.sqlstate, f.message, f.detail)
    FROM pg_proc AS p
    JOIN pg_language AS l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
    LEFT JOIN pg_trigger AS t ON t.tgfoid = p.oid
    CROSS JOIN LATERAL plpgsql_check_function_tb(
        p.oid, coalesce(t.tgrelid, 0), fatal_errors => false, extra_warnings => true, performance_warnings => true, security_warnings => true) AS f
    WHERE p.pronamespace = 'edu_matrix_hub_schema'::regnamespace
    ORDER BY p.proname, f.lineno";

#[tokio::test]
async fn plpgsql_check_finds_nothing_that_is_not_allowed() {
    with_database(async |database| {
        let available = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'plpgsql_check')";
        if !database.one::<bool>(available).await {
            // Past the test's captured output, so that it is seen when the test passes.
            writeln!(io::stderr(), "skipped: this PostgreSQL lacks the extension plpgsql_check").unwrap();
            return;
        }
        // Role keepers have functions of their own, and the first tenant makes the first.
        database.tenant("kept").await;
        // In a session of its own: the extension trips over functions that its session called before.
        let checker = database.connect(&server().user).await;
        checker.batch_execute("CREATE EXTENSION plpgsql_check").await.unwrap();
        let allowed = |function: &str, message: &str| {
            ALLOWED.iter().any(|(name, beginning, _)| {
                let copied = *name == "_keep" && function.starts_with("_keep_") && function != "_keep_quiet";
                (function == *name || copied) && message.starts_with(beginning)
            })
        };
        let mut left = Vec::new();
        for row in checker.query(FINDINGS, &[]).await.unwrap() {
            let [function, message, text] = [0, 1, 2].map(|column| row.get::<_, String>(column));
            if !allowed(&function, &message) {
                left.push(text);
            }
        }
        assert!(left.is_empty(), "mend these, or allow them with a reason:\n{}", left.join("\n"));
        // It does look.
        let broken = "CREATE FUNCTION edu_matrix_hub_schema._broken() RETURNS integer LANGUAGE plpgsql AS \
                      'DECLARE unused integer; BEGIN RETURN (SELECT no_column FROM edu_matrix_hub_schema.tenant_schemas); END'";
        database.admin.batch_execute(broken).await.unwrap();
        let rows = checker.query(FINDINGS, &[]).await.unwrap();
        let found: Vec<String> = rows.iter().filter(|row| row.get::<_, &str>(0) == "_broken").map(|row| row.get(2)).collect();
        assert!(found.iter().any(|text| text.contains("no_column")), "{found:?}");
    })
    .await;
}
