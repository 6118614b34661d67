//! A namespace whose calls last long keeps no other one waiting.

use std::fmt::Write as _;

use kube::Api;
use serde_json::json;
use tenant_schema_operator::api::TenantSchema;

use crate::world::World;

const SLOW: [&str; 4] = ["elm", "fir", "oak", "yew"];

/// Repairs that ended without what they waited for, and calls of the operator's that wait for a lock now.
const ENDED: &str = "SELECT count(*) FROM edu_matrix_hub_schema.schema_operations WHERE type = 'repair_tenant_schema' AND status = 'busy'";
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename LIKE 'login_%' AND query LIKE '%apply_steps%' AND wait_event_type = 'Lock'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_whose_calls_last_long_leaves_a_place_to_others() {
    // With four connections two calls are done at a time.
    let world = World::new(json!({})).await;
    for name in SLOW {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
    }
    let (mut drift, mut hold) = (String::new(), String::from("BEGIN; "));
    for name in SLOW {
        world.ready_tenant(name).await;
        let role = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {}", world.tenant_role(name, "owner"));
        write!(drift, "{role} GRANT ALL ON TABLES TO PUBLIC; ").unwrap();
        write!(hold, "{role} GRANT TRUNCATE ON TABLES TO PUBLIC; {role} REVOKE INSERT ON TABLES FROM PUBLIC; ")
            .unwrap();
    }
    world.sql(&drift);
    let session = world.session(hold.trim_end_matches("; "));
    // The survey finds the drift. Each repair waits two seconds for the open transaction, and is tried again. After three it shows.
    world.eventually("four repairs have timed out", async || world.sql(ENDED).parse::<i32>().unwrap() >= 4).await;

    let others = format!("{}-others", world.namespace);
    world.make_namespace(&others, json!({})).await;
    let in_others = Api::<TenantSchema>::namespaced(world.client.clone(), &others);
    let (mut created, mut most) = (0, 0);
    world
        .eventually("six tenants of another namespace came while repairs waited", async || {
            let waiting: i32 = world.sql(WAITING).parse().unwrap();
            most = most.max(waiting);
            if waiting > 0 && created < 6 {
                let name = format!("quick-{created}");
                world.try_tenant_in(&others, &name, json!({ "schemaName": format!("quick_{created}") })).await.unwrap();
                world.until_ready(&in_others, &name, "True", "Succeeded").await;
                created += 1;
            }
            created == 6
        })
        .await;
    assert_eq!(most, 1, "of a slow namespace one call is under way");
    drop(session);
    for name in SLOW {
        world
            .eventually(&format!("{name} is repaired"), async || {
                world.sql(&format!(
                    "SELECT drift FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = '{name}'"
                )) == "[]"
            })
            .await;
        world.ready_tenant(name).await;
    }
    world.finish().await;
}
