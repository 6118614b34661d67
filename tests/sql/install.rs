//! Which logins may install, what is repeatable, and that every file does what `sql/verify/` says.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};
use tenant_schema_operator::{
    ident::Ident,
    postgres::script::{FILES, Form, script},
};

use crate::support::{
    Database, Lane, call, expect, has_keepers, owner, tenant_options, try_call, with_bare_database, with_database,
    with_database_beside,
};

fn sql() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/sql"))
}

fn names(folder: &str) -> BTreeSet<String> {
    fs::read_dir(sql().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "sql"))
        .collect()
}

async fn facts(database: &Database, login: &str) -> Value {
    let query = fs::read_to_string(sql().join("observe/database.sql")).unwrap();
    let client = if login == "postgres" { &database.admin } else { &database.connect(login).await };
    client.query_one(&query, &[&database.owner_role]).await.unwrap().get("database")
}

async fn verify(client: &tokio_postgres::Client) {
    for name in names("verify") {
        let text = fs::read_to_string(sql().join("verify").join(&name)).unwrap();
        client.batch_execute(&text).await.unwrap_or_else(|error| panic!("{name}: {:?}", error.as_db_error()));
    }
}

#[test]
fn every_file_is_installed_and_everything_in_it_is_verified() {
    let installed: BTreeSet<_> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut there = BTreeSet::new();
    for folder in ["registry", "schema_management", "observe"] {
        there.extend(names(folder).into_iter().map(|name| format!("{folder}/{name}")));
    }
    there.remove("observe/database.sql");
    assert_eq!(installed, there);
    assert_eq!(
        names("verify"),
        [
            "_columns.sql",
            "bootstrap.sql",
            "columns.sql",
            "columns_of_work.sql",
            "functions.sql",
            "tables.sql",
            "views.sql"
        ]
        .map(str::to_owned)
        .into()
    );

    let texts: Vec<_> = FILES.iter().map(|(_, text)| *text).collect();
    let functions = pieces(&texts.concat(), "\nCREATE OR REPLACE FUNCTION edu_matrix_hub_schema.", '(');
    let lines = fs::read_to_string(sql().join("verify/functions.sql")).unwrap();
    assert_eq!(
        pieces(&lines, "\n            ('", '\''),
        functions,
        "verify/functions.sql has a line for each function"
    );
}

/// What stands between a beginning and an end, in order of the alphabet.
fn pieces(text: &str, begin: &str, end: char) -> Vec<String> {
    let mut pieces: Vec<_> =
        text.split(begin).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0.to_owned())).collect();
    pieces.sort();
    pieces
}

#[test]
fn no_file_writes_what_managed_services_refuse() {
    for (name, text) in FILES {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("--")) {
            for word in ["NOSUPERUSER", "NOREPLICATION", "NOBYPASSRLS", "SET ROLE", "SET LOCAL ROLE"] {
                assert!(!line.contains(word), "{name}: {line}");
            }
        }
    }
}

#[tokio::test]
async fn applied_twice_it_changes_nothing_and_every_file_verifies() {
    with_database(async |database| {
        let before = call_installation(&database).await;
        verify(&database.admin).await;
        verify(&database.operator().await).await;
        database.tenant("kept").await;
        database.install("postgres", Form::Printed).await.unwrap();
        database.install("postgres", Form::Managed).await.unwrap();
        verify(&database.admin).await;
        assert_eq!(call_installation(&database).await, before);
        assert_eq!(before["fingerprint_matches"], true);
        assert_eq!(before["contract"], 1);
        assert_eq!(before["admin_role"], json!(database.admin_role()));
        assert_eq!(before["operator_role"], json!(database.operator_role()));
        let again = call(&database.admin, "create_tenant_schema", &tenant_options("kept")).await;
        assert_eq!(again["status"], "unchanged");
    })
    .await;
}

/// An installation from before there were reclaimed, released and taken-over tenants, before rows knew which schema and
/// roles their names are, and when the functions of role keepers were told actions and
/// the owner role was a member of their parents.
const FORMER: &str = "
    DROP VIEW edu_matrix_hub_schema.taken_states;
    DROP FUNCTION edu_matrix_hub_schema._rights_again;
    DROP TABLE edu_matrix_hub_schema.taken_dependents;
    DROP VIEW edu_matrix_hub_schema.tenant_rows, edu_matrix_hub_schema.tenant_fingerprints, edu_matrix_hub_schema.schema_activity,
        edu_matrix_hub_schema.tenant_grant_targets, edu_matrix_hub_schema.our_roles, edu_matrix_hub_schema.migration_logins;
    ALTER TABLE edu_matrix_hub_schema.tenant_schemas DROP COLUMN taken_over, DROP COLUMN schema_oid, DROP COLUMN owner_role_oid,
        DROP COLUMN reader_role_oid, DROP COLUMN writer_role_oid, DROP COLUMN owner_namespace_uid, DROP COLUMN login_oids,
        DROP COLUMN shared_with, DROP COLUMN granted_to;
    ALTER TABLE edu_matrix_hub_schema.schema_backups DROP COLUMN location_oid, DROP COLUMN object_namespace_uid;
    ALTER TABLE edu_matrix_hub_schema.role_keepers DROP COLUMN role_oid;
    ALTER TABLE edu_matrix_hub_schema.installation DROP COLUMN registry_oid, DROP COLUMN system_identifier;
    DROP INDEX edu_matrix_hub_schema.tenant_schemas_schema_name_dropped, edu_matrix_hub_schema.tenant_schemas_deletion;
    CREATE INDEX tenant_schemas_dropped_at ON edu_matrix_hub_schema.tenant_schemas (dropped_at);
    ALTER TABLE edu_matrix_hub_schema.tenant_schemas DROP COLUMN deletion_requested_at;
    ALTER TABLE edu_matrix_hub_schema.installation DROP COLUMN claim_id, DROP COLUMN heartbeat_at, DROP COLUMN beats, DROP COLUMN timeline,
        DROP COLUMN place, DROP COLUMN quiet_until, DROP COLUMN contested_at, DROP COLUMN confirmed_until;
    DROP FUNCTION edu_matrix_hub_schema._queue_expired(jsonb), edu_matrix_hub_schema.heartbeat_lane(bigint, uuid, jsonb);
    CREATE FUNCTION edu_matrix_hub_schema._queue_expired(requested_by text DEFAULT NULL) RETURNS integer LANGUAGE sql AS 'SELECT 0';
    DELETE FROM edu_matrix_hub_schema.registry_locks WHERE name = 'deletions';
    DROP FUNCTION edu_matrix_hub_schema.reclaim_tenant_schema(jsonb), edu_matrix_hub_schema.release_tenants(jsonb),
        edu_matrix_hub_schema._check_owner(edu_matrix_hub_schema.tenant_schemas, jsonb, text), edu_matrix_hub_schema._deletion_brake(jsonb, uuid, text, boolean);
    DROP FUNCTION edu_matrix_hub_schema._keep(text);
    DO $former$
    DECLARE
        keeper record;
    BEGIN
        FOR keeper IN
            SELECT '_keep' AS name, n.nspowner::regrole AS owner FROM pg_namespace AS n WHERE n.nspname = 'edu_matrix_hub_schema'
            UNION ALL SELECT k.function_name, k.role_name::regrole FROM edu_matrix_hub_schema.role_keepers AS k
        LOOP
            EXECUTE format('DROP FUNCTION IF EXISTS edu_matrix_hub_schema.%1$I(text);
                CREATE FUNCTION edu_matrix_hub_schema.%1$I(action text, roles text[], member text) RETURNS void LANGUAGE plpgsql
                    SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS ''BEGIN END'';
                ALTER FUNCTION edu_matrix_hub_schema.%1$I(text, text[], text) OWNER TO %2$s', keeper.name, keeper.owner);
        END LOOP;
        FOR keeper IN
            SELECT k.role_name, p.proowner::regrole AS owner
            FROM edu_matrix_hub_schema.role_keepers AS k, pg_proc AS p
            WHERE k.parent IS NULL AND p.oid = 'edu_matrix_hub_schema._role_command'::regproc
        LOOP
            EXECUTE format('SET LOCAL ROLE %s; GRANT %I TO %1$s; RESET ROLE', keeper.owner, keeper.role_name);
        END LOOP;
    END
    $former$;";

#[tokio::test]
async fn a_former_installation_is_upgraded_with_its_tenants() {
    with_database(async |database| {
        let tenant = database.tenant("kept").await;
        let session = database.operator().await;
        let access = tenant.options(&json!({ "access": "Suspended" }));
        expect(&call(&session, "set_tenant_access", &access).await, "success");
        database.admin.batch_execute(FORMER).await.unwrap();
        database.install("postgres", Form::Managed).await.unwrap();
        verify(&database.admin).await;
        assert_eq!(call_installation(&database).await["fingerprint_matches"], true);
        let told_actions = "SELECT count(*) FROM pg_proc WHERE proname ~ '^_keep(_[0-9]+)?$' AND pronargs = 3";
        assert_eq!(database.one::<i64>(told_actions).await, 0);
        assert_eq!(database.standing_memberships().await, 0);
        // A session from before goes on with it.
        let mut request = owner("kept");
        request["schema_name"] = json!("kept");
        let seen = call(&session, "observe_tenant", &request).await;
        assert_eq!((&seen["own"]["taken_over"], &seen["own"]["status"]), (&json!(false), &json!("suspended")));
        let reclaim = tenant.options(&json!({ "owner": owner("kept") }));
        expect(&call(&session, "reclaim_tenant_schema", &reclaim).await, "unchanged");
        expect(
            &call(&session, "set_tenant_access", &tenant.options(&json!({ "access": "ReadWrite" }))).await,
            "success",
        );
    })
    .await;
}

async fn call_installation(database: &Database) -> Value {
    let client = database.operator().await;
    client.query_one("SELECT edu_matrix_hub_schema.installation()", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_login_that_owns_the_database_installs_by_itself() {
    with_bare_database(async |database| {
        let login = database.role("login", "LOGIN CREATEROLE").await;
        database.admin.batch_execute(&format!("ALTER DATABASE {} OWNER TO {login}", database.name)).await.unwrap();
        let before = facts(&database, &login).await;
        assert_eq!((&before["missing"], &before["installed"]), (&json!([]), &json!(false)));
        database.install(&login, Form::Bootstrapping).await.unwrap();
        database.install(&login, Form::Managed).await.unwrap();
        database.install(&login, Form::Printed).await.unwrap();
        let client = database.connect(&login).await;
        verify(&client).await;
        expect(&call(&client, "create_tenant_schema", &tenant_options("mine")).await, "success");
        let after = facts(&database, &login).await;
        assert_eq!((&after["missing"], &after["missing_for_verified"]), (&json!([]), &json!([])));
        assert_eq!((&after["installed"], &after["can_set_owner_role"]), (&json!(true), &json!(true)));
    })
    .await;
}

#[tokio::test]
async fn a_member_of_the_operator_role_works_without_any_other_right() {
    with_database(async |database| {
        let client = database.operator().await;
        let login = format!("{}_op", database.name);
        let now = facts(&database, &login).await;
        assert_eq!(now["missing_for_verified"], json!([]));
        assert_eq!(now["missing"].as_array().unwrap().len(), 1, "{}", now["missing"]);
        expect(&call(&client, "create_tenant_schema", &tenant_options("theirs")).await, "success");
        // It may call, and nothing else: neither read the registry nor reach what is private.
        for statement in [
            "SELECT FROM edu_matrix_hub_schema.tenant_schemas",
            "SELECT FROM edu_matrix_hub_schema.tenant_rows",
            "SELECT edu_matrix_hub_schema._keep('CREATE ROLE x')",
            "SELECT edu_matrix_hub_schema._role_command(NULL, 'create', '{x}')",
            "SELECT edu_matrix_hub_schema.record_installation()",
            "CREATE TABLE theirs.t (id int)",
            "CREATE ROLE another",
        ] {
            assert!(client.batch_execute(statement).await.is_err(), "{statement}");
        }
        let refused = database.install(&login, Form::Bootstrapping).await.unwrap_err();
        let message = refused.as_db_error().unwrap().message().to_owned();
        let statement = now["missing"][0]["statement"].as_str().unwrap();
        assert!(message.ends_with(statement), "{message}");
        // With the one statement that it was told, it upgrades too.
        database.admin.batch_execute(statement).await.unwrap();
        assert_eq!(facts(&database, &login).await["missing"], json!([]));
        database.install(&login, Form::Managed).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn each_missing_privilege_is_named_with_the_statement_that_gives_it() {
    with_bare_database(async |database| {
        let login = database.role("weak", "LOGIN").await;
        let now = facts(&database, &login).await;
        let statements: Vec<_> =
            now["missing"].as_array().unwrap().iter().map(|m| m["statement"].as_str().unwrap()).collect();
        assert_eq!(statements.len(), 7, "{statements:?}");
        for statement in statements {
            let refused = database.install(&login, Form::Bootstrapping).await.unwrap_err();
            let message = refused.as_db_error().unwrap().message().to_owned();
            assert!(message.ends_with(statement), "{message}\n{statement}");
            database.admin.batch_execute(statement).await.unwrap();
        }
        assert_eq!(facts(&database, &login).await["missing"], json!([]));
        database.install(&login, Form::Bootstrapping).await.unwrap();
        verify(&database.connect(&login).await).await;
    })
    .await;
}

#[tokio::test]
async fn two_databases_of_a_server_share_an_owner_role() {
    with_database(async |first| {
        first.tenant("same_name").await;
        with_database_beside(&first, async |second| {
            second.tenant("same_name").await;
            verify(&second.admin).await;
        })
        .await;
        first.tenant("another").await;
    })
    .await;
}

#[tokio::test]
async fn unfit_roles_and_foreign_registries_are_refused() {
    with_bare_database(async |database| {
        let login = database.role("owner", "LOGIN").await;
        assert_eq!(login, database.owner_role);
        let refused = database.install("postgres", Form::Printed).await.unwrap_err();
        assert!(refused.as_db_error().unwrap().message().contains("may log in"), "{refused}");
        database
            .admin
            .batch_execute(&format!("ALTER ROLE {login} NOLOGIN; CREATE SCHEMA edu_matrix_hub_schema"))
            .await
            .unwrap();
        let refused = database.install("postgres", Form::Printed).await.unwrap_err();
        assert!(refused.as_db_error().unwrap().message().contains("belongs to role \"postgres\""), "{refused}");
        let now = facts(&database, "postgres").await;
        assert!(now["missing"][0]["what"].as_str().unwrap().contains("belongs to role \"postgres\""), "{now}");
        assert_eq!(
            database
                .one::<i64>(
                    "SELECT count(*) FROM pg_class WHERE relnamespace = \
                    'edu_matrix_hub_schema'::regnamespace"
                )
                .await,
            0
        );
    })
    .await;
}

#[tokio::test]
async fn the_names_of_the_roles_must_fit() {
    with_bare_database(async |database| {
        let of = |length: usize| format!("{}_{}", database.name, "o".repeat(length - database.name.len() - 1));
        let install =
            async |role: &str| database.admin.batch_execute(&script(&Ident::new(role).unwrap(), Form::Printed)).await;
        let refused = install(&of(58)).await.unwrap_err();
        assert!(refused.as_db_error().unwrap().message().contains("1 to 57 bytes"), "{refused}");
        database.admin.batch_execute("ROLLBACK").await.unwrap();
        install(&of(57)).await.unwrap();
        let admin: String = database.one("SELECT admin_role FROM edu_matrix_hub_schema.installation").await;
        assert_eq!(admin, of(57) + "_admin");
        let operator: String = database.one("SELECT operator_role FROM edu_matrix_hub_schema.installation").await;
        assert_eq!(operator, of(54) + "_operator", "cut, since there were owner roles of 57 bytes before");
        verify(&database.admin).await;
    })
    .await;
}

#[tokio::test]
async fn a_function_edited_by_hand_is_noticed_until_it_is_installed_again() {
    with_database(async |database| {
        let mut edits = vec![
            "CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._claim(tenant edu_matrix_hub_schema.tenant_schemas) \
                RETURNS jsonb \
             LANGUAGE sql IMMUTABLE AS 'SELECT NULL::jsonb'",
            "GRANT EXECUTE ON FUNCTION edu_matrix_hub_schema.claim_lane(jsonb) TO PUBLIC",
            "ALTER FUNCTION edu_matrix_hub_schema.claim_lane(jsonb) RESET search_path",
        ];
        if has_keepers() {
            edits.push("GRANT EXECUTE ON FUNCTION edu_matrix_hub_schema._keep_2(text) TO PUBLIC");
            edits.push(
                "CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._keep_2(statements text) RETURNS void \
                 LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN END'",
            );
        }
        for edit in edits {
            database.admin.batch_execute(edit).await.unwrap();
            assert_eq!(call_installation(&database).await["fingerprint_matches"], false, "{edit}");
            database.install("postgres", Form::Managed).await.unwrap();
            assert_eq!(call_installation(&database).await["fingerprint_matches"], true, "{edit}");
        }
        verify(&database.admin).await;
        expect(&call(&database.operator().await, "create_tenant_schema", &tenant_options("after")).await, "success");
        let other = database.role("other", "LOGIN").await;
        let client = database.connect(&other).await;
        assert!(try_call(&client, "claim_lane", &json!({})).await.is_err());
    })
    .await;
}

/// Tables of the registry, by their names.
const TABLES: &str = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class \
                      WHERE relnamespace = 'edu_matrix_hub_schema'::regnamespace AND relkind = 'r'";

/// Row-level security that is forced on the owner hides every row: no call answers as if there were none, and the script ends it.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_hidden_are_not_taken_for_missing() {
    with_database(async |database| {
        let tenant = database.tenant("kept").await;
        let lane = Lane::claim(database.operator().await).await;
        let mut request = owner("kept");
        request["schema_name"] = json!("kept");
        for table in database.one::<String>(TABLES).await.split(' ') {
            let force = |word: &str| format!("ALTER TABLE edu_matrix_hub_schema.{table} {word} ROW LEVEL SECURITY");
            database.admin.batch_execute(&force("FORCE")).await.unwrap();
            let client = database.operator().await;
            for question in
                ["SELECT edu_matrix_hub_schema.installation()", "SELECT edu_matrix_hub_schema.claim_job(1, NULL, '{}')"]
            {
                let error = client.query(question, &[]).await.unwrap_err();
                let error = error.as_db_error().unwrap();
                assert_eq!(error.code().code(), "42501", "{table}: {error:?}");
                assert!(error.message().ends_with(&force("NO FORCE")), "{table}: {error:?}");
            }
            assert!(try_call(&client, "observe_tenant", &request).await.is_err(), "{table}");
            let access = tenant.options(&json!({ "access": "Suspended" }));
            let answer = call(&client, "set_tenant_access", &access).await;
            assert_eq!(expect(&answer, "error"), "insufficient_privilege", "{table}");
            assert!(answer["message"].as_str().unwrap().contains(&force("NO FORCE")), "{answer}");
            // Installing ends it, whether it is an upgrade or not.
            database.install("postgres", Form::Managed).await.unwrap();
            verify(&database.admin).await;
            assert_eq!(call(&client, "observe_tenant", &request).await["own"]["status"], "active", "{table}");
        }
        expect(&lane.beat().await, "success");
    })
    .await;
}

/// An event trigger that does it to every new table does not keep the functions from being installed; one that does it again
/// whenever it was undone does, and is named.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_trigger_that_forces_row_security_is_undone_or_named() {
    with_bare_database(async |database| {
        let force = "CREATE FUNCTION public.force() RETURNS event_trigger LANGUAGE plpgsql AS $$
                DECLARE made record;
                BEGIN
                    FOR made IN SELECT c.oid FROM pg_event_trigger_ddl_commands() AS d JOIN pg_class AS c ON c.oid = d.objid
                                WHERE d.object_type = 'table' AND c.relkind = 'r' AND NOT c.relforcerowsecurity LOOP
                        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', made.oid::regclass);
                    END LOOP;
                END $$;
            CREATE EVENT TRIGGER forcing ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION public.force()";
        database.admin.batch_execute(force).await.unwrap();
        for _ in 0..2 {
            database.install("postgres", Form::Printed).await.unwrap();
            verify(&database.admin).await;
        }
        database.tenant("kept").await;
        let always = "DROP EVENT TRIGGER forcing;
            CREATE EVENT TRIGGER forcing ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE') EXECUTE FUNCTION public.force()";
        database.admin.batch_execute(always).await.unwrap();
        let refused = database.install("postgres", Form::Managed).await.unwrap_err();
        let message = refused.as_db_error().unwrap().message().to_owned();
        assert!(message.contains("(there are: forcing)"), "{message}");
        // Nothing of it remains.
        assert_eq!(call_installation(&database).await["fingerprint_matches"], true);
    })
    .await;
}
