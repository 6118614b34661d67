//! What lets a tenant out of its schema is found, told with the statement that closes it, and closed where it is ours.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    application::Application,
    support::{Database, Lane, Tenant, call, expect, has_keepers, surveyed, with_database},
};

/// What is found of a tenant: [kind, what, repairable, statement].
async fn holes(database: &Database, tenant: &Tenant) -> Vec<(String, String, bool, String)> {
    let query = "SELECT kind, what, repairable, statement FROM edu_matrix_hub_schema._isolation_holes(ARRAY[$1::uuid])";
    let rows = database.admin.query(query, &[&tenant.id]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

/// `(what is done by hand as a superuser, the kind of hole, a part of what is told, the operator may close it)`.
type Hole = (String, &'static str, String, bool);

/// The role of all logins, and the groups of those whose roles one keeper keeps.
async fn entries(database: &Database) -> Vec<String> {
    let registry = "edu_matrix_hub_schema";
    let names = format!(
        "SELECT array_agg(rolname::text) FROM pg_roles WHERE oid IN (
             SELECT connect_role_oid FROM {registry}.installation UNION SELECT connect_role_oid FROM {registry}.role_keepers)"
    );
    let entries: Vec<String> = database.one(&names).await;
    assert_eq!(entries.len(), if has_keepers() { 3 } else { 1 });
    entries
}

async fn all_holes(database: &Database, tenant: &Tenant, neighbour: &Tenant, login: &str) -> Vec<Hole> {
    let group = database.role("group", "NOLOGIN").await;
    let mighty = database.role("mighty", "NOLOGIN CREATEROLE").await;
    let Tenant { owner, reader, writer, .. } = tenant;
    let (name, admin) = (&database.name, database.admin_role());
    let registry = "edu_matrix_hub_schema";
    let entries = entries(database).await;
    let of_entry = |entry: String| {
        (format!("GRANT CREATE ON DATABASE {name} TO {entry}"), "database", format!("{entry} may create"), false)
    };
    let others = vec![
        (format!("ALTER ROLE {reader} BYPASSRLS"), "attribute", "has BYPASSRLS".into(), false),
        (format!("ALTER ROLE {writer} CREATEDB"), "attribute", "has CREATEDB".into(), false),
        (format!("ALTER ROLE {owner} CREATEROLE"), "attribute", "has CREATEROLE".into(), false),
        (format!("ALTER ROLE {login} SUPERUSER"), "attribute", "has SUPERUSER".into(), false),
        (format!("ALTER ROLE {login} REPLICATION"), "attribute", "has REPLICATION".into(), false),
        (
            format!("GRANT {} TO {login}", neighbour.reader),
            "membership",
            format!("\"{}\", a role of another tenant", neighbour.reader),
            false,
        ),
        (format!("GRANT pg_read_all_data TO {login}"), "membership", "a role of the server".into(), false),
        (
            format!("GRANT {group} TO {writer}; GRANT pg_write_all_data TO {group}"),
            "membership",
            format!("\"{writer}\" is a member of \"{group}\", and by that of \"pg_write_all_data\""),
            false,
        ),
        (format!("GRANT {admin} TO {owner}"), "membership", "a role that acts for all tenants".into(), false),
        (format!("GRANT {mighty} TO {login}"), "membership", "CREATEROLE".into(), false),
        (
            format!("GRANT {group} TO {login}; ALTER DATABASE {name} OWNER TO {group}"),
            "membership",
            "the owner of the database".into(),
            false,
        ),
        (format!("GRANT CREATE ON DATABASE {name} TO PUBLIC"), "database", "PUBLIC may create".into(), false),
        (format!("GRANT CREATE ON DATABASE {name} TO {writer}"), "database", format!("{writer} may create"), false),
        ("GRANT CREATE ON SCHEMA public TO PUBLIC".into(), "schema", "CREATE on schema \"public\"".into(), false),
        (
            format!("GRANT {group} TO {login}; GRANT CREATE ON SCHEMA public TO {group}"),
            "schema",
            format!("{group} has CREATE on schema \"public\""),
            false,
        ),
        (format!("GRANT USAGE ON SCHEMA {registry} TO PUBLIC"), "schema", "the registry".into(), true),
        (format!("GRANT USAGE ON SCHEMA {registry} TO {reader}"), "schema", "the registry".into(), true),
        (
            format!("GRANT {group} TO {login}; GRANT USAGE ON SCHEMA {registry} TO {group}"),
            "schema",
            format!("{group} has USAGE on schema \"{registry}\""),
            false,
        ),
        (
            format!(
                "UPDATE {registry}.tenant_schemas SET fingerprint = NULL WHERE id = '{}'; GRANT USAGE ON SCHEMA {} TO PUBLIC",
                neighbour.id, neighbour.schema
            ),
            "schema",
            "another tenant's schema".into(),
            false,
        ),
        (format!("GRANT SELECT ON {registry}.tenant_schemas TO PUBLIC"), "table", "PUBLIC has SELECT on".into(), true),
        (format!("GRANT SELECT (id) ON {registry}.schema_jobs TO {writer}"), "table", "schema_jobs".into(), true),
        (
            "CREATE TABLE public.shared (id int); GRANT SELECT, INSERT ON public.shared TO PUBLIC".into(),
            "table",
            "PUBLIC has INSERT on table \"public.shared\"".into(),
            false,
        ),
        (
            "CREATE FUNCTION public.root() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'".into(),
            "function",
            "PUBLIC may call public.root()".into(),
            false,
        ),
        (
            format!(
                "CREATE FUNCTION {}.root(a text) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
                tenant.schema
            ),
            "function",
            "root(IN text)".into(),
            false,
        ),
        (
            format!(
                "CREATE PROCEDURE public.p() LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; ALTER PROCEDURE public.p() OWNER TO \
                 {admin}; REVOKE EXECUTE ON PROCEDURE public.p() FROM PUBLIC; GRANT EXECUTE ON PROCEDURE public.p() TO {reader}"
            ),
            "function",
            format!("{reader} may call public.p()"),
            false,
        ),
        (format!("GRANT EXECUTE ON FUNCTION {registry}.claim_lane TO PUBLIC"), "function", "claim_lane".into(), true),
    ];
    entries.into_iter().map(of_entry).chain(others).collect()
}

/// Each alone: it is the one that is found, its statement closes it, and what is ours is closed by a repair.
#[tokio::test]
async fn every_hole_is_found_and_its_statement_closes_it() {
    with_database(async |database| {
        let (tenant, neighbour) = (database.tenant("school").await, database.tenant("college").await);
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("1").await;
        assert_eq!(holes(&database, &tenant).await, []);
        for (change, kind, part, ours) in all_holes(&database, &tenant, &neighbour, &login).await {
            database.admin.batch_execute(&format!("BEGIN; {change}")).await.unwrap();
            let found = holes(&database, &tenant).await;
            let [(found_kind, what, repairable, statement)] = &found[..] else { panic!("{change}: {found:?}") };
            assert!(found_kind == kind && what.contains(&part) && *repairable == ours, "{change}: {found:?}");
            database.admin.batch_execute(&format!("SAVEPOINT found; {statement}")).await.unwrap();
            assert_eq!(holes(&database, &tenant).await, [], "{change}: {statement}");
            if ours {
                database.admin.batch_execute("ROLLBACK TO SAVEPOINT found").await.unwrap();
                let answer = call(&database.admin, "repair_tenant_schema", &tenant.options(&json!({}))).await;
                expect(&answer, "success");
                assert_eq!(answer["detail"]["repaired"], json!([what]), "{change}");
                assert_eq!(holes(&database, &tenant).await, [], "{change}");
            }
            database.admin.batch_execute("ROLLBACK").await.unwrap();
        }
    })
    .await;
}

/// What is the server's ordinary state, or lets nobody out.
#[tokio::test]
async fn what_lets_nobody_out_is_no_hole() {
    with_database(async |database| {
        let (tenant, neighbour) = (database.tenant("school").await, database.tenant("college").await);
        let login = Application::of(&database, &tenant).await.issued("1").await;
        Lane::claim(database.operator().await).await.survey(false).await;
        let group = database.role("group", "NOLOGIN").await;
        let Tenant { owner, reader, schema, .. } = &tenant;
        let nothing = if has_keepers() {
            format!("GRANT pg_read_all_data TO {login} WITH INHERIT FALSE, SET FALSE")
        } else {
            "SELECT 1".to_owned()
        };
        for change in [
            format!("GRANT {group} TO {login}"),
            format!("GRANT {login} TO {group}; ALTER ROLE {group} BYPASSRLS"),
            "CREATE TABLE public.countries (id int); GRANT SELECT, REFERENCES ON public.countries TO PUBLIC".to_owned(),
            format!("CREATE FUNCTION {schema}.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; ALTER FUNCTION {schema}.f() OWNER TO {owner}"),
            "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'".to_owned(),
            "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION public.f() FROM PUBLIC".to_owned(),
            "CREATE SCHEMA shut; CREATE FUNCTION shut.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'".to_owned(),
            "CREATE SCHEMA open; GRANT USAGE ON SCHEMA open TO PUBLIC".to_owned(),
            // Drift of the neighbour, which is taken back there.
            format!("GRANT USAGE ON SCHEMA {} TO {reader}", neighbour.schema),
            format!("CREATE TABLE {}.marks (id int); GRANT ALL ON {0}.marks TO PUBLIC", neighbour.schema),
            nothing,
        ] {
            database.admin.batch_execute(&format!("BEGIN; {change}")).await.unwrap();
            assert_eq!(holes(&database, &tenant).await, [], "{change}");
            database.admin.batch_execute("ROLLBACK").await.unwrap();
        }
    })
    .await;
}

/// What is answered is what the server says when it is asked for each pair by itself.
#[tokio::test]
async fn the_servers_own_word_is_the_same() {
    with_database(async |database| {
        let (tenant, neighbour) = (database.tenant("school").await, database.tenant("college").await);
        let login = Application::of(&database, &tenant).await.issued("1").await;
        let own = [&login, &tenant.owner, &tenant.reader, &tenant.writer];
        let asked = async || {
            let mut says = BTreeSet::new();
            for role in own {
                for (namespace, privilege) in
                    [(&*neighbour.schema, "USAGE"), ("edu_matrix_hub_schema", "USAGE"), ("public", "CREATE")]
                {
                    let query = format!("SELECT has_schema_privilege('{role}', '{namespace}', '{privilege}')");
                    if database.one::<bool>(&query).await {
                        says.insert(namespace.to_owned());
                    }
                }
            }
            says
        };
        assert_eq!(asked().await, BTreeSet::new());
        let group = database.role("group", "NOLOGIN").await;
        database.admin.batch_execute(&format!("GRANT {group} TO {}", tenant.reader)).await.unwrap();
        for namespace in [&*neighbour.schema, "edu_matrix_hub_schema", "public"] {
            let privilege = if namespace == "public" { "CREATE" } else { "USAGE" };
            for grantee in ["PUBLIC", &group, &tenant.owner, &login] {
                let change = format!(
                    "BEGIN; UPDATE edu_matrix_hub_schema.tenant_schemas SET fingerprint = NULL; \
                     GRANT {privilege} ON SCHEMA {namespace} TO {grantee}"
                );
                database.admin.batch_execute(&change).await.unwrap();
                let found = holes(&database, &tenant).await;
                assert_eq!(asked().await, BTreeSet::from([namespace.to_owned()]), "{change}");
                assert!(
                    matches!(&found[..], [(kind, what, ..)] if kind == "schema" && what.contains(namespace)),
                    "{found:?}"
                );
                database.admin.batch_execute("ROLLBACK").await.unwrap();
            }
        }
    })
    .await;
}

async fn looked_at(database: &Database) -> BTreeSet<Uuid> {
    let query = "SELECT coalesce(array_agg(id), '{}') FROM edu_matrix_hub_schema.tenant_schemas \
                 WHERE isolation_at = (SELECT max(isolation_at) FROM edu_matrix_hub_schema.tenant_schemas)";
    database.one::<Vec<Uuid>>(query).await.into_iter().collect()
}

#[tokio::test]
async fn a_survey_looks_at_ten_tenants_new_ones_first_and_all_have_their_turn() {
    with_database(async |database| {
        for n in 0..23 {
            database.tenant(&format!("school{n}")).await;
        }
        let lane = Lane::claim(database.operator().await).await;
        let mut seen = Vec::new();
        for _ in 0..5 {
            lane.survey(false).await;
            seen.push(looked_at(&database).await);
        }
        assert_eq!(seen.iter().map(BTreeSet::len).collect::<Vec<_>>(), [10, 10, 10, 10, 10]);
        assert_eq!(seen[..3].iter().flatten().collect::<BTreeSet<_>>().len(), 23, "three surveys look at all");
        // The third took the first seven again, those after it go on.
        assert!(seen[3].is_disjoint(&seen[2]) && seen[4].is_disjoint(&seen[3]));

        let new = database.tenant("latest").await;
        let open = database.tenant_of(&json!({ "schema_id": seen[3].first() })).await;
        database.admin.batch_execute(&format!("ALTER ROLE {} BYPASSRLS", open.reader)).await.unwrap();
        database
            .admin
            .batch_execute(
                "UPDATE edu_matrix_hub_schema.tenant_schemas SET isolation_at = now() - interval '1 day' \
             WHERE id = (SELECT id FROM edu_matrix_hub_schema.tenant_schemas ORDER BY isolation_at DESC LIMIT 1)",
            )
            .await
            .unwrap();
        lane.survey(false).await;
        assert!(looked_at(&database).await.contains(&new.id), "a new one first");
        // One that was found open is looked at by each survey until it is closed.
        for _ in 0..3 {
            lane.survey(false).await;
        }
        lane.survey(false).await;
        assert!(looked_at(&database).await.contains(&open.id));
        database.admin.batch_execute(&format!("ALTER ROLE {} NOBYPASSRLS", open.reader)).await.unwrap();
        let answer = lane.survey(false).await;
        assert_eq!(surveyed(&answer, &open).unwrap()["isolation"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn what_is_found_is_told_once_and_a_closed_tenant_is_not_looked_at() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let lane = Lane::claim(database.operator().await).await;
        let isolation = |answer: &Value| surveyed(answer, &tenant).map(|row| row["isolation"].clone());
        assert_eq!(isolation(&lane.survey(false).await), Some(json!([])));
        assert_eq!(isolation(&lane.survey(false).await), None, "the same is no news");
        let before: i64 = database.one("SELECT reported FROM edu_matrix_hub_schema.tenant_schemas").await;

        database.admin.batch_execute(&format!("GRANT CREATE ON DATABASE {} TO PUBLIC", database.name)).await.unwrap();
        let answer = lane.survey(false).await;
        let found = isolation(&answer).unwrap();
        assert_eq!(found[0]["statement"], format!("REVOKE CREATE ON DATABASE {} FROM PUBLIC", database.name));
        assert_eq!(answer["not_isolated_count"], 1);
        assert_eq!(isolation(&lane.survey(false).await), None, "the same is no news");

        application.set_access("Suspended").await;
        assert_eq!(isolation(&lane.survey(false).await), Some(Value::Null));
        lane.survey(false).await;
        let at = "SELECT isolation_at IS NULL FROM edu_matrix_hub_schema.tenant_schemas";
        assert!(database.one::<bool>(at).await);
        database
            .admin
            .batch_execute(&format!("REVOKE CREATE ON DATABASE {} FROM PUBLIC", database.name))
            .await
            .unwrap();
        application.set_access("ReadWrite").await;
        assert_eq!(isolation(&lane.survey(false).await), Some(json!([])));
        let after: i64 = database.one("SELECT reported FROM edu_matrix_hub_schema.tenant_schemas").await;
        assert_eq!(before, after);
    })
    .await;
}

/// The role that looks after all tenants, or a group of the platform's, keeps what it has: the membership is what is wrong.
#[tokio::test]
async fn a_repair_takes_nothing_from_roles_that_are_not_the_tenants() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let group = database.role("group", "NOLOGIN").await;
        let admin = database.admin_role();
        let rights = format!(
            "SELECT count(*) FROM pg_proc WHERE pronamespace = 'edu_matrix_hub_schema'::regnamespace \
             AND has_function_privilege('{admin}', oid, 'EXECUTE') AND has_schema_privilege('{group}', pronamespace, 'USAGE')"
        );
        database
            .admin
            .batch_execute(&format!(
                "GRANT {admin}, {group} TO {}; GRANT USAGE ON SCHEMA edu_matrix_hub_schema TO {group}",
                tenant.owner
            ))
            .await
            .unwrap();
        let before: i64 = database.one(&rights).await;
        assert!(before > 0);
        for _ in 0..2 {
            call(&database.operator().await, "repair_tenant_schema", &tenant.options(&json!({}))).await;
        }
        assert_eq!(database.one::<i64>(&rights).await, before);
    })
    .await;
}

/// Its first status tells it then, and the first look at itself writes nothing.
#[tokio::test]
async fn a_new_tenant_begins_with_what_everybody_may() {
    with_database(async |database| {
        let lane = Lane::claim(database.operator().await).await;
        let begins = async |name: &str| {
            let tenant = database.tenant(name).await;
            let row = format!("SELECT isolation FROM edu_matrix_hub_schema.tenant_schemas WHERE id = '{}'", tenant.id);
            let found: Value = database.one(&row).await;
            let answer = lane.survey(false).await;
            assert_eq!(surveyed(&answer, &tenant).map_or(&found, |row| &row["isolation"]), &found, "no news");
            found
        };
        lane.survey(false).await;
        assert_eq!(begins("school").await, json!([]));
        database.admin.batch_execute(&format!("GRANT CREATE ON DATABASE {} TO PUBLIC", database.name)).await.unwrap();
        lane.survey(false).await;
        let found = begins("college").await;
        assert_eq!(found[0]["statement"], format!("REVOKE CREATE ON DATABASE {} FROM PUBLIC", database.name));
    })
    .await;
}
