//! How late a quota blocks: a measurement, for `docs/performance.md`. It asserts no time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::world::World;

/// How many tenants, by `LATE_TENANTS`.
fn tenants() -> usize {
    std::env::var("LATE_TENANTS").map_or(200, |count| count.parse().unwrap())
}

/// Adds pages of 8 KiB to a tenant's table.
fn grow(tenant: usize, pages: usize) -> String {
    format!("INSERT INTO t{tenant}.filler SELECT repeat('x', 7900) FROM generate_series(1, {pages})")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: a measurement of five minutes"]
async fn how_late_a_block_comes() {
    let world = Arc::new(World::new(json!({})).await);
    let tenants = tenants();
    let period = Patch::Merge(json!({ "spec": { "surveyPeriodSeconds": 60 } }));
    for tenant in 0..tenants {
        let quota = json!({ "limit": "1Mi", "enforcement": "Block" });
        world.apply_tenant(&format!("t{tenant}"), json!({ "schemaName": format!("t{tenant}"), "quota": quota })).await;
    }
    for tenant in 0..tenants {
        world.ready_tenant(&format!("t{tenant}")).await;
    }
    world.sql("CREATE TABLE public.crossed (schema_name text, is_watched boolean, at timestamptz)");
    for tenant in 0..tenants {
        let table = "(body text); ALTER TABLE filler ALTER body SET STORAGE PLAIN";
        let schema = format!("t{tenant}");
        world.sql_as(&schema, "owner", &format!("SET search_path = {schema}; CREATE TABLE filler {table}"));
        // Half of them are close to their limit before, and measured by themselves.
        world.sql(&grow(tenant, if tenant % 2 == 0 { 118 } else { 10 }));
    }
    world.databases().patch(&world.database_ref(), &PatchParams::default(), &period).await.unwrap();
    tokio::time::sleep(Duration::from_secs(75)).await;

    // Beside them everybody writes who has room.
    let ends = Arc::new(AtomicBool::new(false));
    let load = {
        let (world, ends) = (world.clone(), ends.clone());
        std::thread::spawn(move || {
            for tenant in (1..tenants).step_by(2).cycle() {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                world.sql(&format!("UPDATE t{tenant}.filler SET body = body WHERE ctid = '(0,1)'"));
            }
        })
    };
    for tenant in 0..tenants {
        let watched = tenant % 2 == 0;
        world.sql(&grow(tenant, if watched { 15 } else { 150 }));
        world.sql(&format!("INSERT INTO public.crossed VALUES ('t{tenant}', {watched}, clock_timestamp())"));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let blocked = "SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas WHERE access = 'WriteBlocked'";
    for _ in 0..40 {
        if world.sql(blocked) == tenants.to_string() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    ends.store(true, Ordering::Relaxed);
    load.join().unwrap();
    let late = world.sql(
        "SELECT c.is_watched, count(*), percentile_cont(ARRAY[0.5, 0.9, 1]) WITHIN GROUP (ORDER BY extract(epoch FROM
                    o.completed_at - c.at)), max(o.duration_ms)
         FROM public.crossed AS c
         JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.schema_name = c.schema_name
         JOIN edu_matrix_hub_schema.schema_operations AS o ON o.schema_id = t.id AND o.type = 'set_tenant_access'
         GROUP BY c.is_watched ORDER BY 1",
    );
    println!("watched | blocked | seconds late: median, nine in ten, highest | the longest call in ms\n{late}");
    Arc::into_inner(world).unwrap().clean_up().await;
}
