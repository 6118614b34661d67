//! Suspension and its exact undoing; configuration.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Database, Lane, Tenant, call, expect, tenant_options, with_database};

async fn set(database: &Database, tenant: &Tenant, access: &str) -> Value {
    call(&database.operator().await, "set_tenant_access", &tenant.options(&json!({ "access": access }))).await
}

#[tokio::test]
async fn what_a_suspension_takes_comes_back_exactly() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let partner = database.role("partner", "NOLOGIN").await;
        let third = database.role("third", "NOLOGIN").await;
        database
            .admin
            .batch_execute(&format!(
                "GRANT USAGE ON SCHEMA school TO {partner} WITH GRANT OPTION; GRANT CREATE ON SCHEMA school TO \
                {partner}; GRANT USAGE ON SCHEMA school TO PUBLIC, {third}"
            ))
            .await
            .unwrap();
        let before = database.acl("school").await;
        expect(&set(&database, &tenant, "Suspended").await, "success");
        assert_eq!(database.acl("school").await, format!("{{{0}=UC/{0}}}", tenant.owner));
        assert_eq!(
            database
                .one::<String>(
                    "SELECT status || access FROM \
            edu_matrix_hub_schema.tenant_schemas"
                )
                .await,
            "suspendedSuspended"
        );
        expect(&set(&database, &tenant, "Suspended").await, "unchanged");
        expect(&set(&database, &tenant, "ReadWrite").await, "success");
        assert_eq!(database.acl("school").await, before);
        expect(&set(&database, &tenant, "ReadWrite").await, "unchanged");
        assert_eq!(
            database
                .one::<String>(
                    "SELECT status || access FROM \
            edu_matrix_hub_schema.tenant_schemas"
                )
                .await,
            "activeReadWrite"
        );
        // What was given on by a grantee goes with it and comes back, with the owner as the one who gave it.
        database
            .admin
            .batch_execute(&format!(
                "REVOKE USAGE ON SCHEMA school FROM {third}; SET ROLE {partner}; \
            GRANT USAGE ON SCHEMA school TO {third}; RESET ROLE"
            ))
            .await
            .unwrap();
        expect(&set(&database, &tenant, "Suspended").await, "success");
        assert_eq!(database.acl("school").await, format!("{{{0}=UC/{0}}}", tenant.owner));
        database.admin.batch_execute(&format!("DROP ROLE {partner}")).await.unwrap();
        let answer = set(&database, &tenant, "ReadWrite").await;
        assert!(answer["message"].as_str().unwrap().ends_with(&format!("not given back: {partner}")), "{answer}");
        assert!(database.one::<bool>(&format!("SELECT has_schema_privilege('{third}', 'school', 'USAGE')")).await);
        assert_eq!(database.standing_memberships().await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_role_that_took_an_old_name_is_not_given_what_that_had() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let same = database.role("same", "NOLOGIN").await;
        let other = database.role("other", "NOLOGIN").await;
        let remake = format!("DROP ROLE {other}; CREATE ROLE {other}");
        let grant = format!("GRANT USAGE ON SCHEMA school TO {same}, {other}, PUBLIC");
        database.as_owner(&tenant, &grant).await;
        let whole = database.acl("school").await;
        let without = whole.replace(&format!(",{other}=U/{}", tenant.owner), "");
        assert_ne!(whole, without);
        expect(&set(&database, &tenant, "Suspended").await, "success");
        database.admin.batch_execute(&remake).await.unwrap();
        let answer = set(&database, &tenant, "ReadWrite").await;
        expect(&answer, "success");
        assert!(answer["message"].as_str().unwrap().ends_with(&format!("not given back: {other}")), "{answer}");
        assert_eq!(database.acl("school").await, without);

        // Of a suspension that was recorded before there were numbers, the names are all that there is.
        database.as_owner(&tenant, &format!("REVOKE USAGE ON SCHEMA school FROM PUBLIC; {grant}")).await;
        let whole = database.acl("school").await;
        expect(&set(&database, &tenant, "Suspended").await, "success");
        let forget = "UPDATE edu_matrix_hub_schema.tenant_schemas SET saved_acl = \
                      (SELECT jsonb_agg(g - 'oid' ORDER BY n) FROM jsonb_array_elements(saved_acl) WITH ORDINALITY AS s (g, n))";
        database.admin.batch_execute(&format!("{remake}; {forget}")).await.unwrap();
        expect(&set(&database, &tenant, "ReadWrite").await, "success");
        assert_eq!(database.acl("school").await, whole);

        // The tenant's own roles stay its own under another number: a repair may have made them again.
        expect(&set(&database, &tenant, "Suspended").await, "success");
        database.admin.batch_execute(&format!("DROP OWNED BY {0}; DROP ROLE {0}", tenant.reader)).await.unwrap();
        let repaired = call(&database.operator().await, "repair_tenant_schema", &tenant.options(&json!({}))).await;
        expect(&repaired, "success");
        assert_eq!(set(&database, &tenant, "ReadWrite").await["message"], "schema \"school\" is open");
        assert_eq!(database.acl("school").await, whole);
    })
    .await;
}

#[tokio::test]
async fn our_logins_are_closed_and_sessions_ended_and_foreign_ones_left() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE t (id int)").await;
        let ours = format!("{}_ours", database.name);
        database.declare_login(&tenant, &ours, &tenant.reader).await;
        let foreign = database.role("foreign", "LOGIN").await;
        database.admin.batch_execute(&format!("GRANT \"{}\" TO {foreign}", tenant.reader)).await.unwrap();
        let session = database.connect(&ours).await;
        session.batch_execute("SELECT FROM school.t").await.unwrap();
        let guest = database.connect(&foreign).await;
        guest.batch_execute("SELECT FROM school.t").await.unwrap();

        let answer = set(&database, &tenant, "Suspended").await;
        expect(&answer, "success");
        let mut detail = answer["detail"].clone();
        assert_eq!(detail.as_object_mut().unwrap().remove("pids").unwrap().as_array().unwrap().len(), 1);
        assert_eq!(detail, json!({ "closed": [ours], "ended": 1, "not_ended": [], "shared_with": [] }));
        assert!(session.batch_execute("SELECT 1").await.is_err(), "the session was ended");
        assert!(database.try_connect(&ours).await.is_err(), "the login is closed");
        guest.batch_execute("SELECT 1").await.unwrap();
        assert!(guest.batch_execute("SELECT FROM school.t").await.is_err(), "without USAGE");
        assert!(
            database
                .one::<bool>(&format!(
                    "SELECT pg_has_role('{foreign}', '{}', \
            'MEMBER')",
                    tenant.reader
                ))
                .await
        );
        expect(&set(&database, &tenant, "Suspended").await, "unchanged");

        expect(&set(&database, &tenant, "ReadWrite").await, "success");
        database.connect(&ours).await.batch_execute("SELECT FROM school.t").await.unwrap();
        guest.batch_execute("SELECT FROM school.t").await.unwrap();
        assert_eq!(database.standing_memberships().await, 0);
    })
    .await;
}

/// A login that comes in while its tenant is being suspended stays connected until the holder of the lane is heard of next.
#[tokio::test]
async fn a_heartbeat_ends_what_came_in_during_a_suspension() {
    with_database(async |database| {
        let (tenant, open) = (database.tenant("school").await, database.tenant("open").await);
        let lane = Lane::claim(database.operator().await).await;
        let (ours, theirs) = (format!("{}_ours", database.name), format!("{}_theirs", database.name));
        database.declare_login(&tenant, &ours, &tenant.reader).await;
        database.declare_login(&open, &theirs, &open.reader).await;
        let foreign = database.role("foreign", "LOGIN").await;
        database.admin.batch_execute(&format!("GRANT \"{}\" TO {foreign}", tenant.reader)).await.unwrap();
        let others = [database.connect(&theirs).await, database.connect(&foreign).await];
        let ended = "SELECT count(*) FROM edu_matrix_hub_schema.schema_operations WHERE type = 'end_sessions'";
        expect(&lane.beat().await, "success");

        let suspending = database.operator().await;
        suspending.batch_execute("BEGIN").await.unwrap();
        let access = tenant.options(&json!({ "access": "Suspended" }));
        expect(&call(&suspending, "set_tenant_access", &access).await, "success");
        let session = database.connect(&ours).await;
        // Nothing is waited for: a call that works on the tenant keeps no heartbeat.
        expect(&lane.beat().await, "success");
        suspending.batch_execute("COMMIT").await.unwrap();
        session.batch_execute("SELECT 1").await.unwrap();

        expect(&lane.beat().await, "success");
        assert!(session.batch_execute("SELECT 1").await.is_err(), "the session was ended");
        assert!(database.try_connect(&ours).await.is_err(), "the login is closed");
        for other in &others {
            other.batch_execute("SELECT 1").await.unwrap();
        }
        assert_eq!(database.one::<i64>(ended).await, 1);
        expect(&lane.beat().await, "success");
        assert_eq!(database.one::<i64>(ended).await, 1, "there is nothing to end any more");
        assert_eq!(database.standing_memberships().await, 0);

        expect(&set(&database, &tenant, "ReadWrite").await, "success");
        let session = database.connect(&ours).await;
        expect(&lane.beat().await, "success");
        session.batch_execute("SELECT 1").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_tenant_may_be_suspended_from_the_start() {
    with_database(async |database| {
        let mut options = tenant_options("school");
        options["access"] = json!("Suspended");
        let answer = call(&database.operator().await, "create_tenant_schema", &options).await;
        expect(&answer, "success");
        let tenant = database.tenant_of(&answer).await;
        assert_eq!(database.acl("school").await, format!("{{{0}=UC/{0}}}", tenant.owner));
        assert_eq!(
            database
                .one::<Value>(
                    "SELECT edu_matrix_hub_schema._tenant_drift(id) FROM edu_matrix_hub_schema.tenant_schemas"
                )
                .await,
            json!([])
        );
        expect(&set(&database, &tenant, "ReadWrite").await, "success");
        assert!(
            database
                .one::<bool>(&format!(
                    "SELECT has_schema_privilege('{}', 'school', \
                'USAGE')",
                    tenant.writer
                ))
                .await
        );
        assert_eq!(
            database
                .one::<Value>(
                    "SELECT edu_matrix_hub_schema._tenant_drift(id) FROM edu_matrix_hub_schema.tenant_schemas"
                )
                .await,
            json!([])
        );
    })
    .await;
}

#[tokio::test]
async fn errors_name_the_attempt_the_thing_and_the_way_out() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let answer = set(&database, &tenant, "Sometimes").await;
        assert_eq!(
            answer["message"],
            "cannot set access of schema \"school\" to Sometimes: access is ReadWrite, WriteBlocked, ReadOnly or Suspended"
        );
        let client = database.operator().await;
        for function in ["set_tenant_access", "set_tenant_config", "repair_tenant_schema", "recreate_tenant_schema"] {
            let answer = call(&client, function, &json!({ "schema_id": Uuid::new_v4(), "access": "Suspended" })).await;
            assert_eq!(expect(&answer, "error"), "not_found", "{function}");
        }
        database.admin.batch_execute("DROP SCHEMA school").await.unwrap();
        assert_eq!(expect(&set(&database, &tenant, "Suspended").await, "error"), "schema_missing");
    })
    .await;
}

#[tokio::test]
async fn configuration_has_a_version() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let client = database.operator().await;
        let set = async |more: Value| call(&client, "set_tenant_config", &tenant.options(&more)).await;
        let answer = set(json!({ "config": { "plan": "gold" }, "quota_limit": 1024 })).await;
        expect(&answer, "success");
        assert_eq!(answer["detail"]["version"], 2);
        expect(&set(json!({ "config": { "plan": "gold" }, "quota_limit": 1024 })).await, "unchanged");
        expect(&set(json!({ "config": { "plan": "gold" } })).await, "unchanged");
        assert_eq!(set(json!({ "quota_limit": null })).await["detail"]["version"], 3);
        assert_eq!(expect(&set(json!({ "quota_limit": -1 })).await, "error"), "internal");
        let row: Value = database
            .one("SELECT jsonb_build_array(config, quota_limit, version) FROM edu_matrix_hub_schema.tenant_schemas")
            .await;
        assert_eq!(row, json!([{ "plan": "gold" }, null, 3]));
    })
    .await;
}
