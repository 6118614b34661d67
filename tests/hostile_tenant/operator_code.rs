//! Code of a tenant's that runs when the operator looks, repairs, covers, blocks, vacuums, sets aside and purges: never as another than
//! the tenant.

use serde_json::{Value, json};

use crate::{
    support::{call, expect},
    world::{World, with_world},
};

/// Whatever is evaluated, tells when it is not evaluated as a role of the tenant. What it tells outlives a rollback.
const BAIT: &str = "
    CREATE FUNCTION bait(v anyelement) RETURNS anyelement IMMUTABLE LANGUAGE plpgsql AS
        $$ BEGIN IF current_user !~ '^school_' THEN PERFORM nextval('public.ran'); END IF; RETURN v; END $$;
    CREATE FUNCTION bait() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF current_user !~ '^school_' THEN PERFORM nextval('public.ran'); END IF; RETURN coalesce(NEW, OLD); END $$;
    CREATE FUNCTION bait_eq(name, name) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN IF current_user !~ '^school_' THEN PERFORM nextval('public.ran'); END IF; RETURN true; END $$;
    CREATE OPERATOR = (LEFTARG = name, RIGHTARG = name, FUNCTION = bait_eq);
    CREATE FUNCTION format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM school.bait(1); RETURN ''; END $$;
    CREATE FUNCTION has_table_privilege(oid, oid, text) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN PERFORM school.bait(1); RETURN true; END $$;
    CREATE DOMAIN picky AS int CHECK (school.bait(VALUE) IS NOT NULL);
    CREATE TABLE baited (user_id int DEFAULT school.bait(1), d picky DEFAULT 1, g int GENERATED ALWAYS AS (school.bait(7)) STORED,
                         body text, CHECK (school.bait(user_id) > 0)) WITH (autovacuum_enabled = off);
    INSERT INTO baited (user_id, body) SELECT n, repeat('x', 1000) FROM generate_series(1, 500) AS n;
    CREATE INDEX ON baited (school.bait(user_id)); CREATE INDEX ON baited (user_id) WHERE school.bait(user_id) > 1;
    CREATE STATISTICS baited_s ON (school.bait(user_id)), (user_id + 1) FROM baited;
    CREATE TRIGGER r BEFORE INSERT OR UPDATE OR DELETE ON baited FOR EACH ROW EXECUTE FUNCTION bait();
    CREATE TRIGGER s AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON baited EXECUTE FUNCTION bait();
    ALTER TABLE baited ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON baited USING (school.bait(user_id) > 0);
    CREATE VIEW shown AS SELECT school.bait(user_id) AS v FROM baited; CREATE MATERIALIZED VIEW kept AS SELECT school.bait(1) AS v;
    CREATE RULE also AS ON UPDATE TO baited DO ALSO SELECT school.bait(1);
    CREATE TABLE parted (user_id int) PARTITION BY RANGE ((school.bait(user_id)));
    CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (1000)";

/// Whether it ran as another than the tenant.
async fn ran(world: &World) -> bool {
    world.database.one("SELECT is_called FROM public.ran").await
}

/// Vacuums as the tenant, as the operator does for one that is blocked.
async fn vacuum(world: &World) {
    let password = "only for this session";
    let verifier = world.database.verifier(password).await;
    let session = loop {
        let options = world.hostile.options(&json!({ "verifier": verifier, "seconds": 60 }));
        let answer = world.lane.session("open", &options).await;
        if answer["status"] == "partial" {
            continue;
        }
        expect(&answer, "success");
        let text = |key: &str| answer["detail"][key].as_str().unwrap().to_owned();
        let options = format!("-c role={} -c default_transaction_read_only=off", text("owner_role"));
        let session = world.database.log_in_by(&text("login"), password, &options).await.unwrap();
        let before = answer["detail"]["before"].as_array().unwrap().clone();
        for statement in &before {
            session.batch_execute(statement.as_str().unwrap()).await.unwrap();
        }
        if before.is_empty() {
            break session;
        }
    };
    session.batch_execute("VACUUM (DISABLE_PAGE_SKIPPING, INDEX_CLEANUP ON) school.baited").await.unwrap();
    session.batch_execute("ANALYZE school.baited").await.unwrap();
    drop(session);
    while world.lane.session("close", &world.hostile.options(&json!({}))).await["status"] == "partial" {}
}

#[tokio::test]
async fn nothing_of_a_tenants_runs_with_the_operators_rights() {
    with_world(async |world| {
        let canary = "CREATE SEQUENCE public.ran; GRANT USAGE ON SEQUENCE public.ran TO PUBLIC";
        world.database.admin.batch_execute(canary).await.unwrap();
        world.database.as_owner(&world.hostile, BAIT).await;
        assert!(!ran(&world).await);
        // It is one that tells.
        world
            .database
            .admin
            .batch_execute("SELECT school.bait(1); SELECT setval('public.ran', 1, false)")
            .await
            .unwrap();
        let client = &world.lane.client;
        let with = |more: Value| world.hostile.options(&more);
        let until_done = async |function: &str, options: Value| loop {
            let answer = call(client, function, &options).await;
            if answer["status"] != "partial" {
                return answer;
            }
        };
        world.lane.survey(true).await;
        let mut request = crate::support::owner("school");
        request["schema_name"] = json!("school");
        request["measure"] = json!(true);
        call(client, "observe_tenant", &request).await;
        let policies = json!([{ "name": "own", "column": "user_id", "setting": "app.other" }]);
        until_done("set_row_security", with(json!({ "mode": "Required", "policies": policies, "digest": "2" }))).await;
        let to = json!([{ "namespace": "team-a", "name": "college", "privileges": ["Read", "Write"] }]);
        expect(&until_done("set_tenant_grants", with(json!({ "grants": to }))).await, "success");
        until_done("repair_tenant_schema", with(json!({}))).await;
        for (access, cause) in
            [("WriteBlocked", json!("Quota")), ("ReadOnly", json!("Spec")), ("WriteBlocked", json!("Quota"))]
        {
            expect(
                &until_done("set_tenant_access", with(json!({ "access": access, "access_cause": cause }))).await,
                "success",
            );
            world.lane.survey(true).await;
        }
        vacuum(&world).await;
        assert!(!ran(&world).await, "while it lives");
        for access in ["ReadWrite", "Suspended", "ReadWrite"] {
            until_done("set_tenant_access", with(json!({ "access": access, "access_cause": null }))).await;
        }
        let aside = until_done("set_aside_tenant_schema", with(json!({ "owner_uid": "uid-school" }))).await;
        expect(&aside, "success");
        world.lane.survey(true).await;
        let purge = "SELECT status || ' ' || message FROM edu_matrix_hub_schema.purge_schema_backup($1::text::uuid)";
        let backup = aside["detail"]["backup_id"].as_str().unwrap();
        for _ in 0..200 {
            let told: String = client.query_one(purge, &[&backup]).await.unwrap().get(0);
            assert!(told.starts_with("partial") || told.starts_with("success"), "{told}");
            if told.starts_with("success") {
                break;
            }
        }
        assert!(world.database.one::<bool>("SELECT to_regnamespace('school') IS NULL").await);
        assert!(!ran(&world).await, "when it goes");
        assert_eq!(world.database.one::<i64>("SELECT count(*) FROM college.pupils").await, 3);
    })
    .await;
}
