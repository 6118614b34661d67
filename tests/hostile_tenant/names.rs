//! Names that are found first, that look like others, or that are cut at 63 bytes.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    application::Application,
    support::{call, expect},
    world::{
        Attempt,
        Expected::{Nothing, Nuisance},
        REFUSED, login, owner, with_world,
    },
};

/// A table, a column, a constraint and an index with names as long as they can be.
const LONG: &str = "CREATE TABLE school.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \
     (bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb serial PRIMARY KEY, c int UNIQUE CHECK (c > 0)); \
     CREATE INDEX ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc \
     ON school.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa (c)";

pub const ATTEMPTS: &[Attempt] = &[
    login(
        "is a schema of its own name, which a session looks in first",
        "CREATE SCHEMA AUTHORIZATION CURRENT_USER",
        REFUSED,
    ),
    login(
        "hides a catalogue behind a temporary table",
        "CREATE TEMP TABLE pg_class AS SELECT 1 AS oid; CREATE TEMP TABLE tenant_schemas (id int); SET search_path = pg_temp, pg_catalog",
        Nuisance("temporary tables are the session's own; REVOKE TEMPORARY ON DATABASE ends them"),
    ),
    login(
        "hides functions behind temporary ones",
        "CREATE FUNCTION pg_temp.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT ''DROP SCHEMA college'''",
        Nuisance("a session finds temporary functions by their full name only, and only its own"),
    ),
    login(
        "hides a type behind a temporary one",
        "CREATE DOMAIN pg_temp.text AS pg_catalog.text",
        Nuisance("the session's own"),
    ),
    login(
        "plants an operator for all",
        "CREATE OPERATOR public.= (leftarg = name, rightarg = name, function = nameeq)",
        REFUSED,
    ),
    login(
        "plants a function for all",
        "CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz'",
        REFUSED,
    ),
    login(
        "plants a function for the server",
        "CREATE FUNCTION pg_catalog.now2() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        REFUSED,
    ),
    login(
        "lets the operator look in its schema first",
        "ALTER ROLE {keeper} SET search_path = school, pg_catalog",
        REFUSED,
    ),
    login("is called as its neighbour in what others see", "SET application_name = '{their_login}'", Nothing),
    owner(
        "plants operators in its own schema",
        "CREATE OPERATOR school.= (leftarg = name, rightarg = name, function = nameeq); DROP OPERATOR school.= (name, name)",
        Nothing,
    ),
    owner(
        "plants functions in its own schema",
        "CREATE FUNCTION school.format(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'ran'; END $$; \
         CREATE FUNCTION school.pg_get_userbyid(oid) RETURNS name LANGUAGE plpgsql AS $$ BEGIN RAISE 'ran'; END $$",
        Nuisance("nothing of the operator's looks into a tenant's schema"),
    ),
    owner(
        "plants types of the names of built-in ones",
        "CREATE TYPE school.text AS (x int); CREATE DOMAIN school.jsonb AS int",
        Nuisance("the tenant's own"),
    ),
    owner(
        "has a table of a registry's name",
        "CREATE TABLE school.tenant_schemas (id uuid)",
        Nuisance("the tenant's own"),
    ),
    owner("plants a cast between types of all", "CREATE CAST (int AS text) WITH INOUT AS IMPLICIT", REFUSED),
    owner("has names of 63 bytes", LONG, Nuisance("the tenant's own")),
    owner(
        "has names that are statements",
        "CREATE TABLE school.\"x\"\"; DROP SCHEMA college CASCADE; --\" (\"'; SELECT 1; --\" int)",
        Nuisance("every name is quoted"),
    ),
    owner(
        "has names with line breaks",
        "CREATE TABLE school.\"a\nERROR: b\u{1b}[31m\" (id int)",
        Nuisance("they are shown without what controls a terminal"),
    ),
    owner(
        "renames its schema to what a neighbour's is called when it is set aside",
        "ALTER SCHEMA school RENAME TO {aside}x",
        REFUSED,
    ),
    owner(
        "has a table in its schema that is a neighbour's view",
        "CREATE VIEW school.\"college.pupils\" AS SELECT 1 AS id",
        Nuisance("the tenant's own"),
    ),
];

/// Names of roles are made of the schema's name and some digits, and of 63 bytes at most.
#[tokio::test]
async fn tenants_whose_names_differ_in_their_last_bytes_alone_share_no_role() {
    with_world(async |world| {
        let database = &world.database;
        let (mut roles, mut count) = (BTreeSet::new(), 0);
        let mut logins = Vec::new();
        for last in ["a", "b", "_9"] {
            let name = format!("{}{last}", "x".repeat(63 - last.len()));
            let tenant = database.tenant(&name).await;
            assert_eq!(tenant.schema, name);
            database.as_owner(&tenant, "CREATE TABLE pupils (id int)").await;
            for purpose in [Application::of(database, &tenant).await, Application::migrating(database, &tenant).await] {
                // Both of the logins that take turns.
                for password in ["1", "2"] {
                    logins.push((purpose.issued(password).await, name.clone()));
                }
            }
            let blocked = tenant.options(&json!({ "access": "WriteBlocked", "access_cause": "Quota" }));
            expect(&call(&world.lane.client, "set_tenant_access", &blocked).await, "success");
            let own = format!(
                "SELECT array_agg(r.rolname::text) FROM edu_matrix_hub_schema.tenant_schemas AS t JOIN pg_roles AS r ON r.oid = ANY \
                 (t.login_oids || ARRAY[t.owner_role_oid, t.reader_role_oid, t.writer_role_oid, t.deleter_role_oid]) WHERE t.id = '{}'",
                tenant.id
            );
            let own: Vec<String> = database.one(&own).await;
            count += own.len();
            roles.extend(own);
        }
        assert_eq!(roles.len(), count, "{roles:?}");
        assert!(roles.iter().all(|role| role.len() <= 63), "{roles:?}");
        for (login, own) in &logins {
            let seen = format!(
                "SELECT array_agg(n.nspname::text) FROM pg_namespace AS n WHERE n.nspname ~ '^xxx' \
                 AND has_schema_privilege('{login}', n.oid, 'USAGE')"
            );
            assert_eq!(database.one::<Vec<String>>(&seen).await, std::slice::from_ref(own), "{login}");
        }
    })
    .await;
}
