//! A database whose cluster is lost is taken over by another one, when that is told which one, and never by accident.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::backup_world::{Worker, World, id, observe, with_world};
use crate::grants::{give, grant, may, school_and_reporting};
use crate::support::{call, expect, owner};

/// The claimant: a cluster and a TenantDatabase.
fn identity(cluster: &str, tenant_database: &str) -> Value {
    json!({ "cluster": cluster, "tenant_database": tenant_database, "holder": "a test" })
}

/// The same, taking over what another cluster managed.
fn taking_over(cluster: &str, former: &str) -> Value {
    let mut claim = identity(cluster, "default");
    claim["take_over"] = json!(former);
    claim
}

/// The TenantSchema of that name in the second cluster.
fn moved(name: &str) -> Value {
    let mut object = owner(name);
    object["cluster"] = json!("cluster-2");
    object["uid"] = json!(format!("uid-{name}-2"));
    object
}

/// Everything that a claim could change.
async fn image(world: &World) -> String {
    world
        .text(
            "SELECT jsonb_build_array((SELECT to_jsonb(i) FROM edu_matrix_hub_schema.installation AS i),
                                      (SELECT jsonb_agg(to_jsonb(t) ORDER BY t.id) FROM edu_matrix_hub_schema.tenant_schemas AS t))",
        )
        .await
}

async fn rows(world: &World) -> String {
    world
        .text(
            "SELECT string_agg(concat_ws(' ', schema_name, owner_cluster, status, CASE WHEN taken_over THEN 'taken over' END), ', ' ORDER BY schema_name)
             FROM edu_matrix_hub_schema.tenant_schemas",
        )
        .await
}

async fn log(world: &World) -> String {
    world.text("SELECT string_agg(metadata::text, ' ') FROM edu_matrix_hub_schema.schema_operations WHERE type = 'take_over'").await
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_of_a_lost_cluster_wait_for_their_objects_in_the_new_one() {
    with_world(|world: World| async move {
        let lost = Worker::claim(world.session().await).await;
        let school = world.database.tenant("school").await;
        let left = world.database.tenant("left").await;
        let gone = world.database.tenant("gone").await;
        world.tenant("hand").await;
        world.as_owner(&gone, "CREATE TABLE gone.t AS SELECT 7 AS a").await;
        let snapshot = lost.request(&school, "nightly").await;
        expect(&snapshot, "success");
        expect(&lost.step("set_aside_tenant_schema", &gone.options(&json!({ "owner_uid": "uid-gone" }))).await, "success");
        expect(&lost.step("release_tenants", &json!({ "owner_uids": ["uid-left"] })).await, "success");
        lost.survey().await;

        let client = world.session().await;
        let refused = call(&client, "claim_lane", &identity("cluster-2", "default")).await;
        assert_eq!(expect(&refused, "error"), "managed_elsewhere");
        let managed_by = json!({ "cluster": "cluster-1", "tenant_database": "default", "tenant_count": 2 });
        assert_eq!(refused["detail"]["managed_by"], managed_by);

        let claim = call(&client, "claim_lane", &taking_over("cluster-2", "cluster-1")).await;
        expect(&claim, "success");
        assert_eq!(claim["detail"]["managed_by"], json!({ "cluster": "cluster-2", "tenant_database": "default" }));
        let expected = "gone cluster-2 dropped, hand active, left cluster-2 released taken over, school cluster-2 active taken over";
        assert_eq!(rows(&world).await, expected);
        let once = log(&world).await;
        let entry: Value = serde_json::from_str(&once).unwrap();
        assert_eq!(entry["taken_over"], json!({ "cluster": "cluster-1", "tenants": 2, "dropped": 1, "backups": 1 }));
        assert_eq!(entry["managed_by"], json!({ "cluster": "cluster-1", "tenant_database": "default" }));

        // Every call of an operator that still runs in the lost cluster is refused.
        assert_eq!(expect(&lost.step("release_tenants", &json!({ "owner_uids": ["uid-school"] })).await, "error"), "stale_epoch");
        assert_eq!(expect(&call(&lost.client, "claim_lane", &identity("cluster-1", "default")).await, "error"), "managed_elsewhere");

        // Claimed again, with the same words, nothing happens to them.
        expect(&call(&client, "claim_lane", &taking_over("cluster-2", "cluster-1")).await, "success");
        assert_eq!((rows(&world).await, log(&world).await), (expected.to_owned(), once.clone()));
        let epoch = call(&client, "claim_lane", &identity("cluster-2", "default")).await;
        let worker = Worker { epoch: epoch["detail"]["epoch"].as_i64().unwrap(), installation: id(&epoch["detail"]["installation_id"]), client };

        let survey = worker.survey().await;
        let waiting = survey["tenants"].as_array().unwrap().iter().filter(|row| row["taken_over"] == json!(true)).count();
        assert_eq!((waiting, survey["tenants"].as_array().unwrap().len()), (2, 2), "{survey}");
        expect(&worker.step("release_tenants", &json!({ "owner_uids": ["uid-school"] })).await, "unchanged");
        let seen = observe(&worker.client, &moved("school"), "school").await;
        assert_eq!((&seen["own"], &seen["name_holder"]["taken_over"]), (&json!(null), &json!(true)));
        let mut unchanged = owner("school");
        unchanged["cluster"] = json!("cluster-2");
        assert_eq!(observe(&worker.client, &unchanged, "school").await["own"]["taken_over"], true, "restored with its uid");

        // Their objects, made again, have them again; what was set aside too, and the SchemaBackup finds its backup.
        let reclaim = school.options(&json!({ "owner": moved("school") }));
        expect(&worker.step("reclaim_tenant_schema", &reclaim).await, "success");
        expect(&worker.step("set_aside_tenant_schema", &left.options(&json!({ "owner_uid": "uid-left" }))).await, "success");
        for name in ["gone", "left"] {
            let backup = observe(&worker.client, &moved(name), name).await["set_aside"]["backup_id"].clone();
            let restore = json!({ "backup_id": backup, "owner": moved(name) });
            expect(&worker.step("restore_tenant_schema", &restore).await, "success");
        }
        assert_eq!(world.text("SELECT a FROM gone.t").await, "7");
        let by = "SELECT string_agg(DISTINCT owner_uid, ', ' ORDER BY owner_uid) FROM edu_matrix_hub_schema.schema_operations WHERE schema_id";
        assert_eq!(world.text(&format!("{by} = '{}'", school.id)).await, "uid-school, uid-school-2", "who it was of then");
        assert_eq!(rows(&world).await, "gone cluster-2 active, hand active, left cluster-2 active, school cluster-2 active");
        let request = json!({ "cluster": "cluster-2", "namespace": "team-a", "name": "nightly", "uid": "made again", "tenant_uid": "uid-school-2",
                              "backup_id": snapshot["detail"]["backup_id"] });
        let found = call(&worker.client, "observe_backup", &request).await;
        assert_eq!(found["backup"]["backup_id"], snapshot["detail"]["backup_id"]);
        assert_eq!(found["tenant"]["schema_id"], json!(school.id));
        expect(&worker.step("release_tenants", &json!({ "owner_uids": ["uid-school-2"] })).await, "success");
        assert_eq!(log(&world).await, once);

        // A drill moves the database there and back. One whose object was there all the while, and is deleted, waits for none.
        expect(&call(&worker.client, "claim_lane", &taking_over("cluster-3", "cluster-2")).await, "success");
        expect(&call(&worker.client, "claim_lane", &taking_over("cluster-2", "cluster-3")).await, "success");
        let epoch = call(&worker.client, "claim_lane", &identity("cluster-2", "default")).await;
        let worker = Worker { epoch: epoch["detail"]["epoch"].as_i64().unwrap(), ..worker };
        let lost = json!({ "owner_uids": ["uid-left-2", "uid-gone-2"] });
        expect(&worker.step("release_tenants", &lost).await, "unchanged");
        let mut deleted = lost;
        deleted["deleted_uids"] = json!(["uid-left-2"]);
        expect(&worker.step("release_tenants", &deleted).await, "success");
        let expected = "gone cluster-2 active taken over, hand active, left cluster-2 released, school cluster-2 released taken over";
        assert_eq!(rows(&world).await, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_find_their_grantees_in_the_namespaces_of_the_new_cluster() {
    with_world(|world: World| async move {
        let lost = Worker::claim(world.session().await).await;
        let (school, reporting) = school_and_reporting(&world.database).await;
        let namespace = "UPDATE edu_matrix_hub_schema.tenant_schemas SET owner_namespace_uid = 'lost'";
        world.database.admin.batch_execute(namespace).await.unwrap();
        expect(&give(&world.database, &school, json!([grant("reporting", &["Read"])])).await, "success");
        lost.survey().await;

        let client = world.session().await;
        let claimed = call(&client, "claim_lane", &taking_over("cluster-2", "cluster-1")).await;
        let worker = Worker {
            epoch: claimed["detail"]["epoch"].as_i64().unwrap(),
            installation: id(&claimed["detail"]["installation_id"]),
            client,
        };
        for tenant in [&school, &reporting] {
            let mut object = moved(&tenant.schema);
            object["namespace_uid"] = json!("new");
            expect(
                &worker.step("reclaim_tenant_schema", &tenant.options(&json!({ "owner": object }))).await,
                "success",
            );
        }
        let same = school.options(&json!({ "grants": [grant("reporting", &["Read"])] }));
        worker.step("set_tenant_grants", &same).await;
        expect(&worker.step("repair_tenant_schema", &school.options(&json!({}))).await, "unchanged");
        assert!(may(&world.database, &reporting.reader, "SELECT * FROM school.pupils").await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_database_of_the_cluster_takes_over_without_a_mark() {
    with_world(|world: World| async move {
        Worker::claim(world.session().await).await;
        world.database.tenant("school").await;
        let client = world.session().await;
        let mut claim = identity("cluster-1", "second");
        assert_eq!(expect(&call(&client, "claim_lane", &claim).await, "error"), "managed_elsewhere");
        claim["take_over"] = json!("cluster-1");
        expect(&call(&client, "claim_lane", &claim).await, "success");
        expect(&call(&client, "claim_lane", &claim).await, "success");
        assert_eq!(rows(&world).await, "school cluster-1 active");
        assert_eq!(
            log(&world).await,
            r#"{"managed_by": {"cluster": "cluster-1", "tenant_database": "default"}, "taken_over": null}"#
        );
        assert_eq!(
            expect(&call(&client, "claim_lane", &identity("cluster-1", "default")).await, "error"),
            "managed_elsewhere"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_over_by_accident() {
    with_world(|world: World| async move {
        Worker::claim(world.session().await).await;
        world.database.tenant("school").await;
        let client = world.session().await;
        let before = image(&world).await;
        for wrong in ["cluster-3", "cluster-2", "default", ""] {
            assert_eq!(
                expect(&call(&client, "claim_lane", &taking_over("cluster-2", wrong)).await, "error"),
                "managed_elsewhere",
                "{wrong}"
            );
        }
        let mut elsewhere = taking_over("cluster-2", "cluster-1");
        elsewhere["expected_installation_id"] = json!(Uuid::new_v4());
        assert_eq!(expect(&call(&client, "claim_lane", &elsewhere).await, "error"), "wrong_installation");
        // A session is at work on a tenant: all of it is undone.
        let holder = world.superuser().await;
        holder.batch_execute("BEGIN; SELECT FROM edu_matrix_hub_schema.tenant_schemas FOR UPDATE").await.unwrap();
        client.batch_execute("SET lock_timeout = '100ms'").await.unwrap();
        expect(&call(&client, "claim_lane", &taking_over("cluster-2", "cluster-1")).await, "busy");
        holder.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(image(&world).await, before);
        assert_eq!(log(&world).await, "");
        // Its own holder may say what it likes.
        for any in ["cluster-3", "cluster-1", ""] {
            expect(&call(&client, "claim_lane", &taking_over("cluster-1", any)).await, "success");
        }
        assert_eq!((rows(&world).await, log(&world).await), ("school cluster-1 active".to_owned(), String::new()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_of_a_cluster_that_gave_the_database_back_can_be_taken_over_too() {
    with_world(|world: World| async move {
        let first = Worker::claim(world.session().await).await;
        world.database.tenant("school").await;
        let sql = "SELECT edu_matrix_hub_schema.release_lane($1, $2)";
        let released: Value = first.client.query_one(sql, &[&first.epoch, &first.installation]).await.unwrap().get(0);
        expect(&released, "success");
        let client = world.session().await;
        expect(&call(&client, "claim_lane", &identity("cluster-2", "default")).await, "success");
        assert_eq!(rows(&world).await, "school cluster-1 active");
        expect(&call(&client, "claim_lane", &taking_over("cluster-2", "cluster-1")).await, "success");
        assert_eq!(rows(&world).await, "school cluster-2 active taken over");
        assert!(log(&world).await.contains(r#""tenants": 1"#));
    })
    .await;
}
