//! Creating tenants: names, institutions, which tenant was first, and doing it again.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Database, call, expect, has_keepers, owner, tenant_options, with_database};

async fn by_hand(database: &Database, institution: Option<Uuid>, name: &str) -> (String, String, Option<Uuid>) {
    let row = database
        .admin
        .query_one(
            "SELECT status, message, schema_id FROM edu_matrix_hub_schema.create_institution_schema($1, $2)",
            &[&institution, &name],
        )
        .await
        .unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[tokio::test]
async fn a_tenant_has_schema_roles_grants_and_a_row() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let id = tenant.id.simple().to_string();
        assert_eq!(tenant.owner, format!("school_{}_owner", &id[20..]));
        assert_eq!(
            database.acl("school").await,
            format!("{{{o}=UC/{o},{r}=U/{o},{w}=U/{o}}}", o = tenant.owner, r = tenant.reader, w = tenant.writer)
        );
        database
            .as_owner(
                &tenant,
                "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY); CREATE FUNCTION f() \
            RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE mood AS ENUM ('fine')",
            )
            .await;
        let may = |role: &str, object: &str, privilege: &str| {
            let kind = if object.ends_with(')') {
                "function"
            } else if object.ends_with("seq") {
                "sequence"
            } else {
                "table"
            };
            format!("SELECT has_{kind}_privilege('{role}', 'school.{object}', '{privilege}')")
        };
        for (role, object, privilege, expected) in [
            (&tenant.reader, "t", "SELECT", true),
            (&tenant.reader, "t", "INSERT", false),
            (&tenant.writer, "t", "SELECT", true),
            (&tenant.writer, "t", "DELETE", true),
            (&tenant.writer, "t", "TRUNCATE", false),
            (&tenant.reader, "t_id_seq", "USAGE", false),
            (&tenant.writer, "t_id_seq", "USAGE", true),
            (&tenant.reader, "f()", "EXECUTE", false),
            (&tenant.writer, "f()", "EXECUTE", true),
        ] {
            assert_eq!(
                database.one::<bool>(&may(role, object, privilege)).await,
                expected,
                "{role} {object} {privilege}"
            );
        }
        let other = database.role("other", "LOGIN").await;
        assert!(!database.one::<bool>(&may(&other, "f()", "EXECUTE")).await);
        assert!(
            !database
                .one::<bool>(&format!(
                    "SELECT has_type_privilege('{other}', 'school.mood', \
            'USAGE')"
                ))
                .await
        );
        let attributes: bool = database
            .one(&format!(
                "SELECT bool_or(rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb) FROM pg_roles WHERE \
                    rolname IN ('{}', '{}', '{}')",
                tenant.owner, tenant.reader, tenant.writer
            ))
            .await;
        assert!(!attributes);
        assert_eq!(database.standing_memberships().await, 0);
        let comment: String = database.one("SELECT obj_description('school'::regnamespace)").await;
        assert_eq!(comment, format!("tenant {}", tenant.id));
        let logged: String = database
            .one(
                "SELECT concat_ws(' ', type, status, requested_by, duration_ms >= 0) FROM \
                edu_matrix_hub_schema.schema_operations",
            )
            .await;
        assert_eq!(logged, "create_tenant_schema success a test t");
    })
    .await;
}

#[tokio::test]
async fn bad_names_are_refused_and_nothing_remains_but_the_log() {
    with_database(async |database| {
        let institution = database.institution().await;
        let role = database.role("taken", "NOLOGIN").await;
        let long = "a".repeat(64);
        let names = [
            ("", "invalid_name"),
            ("Upper", "invalid_name"),
            ("1st", "invalid_name"),
            ("with space", "invalid_name"),
            ("quo\"te", "invalid_name"),
            ("quo'te", "invalid_name"),
            ("a; DROP SCHEMA public", "invalid_name"),
            ("new\nline", "invalid_name"),
            ("line\n", "invalid_name"),
            ("schön", "invalid_name"),
            ("pg_mine", "invalid_name"),
            ("public", "invalid_name"),
            ("information_schema", "invalid_name"),
            ("edu_matrix_hub_schema", "invalid_name"),
            ("edu_matrix_work_0123456789abcdef0123456789abcdef", "invalid_name"),
            ("edu_matrix_work_school", "invalid_name"),
            ("school_bak_20260101000000", "invalid_name"),
            ("school_bak_20260101000000_2", "invalid_name"),
            ("inst_3f0c1d52-1111-4222-8333-44445555666", "invalid_name"),
            ("other-3f0c1d52-1111-4222-8333-444455556666", "invalid_name"),
            (long.as_str(), "invalid_name"),
            (role.as_str(), "name_taken"),
            (database.owner_role.as_str(), "name_taken"),
        ];
        for (name, reason) in names {
            let answer = call(&database.admin, "create_tenant_schema", &tenant_options(name)).await;
            assert_eq!(expect(&answer, "error"), reason, "{answer}");
            assert_eq!(by_hand(&database, Some(institution), name).await.0, "error", "{name}");
        }
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas").await, 0);
        let failed: i64 = database
            .one(
                "SELECT count(*) FROM edu_matrix_hub_schema.schema_operations WHERE status \
            = 'error' AND error IS NOT NULL",
            )
            .await;
        assert_eq!(failed, 2 * i64::try_from(names.len()).unwrap());
        // The longest good name, and one with hyphens.
        for name in ["b".repeat(63).as_str(), "inst_3f0c1d52-1111-4222-8333-444455556666"] {
            let tenant = database.tenant(name).await;
            assert!([&tenant.owner, &tenant.reader, &tenant.writer].iter().all(|role| role.len() <= 63));
        }
    })
    .await;
}

#[tokio::test]
async fn the_same_call_again_says_unchanged() {
    with_database(async |database| {
        let institution = database.institution().await;
        let (status, _, first) = by_hand(&database, Some(institution), "school").await;
        assert_eq!(status, "success");
        let (status, _, second) = by_hand(&database, Some(institution), "school").await;
        assert_eq!((status.as_str(), second), ("unchanged", first));
        let tenant = database.tenant("other").await;
        let again = call(&database.admin, "create_tenant_schema", &tenant_options("other")).await;
        expect(&again, "unchanged");
        assert_eq!(again["schema_id"], json!(tenant.id));
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.schema_operations").await, 2);
        // A schema that a user dropped is not made again, empty, by a second call.
        database.admin.batch_execute("DROP SCHEMA other").await.unwrap();
        let gone = call(&database.admin, "create_tenant_schema", &tenant_options("other")).await;
        assert_eq!(expect(&gone, "error"), "schema_missing");
    })
    .await;
}

#[tokio::test]
async fn who_was_first_keeps_name_and_institution() {
    with_database(async |database| {
        let institution = database.institution().await;
        let mut first = tenant_options("school");
        first["institution_id"] = json!(institution);
        expect(&call(&database.admin, "create_tenant_schema", &first).await, "success");

        let mut same_name = tenant_options("school");
        same_name["owner"] = owner("rival");
        let answer = call(&database.admin, "create_tenant_schema", &same_name).await;
        assert_eq!(expect(&answer, "error"), "name_taken");
        assert_eq!(answer["detail"]["holder"]["uid"], "uid-school");

        let mut same_institution = tenant_options("rival");
        same_institution["institution_id"] = json!(institution);
        let answer = call(&database.admin, "create_tenant_schema", &same_institution).await;
        assert_eq!(expect(&answer, "error"), "institution_taken");
        assert_eq!(by_hand(&database, Some(institution), "by_hand").await.0, "error");

        let mut second_schema = tenant_options("second");
        second_schema["owner"] = owner("school");
        assert_eq!(expect(&call(&database.admin, "create_tenant_schema", &second_schema).await, "error"), "name_taken");

        database.admin.batch_execute("CREATE SCHEMA foreign_one").await.unwrap();
        let answer = call(&database.admin, "create_tenant_schema", &tenant_options("foreign_one")).await;
        assert_eq!(expect(&answer, "error"), "name_taken");
        assert_eq!(
            database
                .one::<String>(
                    "SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = \
                    'foreign_one'"
                )
                .await,
            "postgres"
        );
    })
    .await;
}

#[tokio::test]
async fn a_suspended_institution_gets_no_tenant_that_is_open() {
    with_database(async |database| {
        let institution = database.institution().await;
        let suspend = "UPDATE edu_matrix_hub_schema.institutions SET status = 'suspended'";
        database.admin.batch_execute(suspend).await.unwrap();
        assert_eq!(by_hand(&database, Some(institution), "open").await.0, "error");
        let mut shut = tenant_options("shut");
        shut["institution_id"] = json!(institution);
        shut["access"] = json!("Suspended");
        expect(&call(&database.admin, "create_tenant_schema", &shut).await, "success");
    })
    .await;
}

#[tokio::test]
async fn institutions_are_required_registered_or_looked_up() {
    with_database(async |database| {
        let unknown = Uuid::new_v4();
        let (status, message, _) = by_hand(&database, Some(unknown), "school").await;
        assert_eq!(status, "error");
        assert!(message.contains("unknown; insert it into edu_matrix_hub_schema.institutions"), "{message}");
        assert_eq!(by_hand(&database, None, "school").await.0, "error");

        let with = |name: &str, id: Uuid, source: Value| {
            let mut options = tenant_options(name);
            options["institution_id"] = json!(id);
            options["institution_source"] = source;
            options
        };
        assert_eq!(
            expect(
                &call(&database.admin, "create_tenant_schema", &with("required", unknown, Value::Null)).await,
                "error"
            ),
            "institution_unknown"
        );
        let mut registering = with("registered", unknown, Value::Null);
        registering["register_institution"] = json!(true);
        expect(&call(&database.admin, "create_tenant_schema", &registering).await, "success");

        let closed = database.institution().await;
        database
            .admin
            .execute(
                "UPDATE edu_matrix_hub_schema.institutions SET status = 'closed' WHERE id = \
            $1",
                &[&closed],
            )
            .await
            .unwrap();
        assert_eq!(by_hand(&database, Some(closed), "closed").await.0, "error");

        let app = database.role("app", "NOLOGIN").await;
        let known = Uuid::new_v4();
        database
            .admin
            .batch_execute(&format!(
                "CREATE SCHEMA app AUTHORIZATION {app}; GRANT USAGE ON SCHEMA app TO {owner}; SET ROLE {app}; \
             CREATE TABLE app.schools (id uuid PRIMARY KEY, name text); CREATE INDEX ON app.schools (lower(name)); \
             INSERT INTO app.schools VALUES ('{known}'); CREATE VIEW app.a_view AS SELECT * FROM app.schools; \
             CREATE TABLE app.by_text (\"Odd \"\"Id\" text); INSERT INTO app.by_text VALUES ('{known}'); \
             CREATE TABLE app.guarded (id uuid); ALTER TABLE app.guarded ENABLE ROW LEVEL SECURITY; \
             CREATE FUNCTION app.trap(uuid) RETURNS uuid LANGUAGE plpgsql IMMUTABLE AS \
             'BEGIN RAISE EXCEPTION ''ran as %'', current_user; END'; \
             CREATE TABLE app.trapped (id uuid); CREATE INDEX ON app.trapped ((app.trap(id))); \
             CREATE TABLE app.unreadable (id uuid); CREATE TABLE app.numbers (id bigint); \
             GRANT SELECT ON app.schools, app.a_view, app.by_text, app.guarded, app.trapped, app.numbers TO {owner}; \
             RESET ROLE",
                owner = database.owner_role
            ))
            .await
            .unwrap();
        let source = |table: &str, column: &str| json!({ "schema": "app", "table": table, "id_column": column });
        for (table, column, complaint) in [
            ("missing", "id", "there is no such table"),
            ("a_view", "id", "there is no such table"),
            ("schools", "nope", "no plain column"),
            ("schools", "id\" OR true --", "no plain column"),
            ("guarded", "id", "row-level security"),
            ("trapped", "id", "a user's function"),
            ("unreadable", "id", "GRANT SELECT ON app.unreadable"),
            ("numbers", "id", "bigint"),
        ] {
            let answer =
                call(&database.admin, "create_tenant_schema", &with("looked_up", known, source(table, column))).await;
            assert_eq!(expect(&answer, "error"), "institution_unknown");
            assert!(answer["message"].as_str().unwrap().contains(complaint), "{answer}");
        }
        let answer =
            call(&database.admin, "create_tenant_schema", &with("looked_up", Uuid::new_v4(), source("schools", "id")))
                .await;
        assert!(answer["message"].as_str().unwrap().contains("insert it into app.schools"), "{answer}");
        expect(
            &call(&database.admin, "create_tenant_schema", &with("looked_up", known, source("schools", "id"))).await,
            "success",
        );
        let by_text = Uuid::new_v4();
        database.admin.batch_execute(&format!("INSERT INTO app.by_text VALUES ('{by_text}')")).await.unwrap();
        expect(
            &call(&database.admin, "create_tenant_schema", &with("by_text", by_text, source("by_text", "Odd \"Id")))
                .await,
            "success",
        );
        // A tenant cannot offer itself as the list of institutions.
        let tenant = database.tenant("sly").await;
        database
            .as_owner(
                &tenant,
                &format!(
                    "CREATE TABLE list (id uuid); GRANT SELECT ON list TO {0}; GRANT \
            USAGE ON SCHEMA sly TO {0}",
                    database.owner_role
                ),
            )
            .await;
        let own = json!({ "schema": "sly", "table": "list", "id_column": "id" });
        let answer = call(&database.admin, "create_tenant_schema", &with("accomplice", Uuid::new_v4(), own)).await;
        assert!(answer["message"].as_str().unwrap().contains("belongs to a tenant"), "{answer}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_never_fail() {
    with_database(async |database| {
        let mut workers = Vec::new();
        for worker in 0..8 {
            let client = database.operator().await;
            workers.push(tokio::spawn(async move {
                let mut answers = Vec::new();
                for n in (worker..50).step_by(8) {
                    answers.push(call(&client, "create_tenant_schema", &tenant_options(&format!("t_{n}"))).await);
                }
                answers
            }));
        }
        let mut ids = BTreeSet::new();
        for worker in workers {
            for answer in worker.await.unwrap() {
                expect(&answer, "success");
                ids.insert(answer["schema_id"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(ids.len(), 50);
        assert_eq!(database.standing_memberships().await, 0);
        let drifting: i64 = database
            .one(
                "SELECT count(*) FROM edu_matrix_hub_schema._drift(ARRAY(SELECT id FROM \
                edu_matrix_hub_schema.tenant_schemas))",
            )
            .await;
        assert_eq!(drifting, 0);
        let keepers: i64 = database
            .one(
                "SELECT count(DISTINCT keeper) FROM \
            edu_matrix_hub_schema.tenant_schemas",
            )
            .await;
        assert_eq!(keepers > 1, has_keepers(), "{keepers} keepers");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_want_one_name_one_gets_it() {
    with_database(async |database| {
        let mut workers = Vec::new();
        for worker in 0..8 {
            let client = database.operator().await;
            let mut options = tenant_options("wanted");
            options["owner"] = owner(&format!("rival-{}", worker / 2));
            workers.push(tokio::spawn(async move { call(&client, "create_tenant_schema", &options).await }));
        }
        let mut statuses = Vec::new();
        for worker in workers {
            let answer = worker.await.unwrap();
            if answer["status"] == "error" {
                assert_eq!(answer["detail"]["reason"], "name_taken", "{answer}");
            }
            statuses.push(answer["status"].as_str().unwrap().to_owned());
        }
        statuses.sort();
        assert_eq!(statuses, ["error", "error", "error", "error", "error", "error", "success", "unchanged"]);
        assert_eq!(database.one::<i64>("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'wanted_%_owner'").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_statement_timeout_is_answered_and_logged() {
    with_database(async |database| {
        let other = database.operator().await;
        other.batch_execute("BEGIN").await.unwrap();
        expect(&call(&other, "create_tenant_schema", &tenant_options("contested")).await, "success");
        let client = database.operator().await;
        client.batch_execute("SET statement_timeout = '200ms'").await.unwrap();
        let answer = call(&client, "create_tenant_schema", &tenant_options("contested")).await;
        assert_eq!(expect(&answer, "error"), "cancelled");
        client.batch_execute("SET statement_timeout = 0; SET lock_timeout = '100ms'").await.unwrap();
        expect(&call(&client, "create_tenant_schema", &tenant_options("contested")).await, "busy");
        other.batch_execute("ROLLBACK").await.unwrap();
        expect(&call(&client, "create_tenant_schema", &tenant_options("contested")).await, "success");
        let logged: String = database
            .one(
                "SELECT string_agg(status || coalesce(sqlstate, ''), ' ' ORDER BY id) FROM \
                edu_matrix_hub_schema.schema_operations",
            )
            .await;
        assert_eq!(logged, "error57014 busy55P03 success");
    })
    .await;
}

/// If an event trigger of the database breaks what is created, the message says which event triggers there are.
#[tokio::test]
async fn an_event_trigger_that_stands_in_the_way_is_named() {
    with_database(async |database| {
        let dba = database.role("dba", "NOLOGIN").await;
        database.admin.batch_execute("CREATE TABLE public.ddl (what text); CREATE SCHEMA tools").await.unwrap();
        let asleep = "CREATE FUNCTION tools.asleep() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
                      CREATE EVENT TRIGGER asleep ON ddl_command_end EXECUTE FUNCTION tools.asleep();
                      ALTER EVENT TRIGGER asleep DISABLE";
        database.admin.batch_execute(asleep).await.unwrap();
        for (body, definer, reason, refused) in [
            // It takes the schema away, or gives us no right on its own log, or wants no change at all.
            (
                format!(
                    "FOR made IN SELECT object_identity FROM pg_event_trigger_ddl_commands() WHERE object_type = 'schema' LOOP
                         EXECUTE format('ALTER SCHEMA %s OWNER TO {dba}', made.object_identity);
                     END LOOP;"
                ),
                "SECURITY DEFINER",
                "insufficient_privilege",
                "must be owner of schema school (SQLSTATE 42501)",
            ),
            (
                "INSERT INTO public.ddl VALUES (tg_tag);".to_owned(),
                "",
                "insufficient_privilege",
                "permission denied for table ddl (SQLSTATE 42501)",
            ),
            ("RAISE 'nothing is changed in the holidays';".to_owned(), "", "internal", "in the holidays (SQLSTATE P0001)"),
        ] {
            let trigger = format!(
                "CREATE OR REPLACE FUNCTION tools.reown() RETURNS event_trigger LANGUAGE plpgsql {definer}
                     AS $$ DECLARE made record; BEGIN {body} END $$;
                 DROP EVENT TRIGGER IF EXISTS reown;
                 CREATE EVENT TRIGGER reown ON ddl_command_end WHEN TAG IN ('CREATE SCHEMA') EXECUTE FUNCTION tools.reown()"
            );
            database.admin.batch_execute(&trigger).await.unwrap();
            let client = database.operator().await;
            let answer = call(&client, "create_tenant_schema", &tenant_options("school")).await;
            assert_eq!(expect(&answer, "error"), reason);
            let message = answer["message"].as_str().unwrap();
            let named = format!("{refused}; event triggers that may have run: reown (tools.reown)");
            assert!(message.starts_with("cannot create schema") && message.ends_with(&named), "{message}");
        }
        database.admin.batch_execute("DROP EVENT TRIGGER reown").await.unwrap();
        let client = database.operator().await;
        expect(&call(&client, "create_tenant_schema", &tenant_options("school")).await, "success");
    })
    .await;
}
