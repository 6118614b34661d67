//! How much of something there is is a tenant's choice: calls about such a tenant stay short, and others are looked after as ever.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::backup_world::{World, set_access, with_world};
use crate::support::{Lane, Tenant, call, expect, surveyed};

/// Makes roles in one statement, as an administrator of many tenants has them; returns their names as a list of SQL.
async fn strangers(world: &World, count: i32) -> String {
    let prefix = format!("{}_s", world.database.name);
    world
        .run(&format!(
            "DO $$ BEGIN FOR n IN 1..{count} LOOP EXECUTE format('CREATE ROLE %I', '{prefix}' || n); END LOOP; END $$"
        ))
        .await;
    world.text(&format!("SELECT string_agg('{prefix}' || n, ', ') FROM generate_series(1, {count}) AS n")).await
}

/// Removes them in one statement.
async fn remove_strangers(world: &World, names: &str) {
    world.run(&format!("DROP OWNED BY {names}; DROP ROLE {names}")).await;
}

/// How long the calls of an operator may take on a machine that is busy; unbounded, they took minutes.
const SHORT: Duration = Duration::from_secs(20);

/// Calls something, and asserts that it was answered soon and shortly.
async fn soon(client: &tokio_postgres::Client, function: &str, options: &Value) -> Value {
    let started = Instant::now();
    let answer = call(client, function, options).await;
    assert!(started.elapsed() < SHORT, "{function} took {:?}", started.elapsed());
    assert!(answer.to_string().len() < 100_000, "{function} answered with {} bytes", answer.to_string().len());
    answer
}

/// Repairs until nothing is left to repair.
async fn repair(lane: &Lane, tenant: &Tenant) {
    for _ in 0..20 {
        let answer = soon(&lane.client, "repair_tenant_schema", &tenant.options(&json!({}))).await;
        if answer["status"] == "unchanged" {
            return;
        }
        assert_eq!(answer["status"], "success", "{answer}");
    }
    panic!("repairing has no end");
}

/// A tenant whose owner gives everything to `count` roles is repaired, suspended, opened, dropped.
async fn rights_for_everybody(count: i32) {
    with_world(move |world: World| async move {
        let (tenant, other) = (world.tenant("sly").await, world.tenant("other").await);
        let lane = Lane::claim(world.session().await).await;
        lane.survey(true).await;
        let names = strangers(&world, count).await;
        let give = format!(
            "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {names} WITH GRANT OPTION; ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO {names};
             ALTER DEFAULT PRIVILEGES GRANT ALL ON ROUTINES TO PUBLIC, {names}; ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO {names};
             ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM {0}; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {0} WITH GRANT OPTION;
             GRANT ALL ON SCHEMA sly TO {names} WITH GRANT OPTION",
            tenant.owner
        );
        let defaults = format!(
            "SELECT string_agg(defaclobjtype::text || defaclacl::text, ' ' ORDER BY defaclobjtype) FROM pg_default_acl WHERE defaclrole = '{}'::regrole",
            tenant.owner
        );
        let (acl, before) = (world.database.acl("sly").await, world.text(&defaults).await);

        world.as_owner(&tenant, &give).await;
        world.as_owner(&other, "CREATE TABLE other.t AS SELECT 1 AS id").await;
        let started = Instant::now();
        let survey = lane.survey(false).await;
        assert!(started.elapsed() < SHORT, "a survey took {:?}", started.elapsed());
        assert!(survey.to_string().len() < 100_000);
        assert_eq!(surveyed(&survey, &other).unwrap()["table_count"], 1, "the others are looked after");
        assert!(surveyed(&survey, &tenant).unwrap()["drift"].as_array().unwrap().len() >= 5);
        repair(&lane, &tenant).await;
        assert_eq!((world.database.acl("sly").await, world.text(&defaults).await), (acl, before), "all is as it was made");
        assert_eq!(surveyed(&lane.survey(true).await, &tenant).unwrap()["drift"], json!([]));

        // Suspended, its own roles and PUBLIC are out at once, and the strangers in turns.
        world.as_owner(&tenant, &give).await;
        soon(&lane.client, "set_tenant_access", &tenant.options(&json!({ "access": "Suspended" }))).await;
        let may = format!("SELECT has_schema_privilege('{}', 'sly', 'USAGE')", tenant.writer);
        assert_eq!(world.text(&may).await, "false");
        repair(&lane, &tenant).await;
        let left = "SELECT count(*) FROM pg_namespace AS n, aclexplode(n.nspacl) AS a WHERE nspname = 'sly' AND a.grantee <> n.nspowner";
        assert_eq!(world.text(left).await, "0");
        let started = Instant::now();
        expect(&set_access(&lane.client, &tenant, "ReadWrite").await, "success");
        assert!(started.elapsed() < SHORT, "opening took {:?}", started.elapsed());
        assert_eq!(world.text(&may).await, "true");

        // Dropped, in as many calls as it takes.
        world.as_owner(&tenant, &give).await;
        let mut answer = json!({ "status": "busy" });
        for _ in 0..20 {
            answer = soon(&lane.client, "set_aside_tenant_schema", &tenant.options(&json!({}))).await;
            if answer["status"] != "busy" {
                break;
            }
        }
        expect(&answer, "success");
        let longest = "SELECT max(octet_length(o::text)) < 100000 FROM edu_matrix_hub_schema.schema_operations AS o";
        assert_eq!(world.text(longest).await, "true", "no row of the log is long");
        remove_strangers(&world, &names).await;
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_for_every_role_are_taken_back_in_short_calls() {
    rights_for_everybody(1200).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make test-long"]
async fn rights_for_five_thousand_roles_are_taken_back_in_short_calls() {
    rights_for_everybody(5000).await;
}
