//! What a tenant may try: neither the registry nor another role is within its reach, and nothing of its making runs as
//! ours.

use serde_json::{Value, json};

use crate::support::{Lane, call, expect, has_keepers, surveyed, tenant_options, with_database};

#[tokio::test]
async fn a_tenants_owner_reaches_nothing_else() {
    with_database(async |database| {
        let tenant = database.tenant("sly").await;
        let victim = database.tenant("victim").await;
        database.as_owner(&victim, "CREATE TABLE secret (v text)").await;
        let login = database.role("migration", "LOGIN").await;
        database
            .admin
            .batch_execute(&format!(
                "GRANT {} TO {login}; ALTER ROLE {login} SET role = '{}'",
                tenant.owner, tenant.owner
            ))
            .await
            .unwrap();
        let client = database.connect(&login).await;
        client.batch_execute("CREATE TABLE sly.mine (id int)").await.unwrap();
        let keeper = database
            .admin
            .query_opt(
                "SELECT role_name FROM edu_matrix_hub_schema.role_keepers WHERE parent IS NOT NULL LIMIT \
                1",
                &[],
            )
            .await
            .unwrap();
        let keeper = keeper.map_or_else(|| database.owner_role.clone(), |row| row.get(0));
        for statement in [
            "SELECT FROM edu_matrix_hub_schema.tenant_schemas".to_owned(),
            "SELECT edu_matrix_hub_schema.installation()".to_owned(),
            "SELECT edu_matrix_hub_schema._keep('CREATE ROLE x')".to_owned(),
            "SELECT edu_matrix_hub_schema._keep_2('CREATE ROLE x')".to_owned(),
            "SELECT FROM victim.secret".to_owned(),
            "CREATE TABLE victim.t (id int)".to_owned(),
            "CREATE SCHEMA another".to_owned(),
            "CREATE ROLE another".to_owned(),
            "ALTER SCHEMA sly RENAME TO renamed".to_owned(),
            format!("SET ROLE {}", database.owner_role),
            format!("SET ROLE {}", database.admin_role()),
            format!("SET ROLE {keeper}"),
            format!("SET ROLE {}", victim.owner),
            format!("GRANT {} TO {login}", victim.reader),
            format!("GRANT {} TO {}", database.admin_role(), tenant.owner),
            format!("ALTER SCHEMA sly OWNER TO {}", victim.owner),
            format!("ALTER ROLE {} CREATEROLE", tenant.owner),
        ] {
            assert!(client.batch_execute(&statement).await.is_err(), "{statement}");
        }
    })
    .await;
}

/// Everything that a tenant can attach to its own objects, each calling a function that tells which role ran it.
const TRAPS: &str = "
    CREATE TABLE witness (role text);
    CREATE FUNCTION trap() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN
            INSERT INTO sly.witness VALUES (current_user);
            EXECUTE 'ALTER ROLE ' || quote_ident(session_user) || ' CREATEROLE';
            RETURN 1;
        END $$;
    CREATE FUNCTION quiet_trap(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN
            IF current_user LIKE '%\\_owner' AND current_user NOT LIKE 'sly%' THEN
                RAISE EXCEPTION 'ran as %', current_user;
            END IF;
            RETURN $1;
        END $$;
    CREATE TABLE t (id int DEFAULT sly.trap() CHECK (sly.quiet_trap(id) > 0));
    CREATE INDEX ON t ((sly.quiet_trap(id)));
    CREATE VIEW pg_namespace AS SELECT sly.trap() AS oid;
    CREATE FUNCTION format(text, VARIADIC anyarray) RETURNS text LANGUAGE sql AS $$ SELECT 'DROP SCHEMA victim' $$;
    CREATE FUNCTION coalesce_trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM sly.trap(); RETURN NEW; END $$;
    CREATE TRIGGER each BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION sly.coalesce_trap();
    CREATE MATERIALIZED VIEW m AS SELECT 1 AS one;
    GRANT ALL ON ALL TABLES IN SCHEMA sly TO PUBLIC;
    GRANT USAGE ON SCHEMA sly TO PUBLIC";

#[tokio::test]
async fn nothing_of_a_tenants_making_runs_as_ours() {
    with_database(async |database| {
        let tenant = database.tenant("sly").await;
        database.tenant("victim").await;
        database.as_owner(&tenant, TRAPS).await;
        let client = database.operator().await;
        // Even a caller whose path leads through the tenant's schema first.
        client.batch_execute("SET search_path = sly, pg_catalog").await.unwrap();
        if has_keepers() {
            client.batch_execute("SET createrole_self_grant = 'set, inherit'").await.unwrap();
        }
        let lane = Lane::claim(client).await;
        for access in ["Suspended", "ReadWrite"] {
            expect(
                &call(&lane.client, "set_tenant_access", &tenant.options(&json!({ "access": access }))).await,
                "success",
            );
            assert!(surveyed(&lane.survey(true).await, &tenant).is_some());
            let repaired = call(&lane.client, "repair_tenant_schema", &tenant.options(&json!({}))).await;
            assert!(["success", "unchanged"].contains(&repaired["status"].as_str().unwrap()), "{repaired}");
        }
        expect(&call(&lane.client, "create_tenant_schema", &tenant_options("another")).await, "success");
        assert_eq!(database.one::<i64>("SELECT count(*) FROM sly.witness").await, 0);
        let powers: Value = database
            .one(&format!(
                "SELECT coalesce(jsonb_agg(rolname), '[]') FROM pg_roles WHERE (rolcreaterole OR rolsuper OR \
                    rolcanlogin) \
                 AND rolname IN ('{}', '{}', '{}')",
                tenant.owner, tenant.reader, tenant.writer
            ))
            .await;
        assert_eq!(powers, json!([]));
        assert_eq!(database.standing_memberships().await, 0);
    })
    .await;
}

#[tokio::test]
async fn text_from_a_caller_is_never_sql() {
    with_database(async |database| {
        let client = database.operator().await;
        let nasty = "x'); DROP SCHEMA edu_matrix_hub_schema CASCADE; --\" %I %L %s $1 \\";
        let mut options = tenant_options("school");
        options["requested_by"] = json!(nasty);
        options["owner"] = json!({ "cluster": nasty, "namespace": nasty, "name": nasty, "uid": nasty });
        options["config"] = json!({ nasty: nasty });
        let answer = call(&client, "create_tenant_schema", &options).await;
        expect(&answer, "success");
        for function in ["set_tenant_access", "set_tenant_config", "repair_tenant_schema", "recreate_tenant_schema"] {
            let id = &answer["schema_id"];
            let options = json!({ "schema_id": id, "access": nasty, "requested_by": nasty, "config": { "a": nasty } });
            call(&client, function, &options).await;
            let broken = call(&client, function, &json!({ "schema_id": nasty })).await;
            assert_eq!(expect(&broken, "error"), "internal", "{function}");
        }
        let mut observed = options["owner"].clone();
        observed["schema_name"] = json!(nasty);
        assert_eq!(call(&client, "observe_tenant", &observed).await["own"]["schema_name"], "school");
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas").await, 1);
    })
    .await;
}
