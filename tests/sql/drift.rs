//! What a user changed by hand is seen and put right; what the tenant does with its own objects is not.

use serde_json::{Value, json};

use crate::support::{Database, Lane, Tenant, call, expect, has_keepers, owner, surveyed, with_database};

async fn drift(database: &Database, tenant: &Tenant) -> Vec<Value> {
    let answer: Value = database.one(&format!("SELECT edu_matrix_hub_schema._tenant_drift('{}')", tenant.id)).await;
    answer.as_array().unwrap().clone()
}

async fn repair(database: &Database, tenant: &Tenant) -> Value {
    call(&database.operator().await, "repair_tenant_schema", &tenant.options(&json!({}))).await
}

/// The observation that a reconcile makes.
async fn observed(database: &Database, tenant: &Tenant) -> Value {
    let mut request = owner(&tenant.schema);
    request["schema_name"] = json!(tenant.schema);
    call(&database.operator().await, "observe_tenant", &request).await["own"].clone()
}

#[tokio::test]
async fn whatever_is_changed_by_hand_is_repaired() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        lane.survey(false).await;
        assert_eq!(observed(&database, &tenant).await["drift"], json!([]));
        let foreign = database.role("foreign", "NOLOGIN").await;
        let Tenant { owner, reader, writer, .. } = &tenant;
        let changes = [
            (format!("GRANT USAGE ON SCHEMA school TO {foreign} WITH GRANT OPTION"), 1),
            (
                format!(
                    "GRANT USAGE ON SCHEMA school TO {foreign} WITH GRANT OPTION; SET ROLE {foreign}; GRANT \
                USAGE ON SCHEMA school TO PUBLIC; RESET ROLE"
                ),
                1,
            ),
            (format!("GRANT CREATE ON SCHEMA school TO {reader}"), 1),
            (format!("GRANT USAGE ON SCHEMA school TO {reader} WITH GRANT OPTION"), 1),
            (format!("REVOKE USAGE ON SCHEMA school FROM {writer}"), 1),
            (format!("REVOKE ALL ON SCHEMA school FROM {owner}, {reader}, {writer}"), 4),
            (format!("ALTER ROLE {writer} LOGIN CREATEROLE"), 2),
            (format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO {foreign}"), 1),
            (format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT EXECUTE ON FUNCTIONS TO PUBLIC"), 1),
            (format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE ALL ON SEQUENCES FROM {reader}, {writer}"), 1),
            (
                format!(
                    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT USAGE ON TYPES TO {reader} WITH GRANT \
                OPTION"
                ),
                1,
            ),
            (format!("ALTER SCHEMA school OWNER TO {}", database.owner_role), 1),
            (format!("ALTER SCHEMA school OWNER TO {reader}"), 2),
            (format!("DROP OWNED BY {reader}; DROP ROLE {reader}"), 5),
        ];
        for (change, found) in changes {
            database.admin.batch_execute(&change).await.unwrap();
            let differences = drift(&database, &tenant).await;
            assert_eq!(differences.len(), found, "{change}: {differences:#?}");
            assert!(differences.iter().all(|d| d["repairable"] == true), "{change}: {differences:#?}");
            assert_eq!(json!(differences), observed(&database, &tenant).await["drift"], "{change}");
            assert_eq!(surveyed(&lane.survey(false).await, &tenant).unwrap()["drift"], json!(differences), "{change}");
            let answer = repair(&database, &tenant).await;
            expect(&answer, "success");
            // Once a first thing is right, a second may show.
            let repaired = answer["detail"]["repaired"].as_array().unwrap();
            assert!(differences.iter().all(|d| repaired.contains(&d["what"])), "{change}: {answer}");
            assert_eq!(answer["detail"]["not_repairable"], json!([]), "{change}");
            assert_eq!(drift(&database, &tenant).await, [] as [Value; 0], "{change}");
            assert_eq!(observed(&database, &tenant).await["drift"], json!([]), "{change}");
            expect(&repair(&database, &tenant).await, "unchanged");
            assert_eq!(surveyed(&lane.survey(false).await, &tenant).unwrap()["drift"], json!([]), "{change}");
            assert!(surveyed(&lane.survey(false).await, &tenant).is_none(), "{change}: nothing changed since");
            assert_eq!(database.standing_memberships().await, 0, "{change}");
        }
    })
    .await;
}

#[tokio::test]
async fn roles_made_again_can_do_what_the_old_ones_could() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database
            .as_owner(
                &tenant,
                "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY); CREATE FUNCTION f() \
            RETURNS int LANGUAGE sql AS 'SELECT 1'",
            )
            .await;
        for role in [&tenant.reader, &tenant.writer] {
            database.admin.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
        }
        expect(&repair(&database, &tenant).await, "success");
        let may: bool = database
            .one(&format!(
                "SELECT has_table_privilege('{r}', 'school.t', 'SELECT') AND has_table_privilege('{w}', \
                    'school.t', 'DELETE') \
                 AND has_sequence_privilege('{w}', 'school.t_id_seq', 'USAGE') \
                 AND has_function_privilege('{w}', 'school.f()', 'EXECUTE')",
                r = tenant.reader,
                w = tenant.writer
            ))
            .await;
        assert!(may);
        // The owner role too, when it was dropped after everything had been taken from it.
        database
            .admin
            .batch_execute(&format!(
                "REASSIGN OWNED BY {0} TO {1}; DROP OWNED BY {0}; DROP ROLE \
            {0}",
                tenant.owner, database.owner_role
            ))
            .await
            .unwrap();
        expect(&repair(&database, &tenant).await, "success");
        assert_eq!(drift(&database, &tenant).await, [] as [Value; 0]);
    })
    .await;
}

#[tokio::test]
async fn no_routine_keeps_roles_from_being_made_again() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let routines = r#"
            CREATE AGGREGATE ordered(ORDER BY int) (sfunc = int4pl, stype = int4, initcond = '0');
            CREATE AGGREGATE direct(VARIADIC "any" ORDER BY VARIADIC "any")
                (sfunc = ordered_set_transition_multi, stype = internal, finalfunc = rank_final, finalfunc_extra, hypothetical);
            CREATE AGGREGATE summed(int) (sfunc = int4pl, stype = int4, initcond = '0');
            CREATE FUNCTION many(VARIADIC a "char"[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
            CREATE FUNCTION "o'dd %I"("a b" bit varying DEFAULT B'1', OUT c interval) LANGUAGE sql AS $$SELECT interval '1 s'$$;
            CREATE PROCEDURE twice(OUT a int) LANGUAGE plpgsql AS 'BEGIN a := 1; END';
            CREATE FUNCTION twice(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'"#;
        // The transition function takes `internal`, so only a superuser makes that aggregate; it is given to the owner.
        let statements = format!(
            "SET search_path = school, pg_catalog; {routines}; RESET search_path;
             DO $do$ DECLARE r regprocedure; BEGIN FOR r IN SELECT p.oid FROM pg_proc AS p WHERE p.pronamespace = 'school'::regnamespace LOOP
                 EXECUTE format('ALTER ROUTINE %s OWNER TO {}', edu_matrix_hub_schema._routine_name(r)); END LOOP; END $do$",
            tenant.owner
        );
        database.admin.batch_execute(&statements).await.unwrap();
        // A type that we may not use is not to be named by us.
        let away = "CREATE SCHEMA away; CREATE TYPE away.t AS (a int); GRANT USAGE ON SCHEMA away TO PUBLIC";
        database.admin.batch_execute(away).await.unwrap();
        database.as_owner(&tenant, "CREATE FUNCTION takes(away.t) RETURNS int LANGUAGE sql AS 'SELECT 1'").await;
        let take = format!("REVOKE USAGE ON SCHEMA away FROM PUBLIC; DROP OWNED BY {0}; DROP ROLE {0}", tenant.writer);
        database.admin.batch_execute(&take).await.unwrap();

        let answer = repair(&database, &tenant).await;
        expect(&answer, "success");
        let left = answer["detail"]["not_repairable"].as_array().unwrap();
        assert_eq!(left.len(), 1, "{left:#?}");
        assert_eq!(left[0]["error"], "permission denied for schema away");
        let lacking = format!(
            "SELECT string_agg(p.proname, ', ') FROM pg_proc AS p WHERE p.pronamespace = 'school'::regnamespace
             AND NOT has_function_privilege('{}', p.oid, 'EXECUTE')",
            tenant.writer
        );
        assert_eq!(database.one::<Option<String>>(&lacking).await.as_deref(), Some("takes"));
        database.admin.batch_execute(left[0]["statement"].as_str().unwrap()).await.unwrap();
        assert_eq!(database.one::<Option<String>>(&lacking).await, None);
        expect(&repair(&database, &tenant).await, "unchanged");
        // A removal drops them by the same names.
        let drop = "DO $$ DECLARE r oid; BEGIN FOR r IN SELECT p.oid FROM pg_proc AS p WHERE p.pronamespace = 'school'::regnamespace LOOP
                        EXECUTE 'DROP ROUTINE ' || edu_matrix_hub_schema._routine_name(r); END LOOP; END $$";
        database.admin.batch_execute(drop).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn who_has_changed_default_privileges_is_named() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let login = database.role("maker", "LOGIN").await;
        database.admin.batch_execute(&format!("GRANT {} TO {login}", tenant.owner)).await.unwrap();
        let maker = database.connect(&login).await;
        let grant =
            |what| format!("ALTER DEFAULT PRIVILEGES FOR ROLE {} GRANT {what} ON TABLES TO PUBLIC", tenant.owner);
        maker.batch_execute(&grant("SELECT")).await.unwrap();
        maker.batch_execute(&format!("BEGIN; {}", grant("TRUNCATE"))).await.unwrap();
        let answer = repair(&database, &tenant).await;
        expect(&answer, "busy");
        assert_eq!(answer["detail"]["blocker"]["role"], json!(login), "{answer}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(&format!("has changed the default privileges of role {}", tenant.owner)), "{message}");
        assert!(message.contains("SELECT pg_terminate_backend("), "{message}");
        maker.batch_execute("PREPARE TRANSACTION 'hold'").await.unwrap();
        let answer = repair(&database, &tenant).await;
        expect(&answer, "busy");
        assert!(answer["message"].as_str().unwrap().contains("ROLLBACK PREPARED 'hold'"), "{answer}");
        maker.batch_execute("ROLLBACK PREPARED 'hold'").await.unwrap();
        expect(&repair(&database, &tenant).await, "success");
    })
    .await;
}

#[tokio::test]
async fn what_we_may_not_repair_comes_with_the_statement() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let foreign = database.role("foreign", "NOLOGIN").await;
        let mut changes = vec![
            "ALTER SCHEMA school OWNER TO postgres".to_owned(),
            format!("ALTER ROLE {} BYPASSRLS", tenant.writer),
            format!("ALTER ROLE {} REPLICATION", tenant.writer),
        ];
        if has_keepers() {
            changes.push(format!("ALTER SCHEMA school OWNER TO {foreign}"));
            changes.push(format!("ALTER ROLE {} CREATEDB", tenant.owner));
            changes.push(format!("GRANT {foreign} TO {}", tenant.owner));
            changes.push(format!("GRANT {foreign} TO {}", tenant.reader));
            let keeper: String = database
                .one(
                    "SELECT role_name FROM edu_matrix_hub_schema.role_keepers WHERE parent IS NOT \
                    NULL",
                )
                .await;
            changes.push(format!("REVOKE {} FROM {keeper}", tenant.writer));
        }
        for change in changes {
            database.admin.batch_execute(&change).await.unwrap();
            let answer = repair(&database, &tenant).await;
            assert_eq!(expect(&answer, "error"), "not_repairable", "{change}");
            let left = answer["detail"]["not_repairable"].as_array().unwrap();
            assert_eq!(left.len(), 1, "{change}: {left:#?}");
            assert_eq!(left[0]["statement"], drift(&database, &tenant).await[0]["statement"]);
            database.admin.batch_execute(left[0]["statement"].as_str().unwrap()).await.unwrap();
            assert_eq!(drift(&database, &tenant).await, [] as [Value; 0], "{change}");
        }
        // What can be repaired is, although something else cannot.
        database.admin.batch_execute(&format!("ALTER ROLE {} BYPASSRLS LOGIN", tenant.reader)).await.unwrap();
        let answer = repair(&database, &tenant).await;
        expect(&answer, "success");
        assert_eq!(answer["detail"]["repaired"], json!([format!("role \"{}\" has LOGIN", tenant.reader)]));
        assert_eq!(
            answer["detail"]["not_repairable"][0]["what"],
            json!(format!("role \"{}\" has BYPASSRLS", tenant.reader))
        );
    })
    .await;
}

/// A tenant, or a user who administers roles, can make any amount of drift in one statement.
#[tokio::test]
async fn however_much_there_is_what_is_shown_of_it_is_bounded() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let mut strangers = Vec::new();
        for number in 0..30 {
            strangers.push(database.role(&format!("a_stranger_with_a_long_name_{number}"), "NOLOGIN").await);
        }
        let strangers = strangers.join(", ");
        database.as_owner(&tenant, &format!("GRANT USAGE ON SCHEMA school TO {strangers}")).await;
        database.admin.batch_execute(&format!("GRANT {strangers} TO {}", tenant.owner)).await.unwrap();
        let found = drift(&database, &tenant).await;
        // 30 memberships, and all grants as one finding.
        let more: Vec<_> = found[20..].iter().map(|d| (d["what"].as_str().unwrap(), &d["statement"])).collect();
        if has_keepers() {
            assert_eq!(more, [("and 10 more", &Value::Null), ("and 1 more", &Value::Null)]);
            assert_eq!((&found[20]["repairable"], &found[21]["repairable"]), (&json!(false), &json!(true)));
        } else {
            assert_eq!(more, [("and 11 more", &Value::Null)]);
        }
        let lane = Lane::claim(database.operator().await).await;
        assert_eq!(surveyed(&lane.survey(false).await, &tenant).unwrap()["drift"], json!(found));
        assert_eq!(observed(&database, &tenant).await["drift"], json!(found));

        database.admin.batch_execute(&format!("REVOKE {strangers} FROM {}", tenant.owner)).await.unwrap();
        let found = drift(&database, &tenant).await;
        assert_eq!(found.len(), 1);
        let statement = found[0]["statement"].as_str().unwrap();
        assert!(statement.starts_with("REVOKE ALL ON SCHEMA school FROM ") && statement.ends_with(" ... (cut)"));
        assert_eq!(statement.chars().count(), 512 + " ... (cut)".len());
        // What is cut where it is shown is whole where it is run.
        expect(&repair(&database, &tenant).await, "success");
        assert_eq!(drift(&database, &tenant).await, [] as [Value; 0]);
    })
    .await;
}

#[tokio::test]
async fn on_15_foreign_owners_and_memberships_are_ours_to_repair() {
    if has_keepers() {
        return;
    }
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let foreign = database.role("foreign", "NOLOGIN").await;
        database
            .admin
            .batch_execute(&format!(
                "ALTER SCHEMA school OWNER TO {foreign}; GRANT {foreign} TO {}; ALTER ROLE {} CREATEDB",
                tenant.owner, tenant.owner
            ))
            .await
            .unwrap();
        assert_eq!(drift(&database, &tenant).await.len(), 3);
        expect(&repair(&database, &tenant).await, "success");
        assert_eq!(drift(&database, &tenant).await, [] as [Value; 0]);
        assert_eq!(database.standing_memberships().await, 0);
    })
    .await;
}

#[tokio::test]
async fn what_a_tenant_does_with_its_own_is_no_drift() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let guest = database.role("guest", "LOGIN").await;
        database
            .as_owner(
                &tenant,
                &format!(
                    "CREATE TABLE t (id int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; GRANT SELECT ON t TO {guest}; \
             ALTER DEFAULT PRIVILEGES IN SCHEMA school GRANT SELECT ON TABLES TO {guest}; \
             CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"
                ),
            )
            .await;
        database
            .admin
            .batch_execute(&format!(
                "GRANT {} TO {guest}; COMMENT ON SCHEMA school IS \
            'mine'",
                tenant.reader
            ))
            .await
            .unwrap();
        assert_eq!(drift(&database, &tenant).await, [] as [Value; 0]);
        expect(&repair(&database, &tenant).await, "unchanged");
        assert!(database.one::<bool>(&format!("SELECT pg_has_role('{guest}', '{}', 'MEMBER')", tenant.reader)).await);
    })
    .await;
}

#[tokio::test]
async fn a_suspended_tenant_is_repaired_to_being_suspended() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let client = database.operator().await;
        expect(
            &call(&client, "set_tenant_access", &tenant.options(&json!({ "access": "Suspended" }))).await,
            "success",
        );
        database.admin.batch_execute(&format!("GRANT USAGE ON SCHEMA school TO {}", tenant.reader)).await.unwrap();
        assert_eq!(drift(&database, &tenant).await.len(), 1);
        expect(&repair(&database, &tenant).await, "success");
        assert_eq!(database.acl("school").await, format!("{{{0}=UC/{0}}}", tenant.owner));
    })
    .await;
}

#[tokio::test]
async fn a_lost_schema_is_missing_until_a_user_asks_for_it_again() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        database.as_owner(&tenant, "CREATE TABLE t AS SELECT 1 AS id").await;
        lane.survey(true).await;
        expect(&call(&lane.client, "recreate_tenant_schema", &tenant.options(&json!({}))).await, "unchanged");
        database
            .admin
            .batch_execute(&format!("DROP SCHEMA school CASCADE; DROP OWNED BY {0}; DROP ROLE {0}", tenant.reader))
            .await
            .unwrap();
        let row = observed(&database, &tenant).await;
        assert_eq!((&row["schema_exists"], &row["drift"]), (&json!(false), &json!([])));
        let survey = lane.survey(false).await;
        assert_eq!(surveyed(&survey, &tenant).unwrap()["schema_exists"], false);
        assert_eq!(expect(&repair(&database, &tenant).await, "error"), "schema_missing");
        expect(&call(&lane.client, "recreate_tenant_schema", &tenant.options(&json!({}))).await, "success");
        assert_eq!(drift(&database, &tenant).await, [] as [Value; 0]);
        let again = lane.survey(false).await;
        let row = surveyed(&again, &tenant).unwrap();
        assert_eq!(
            (&row["schema_exists"], &row["storage_bytes"], &row["table_count"]),
            (&json!(true), &json!(0), &json!(0))
        );
        assert_eq!(row["last_operation"]["type"], "recreate_tenant_schema");
    })
    .await;
}

#[tokio::test]
async fn a_fingerprint_cannot_be_computed_without_the_secret_of_the_installation() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        lane.survey(true).await;
        let stored = "SELECT fingerprint::text FROM edu_matrix_hub_schema.tenant_schemas";
        let before: String = database.one(stored).await;
        // Grants, roles and all are as they were, and nothing but the secret differs: so every share of the sum has it.
        database
            .admin
            .batch_execute("UPDATE edu_matrix_hub_schema.installation SET fingerprint_key = fingerprint_key + 1")
            .await
            .unwrap();
        lane.survey(true).await;
        let after: String = database.one(stored).await;
        assert_ne!(before, after);
        assert_eq!(surveyed(&lane.survey(true).await, &tenant).unwrap()["drift"], json!([]));
        let secret = "SELECT fingerprint_key FROM edu_matrix_hub_schema.installation";
        assert!(lane.client.query(secret, &[]).await.is_err(), "not even who calls the functions reads it");
    })
    .await;
}
