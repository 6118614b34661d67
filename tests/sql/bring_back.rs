//! What deletions set aside since a time comes back, one call a tenant, and nothing that was set aside later.

use serde_json::{Value, json};

use crate::backup_world::{Worker, World, drop_by_hand, id, with_world};
use crate::support::{Tenant, expect, owner};

async fn set_aside(worker: &Worker, tenant: &Tenant, uid: &str) {
    expect(&worker.step("set_aside_tenant_schema", &tenant.options(&json!({ "owner_uid": uid }))).await, "success");
}

async fn bring_back(worker: &Worker, since: &str, skip: &[&Value]) -> Value {
    worker.step("bring_back", &json!({ "since": since, "skip": skip, "requested_by": "a test" })).await
}

async fn rows(world: &World) -> String {
    world
        .text(
            "SELECT string_agg(concat_ws(' ', schema_name, status, CASE WHEN taken_over THEN 'waits' END, owner_namespace_uid), ', ' ORDER BY schema_name)
             FROM edu_matrix_hub_schema.tenant_schemas",
        )
        .await
}

fn counts(answer: &Value) -> (i64, i64) {
    (answer["detail"]["done"].as_i64().unwrap(), answer["detail"]["left"].as_i64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_since_a_time_comes_back_and_nothing_later() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let before = world.database.tenant("before").await;
        let school = world.database.tenant("school").await;
        let taken = world.database.tenant("taken").await;
        let later = world.database.tenant("later").await;
        let hand = world.tenant("hand").await;
        world.as_owner(&school, "CREATE TABLE school.t AS SELECT 7 AS a").await;
        set_aside(&worker, &before, "uid-before").await;
        let since = world.text("SELECT clock_timestamp()").await;
        set_aside(&worker, &school, "uid-school").await;
        set_aside(&worker, &taken, "uid-taken").await;
        drop_by_hand(&world, &world.superuser().await, &hand).await;
        world.run("CREATE SCHEMA taken").await;

        // The first call with this time notes what it is about; what is set aside from then on stays.
        let noted = bring_back(&worker, &since, &[]).await;
        expect(&noted, "success");
        assert_eq!(noted["detail"], json!({ "noted": true }));
        set_aside(&worker, &later, "uid-later").await;

        let first = bring_back(&worker, &since, &[]).await;
        expect(&first, "success");
        assert_eq!((counts(&first), first["detail"]["schema_name"].as_str()), ((1, 2), Some("hand")), "{first}");
        let refused = bring_back(&worker, &since, &[]).await;
        assert_eq!(expect(&refused, "error"), "name_taken");
        assert_eq!(counts(&refused), (1, 2), "{refused}");
        let in_the_way = refused["detail"]["backup_id"].clone();
        let second = bring_back(&worker, &since, &[&in_the_way]).await;
        expect(&second, "success");
        assert_eq!(counts(&second), (2, 1), "{second}");
        let idle = bring_back(&worker, &since, &[&in_the_way]).await;
        expect(&idle, "unchanged");
        assert_eq!(counts(&idle), (2, 1), "{idle}");
        world.run("DROP SCHEMA taken").await;
        expect(&bring_back(&worker, &since, &[]).await, "success");
        assert_eq!(counts(&bring_back(&worker, &since, &[]).await), (3, 0));
        assert_eq!(
            rows(&world).await,
            "before dropped, hand active, later dropped, school released waits, taken released waits"
        );
        assert_eq!(world.text("SELECT a FROM school.t").await, "7");

        // The next object of the name has it, in any namespace of that name.
        let mut next = owner("school");
        next["uid"] = json!("uid-school-2");
        next["namespace_uid"] = json!("another");
        let reclaimed = worker.step("reclaim_tenant_schema", &json!({ "schema_id": school.id, "owner": next })).await;
        expect(&reclaimed, "success");
        assert!(rows(&world).await.contains("school active another"));

        // Deleted again it stays set aside, for as long as the same time is asked for.
        set_aside(&worker, &school, "uid-school-2").await;
        let again = bring_back(&worker, &since, &[]).await;
        expect(&again, "unchanged");
        assert_eq!(counts(&again), (3, 0));

        // Nor does another time that was written in between change that.
        let between = |n: i64| format!("2030-01-01T00:00:00.{n:06}Z");
        expect(&bring_back(&worker, &between(0), &[]).await, "success");
        expect(&bring_back(&worker, &since, &[]).await, "success");
        let again = bring_back(&worker, &since, &[]).await;
        expect(&again, "unchanged");
        assert_eq!(counts(&again), (3, 0));
        for n in 1..120 {
            expect(&bring_back(&worker, &between(n), &[]).await, "success");
        }
        let kept = "SELECT jsonb_array_length(bring_backs) FROM edu_matrix_hub_schema.installation";
        assert_eq!(world.text(kept).await, "100", "the list of them has an end");

        // Another time is another wish; of two that had one name the later has it.
        let next = json!({ "owner": next, "institution_id": Value::Null, "schema_name": "school", "config": {},
                           "beside": world.newest_backup().await["id"] });
        let successor = worker.step("create_tenant_schema", &next).await;
        expect(&successor, "success");
        let newer = world.database.tenant_of(&successor).await;
        set_aside(&worker, &newer, "uid-school-2").await;
        expect(&bring_back(&worker, "2020-01-01T00:00:00Z", &[]).await, "success");
        let latest = bring_back(&worker, "2020-01-01T00:00:00Z", &[]).await;
        expect(&latest, "success");
        assert_eq!(id(&latest["schema_id"]), newer.id);
        let older = bring_back(&worker, "2020-01-01T00:00:00Z", &[]).await;
        assert_eq!(expect(&older, "error"), "name_taken", "{older}");
        assert_eq!(id(&older["schema_id"]), school.id);
        world.assert_clean().await;
    })
    .await;
}
