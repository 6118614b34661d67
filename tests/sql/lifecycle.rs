//! What a TenantSchema leaves behind is kept for it, and for no other: released, reclaimed, restored.

use serde_json::{Value, json};

use crate::backup_world::{Worker, World, front, id, observe, remade, succeed, with_world};
use crate::support::{Tenant, call, expect, owner, tenant_options};

/// Another TenantSchema, which differs in one thing from the one of that name.
fn differing(name: &str, key: &str) -> Value {
    let mut object = remade(name);
    object[key] = json!("another");
    object
}

async fn set_aside(worker: &Worker, tenant: &Tenant, more: &Value) -> Value {
    let mut options = tenant.options(&json!({ "owner_uid": format!("uid-{}", tenant.schema) }));
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = worker.step("set_aside_tenant_schema", &options).await;
    expect(&answer, "success");
    answer["detail"]["backup_id"].clone()
}

async fn restore(worker: &Worker, backup: &Value, owner: &Value) -> Value {
    let options = json!({ "backup_id": backup, "owner": owner, "requested_by": "a test" });
    worker.step("restore_tenant_schema", &options).await
}

async fn reclaim(worker: &Worker, tenant: &Tenant, owner: &Value) -> Value {
    worker.step("reclaim_tenant_schema", &tenant.options(&json!({ "owner": owner }))).await
}

async fn release(worker: &Worker, uids: &[&str]) -> Value {
    worker.step("release_tenants", &json!({ "owner_uids": uids, "requested_by": "a test" })).await
}

/// Status, owner and what the survey reported, of a tenant's row.
async fn row(world: &World, tenant: &Tenant) -> String {
    let sql = format!(
        "SELECT concat_ws(' ', status, access, owner_uid, CASE WHEN taken_over THEN 'taken over' END)
         FROM edu_matrix_hub_schema.tenant_schemas WHERE id = '{}'",
        tenant.id
    );
    world.text(&sql).await
}

async fn logged(world: &World, kind: &str) -> String {
    let sql = format!(
        "SELECT string_agg(concat_ws(' ', t.schema_name, o.status, o.requested_by), ', ' ORDER BY t.schema_name, o.id)
         FROM edu_matrix_hub_schema.schema_operations AS o JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = o.schema_id
         WHERE o.type = '{kind}'"
    );
    world.text(&sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_aside_is_shown_to_who_asks_for_its_name_or_institution() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let institution = world.database.institution().await;
        let mut options = tenant_options("school");
        options["institution_id"] = json!(institution);
        let created = worker.step("create_tenant_schema", &options).await;
        let tenant = world.database.tenant_of(&created).await;
        world.as_owner(&tenant, "CREATE TABLE school.t AS SELECT 1 AS a").await;
        let mut again = remade("school");
        again["institution_id"] = json!(institution);
        assert_eq!(observe(&worker.client, &again, "school").await["set_aside"], json!(null), "the tenant lives");
        let backup = set_aside(&worker, &tenant, &json!({})).await;

        let seen = observe(&worker.client, &again, "school").await;
        assert_eq!(seen["own"], json!(null));
        let row = world.newest_backup().await;
        let expected = json!({ "backup_id": backup, "schema_id": tenant.id, "location": row["location"], "size_bytes": row["size_bytes"],
                               "table_count": 1, "dropped_at": seen["set_aside"]["dropped_at"], "state": "complete",
                               "holder": seen["set_aside"]["holder"] });
        assert_eq!(seen["set_aside"], expected);
        assert!(seen["set_aside"]["dropped_at"].is_string());
        for key in ["cluster", "namespace", "name"] {
            let mut other = again.clone();
            other[key] = json!("another");
            assert_eq!(observe(&worker.client, &other, "school").await["set_aside"], expected, "{key}");
        }
        for key in ["cluster", "namespace", "name", "uid"] {
            assert_eq!(seen["set_aside"]["holder"][key], owner("school")[key], "whose it was");
        }
        assert_eq!(observe(&worker.client, &remade("school"), "school").await["set_aside"], expected, "no institution");
        assert_eq!(observe(&worker.client, &again, "school2").await["set_aside"], expected, "another schema");
        assert_eq!(observe(&worker.client, &remade("school"), "school2").await["set_aside"], json!(null), "neither");

        // The newest is shown, and an earlier one when that is gone.
        options["owner"] = again.clone();
        options["beside"] = backup.clone();
        let second = worker.step("create_tenant_schema", &options).await;
        assert_eq!(observe(&worker.client, &again, "school").await["set_aside"], json!(null), "it has a tenant");
        let second = world.database.tenant_of(&second).await;
        let newer = worker.step("set_aside_tenant_schema", &second.options(&json!({ "owner_uid": again["uid"] }))).await;
        let offered = async || observe(&worker.client, &again, "school").await["set_aside"]["backup_id"].clone();
        assert_eq!(offered().await, newer["detail"]["backup_id"]);
        world.run(&format!("DROP SCHEMA {} CASCADE", newer["detail"]["location"].as_str().unwrap())).await;
        assert_eq!(offered().await, backup);
        for (state, kept) in [("purging", true), ("purged", false), ("failed", false), ("restored", false)] {
            world.run(&format!("UPDATE edu_matrix_hub_schema.schema_backups SET state = '{state}' WHERE id = '{}'", backup.as_str().unwrap())).await;
            assert_eq!(offered().await == backup, kept, "{state}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_comes_back_to_its_tenant_schema_as_it_was() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let mut options = tenant_options("school");
        options["quota_limit"] = json!(1_000_000);
        options["config"] = json!({ "theme": "blue" });
        let created = worker.step("create_tenant_schema", &options).await;
        let tenant = world.database.tenant_of(&created).await;
        world.as_owner(&tenant, "CREATE TABLE school.t AS SELECT 7 AS a").await;
        let suspend = tenant.options(&json!({ "access": "Suspended" }));
        expect(&worker.step("set_tenant_access", &suspend).await, "success");
        worker.survey().await;
        // Its removal is queued, and has not begun.
        let backup = set_aside(&worker, &tenant, &json!({ "purge": true, "expire_after_days": 1 })).await;
        worker.survey().await;

        for key in ["cluster", "namespace", "name"] {
            let refused = restore(&worker, &backup, &differing("school", key)).await;
            assert_eq!(expect(&refused, "error"), "not_owner", "{key}");
            assert_eq!(refused["detail"]["holder"]["uid"], "uid-school");
        }
        assert_eq!(expect(&restore(&worker, &backup, &json!({ "uid": "u" })).await, "error"), "internal");
        assert_eq!(row(&world, &tenant).await, "dropped Suspended uid-school");

        let restored = restore(&worker, &backup, &remade("school")).await;
        expect(&restored, "success");
        assert_eq!(
            (&restored["call"], &restored["detail"]["schema_id"]),
            (&json!("restore_tenant_schema"), &json!(tenant.id))
        );
        let again = restore(&worker, &backup, &remade("school")).await;
        expect(&again, "unchanged");
        assert_eq!(again["detail"]["schema_id"], json!(tenant.id));
        assert_eq!(row(&world, &tenant).await, "suspended Suspended uid-school-2");
        assert_eq!(
            world.text("SELECT string_agg(state, ' ') FROM edu_matrix_hub_schema.schema_jobs").await,
            "cancelled"
        );
        assert_eq!(
            world.text("SELECT expires_at FROM edu_matrix_hub_schema.schema_backups").await,
            "",
            "it expires no more"
        );

        let survey = worker.survey().await;
        let reported = &survey["tenants"][0];
        let mut owner = remade("school");
        owner["namespace_uid"] = json!(null);
        for (key, value) in [
            ("quota_limit", json!(1_000_000)),
            ("config", json!({ "theme": "blue" })),
            ("owner", owner),
            ("status", json!("suspended")),
            ("schema_exists", json!(true)),
            ("drift", json!([])),
            ("table_count", json!(1)),
            ("usage_stale", json!(false)),
        ] {
            assert_eq!(reported[key], value, "{key}");
        }
        assert_eq!(worker.survey().await["tenants"], json!([]), "nothing happened since");
        expect(&worker.step("set_tenant_access", &tenant.options(&json!({ "access": "ReadWrite" }))).await, "success");
        assert_eq!(worker.survey().await["tenants"][0]["drift"], json!([]));
        assert_eq!(world.text("SELECT a FROM school.t").await, "7");
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_meanwhile_stays_with_whom_has_it() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.database.tenant("school").await;
        let backup = set_aside(&worker, &tenant, &json!({})).await;
        let mut options = tenant_options("school");
        options["owner"] = differing("school", "namespace");
        options["beside"] = backup.clone();
        let other = worker.step("create_tenant_schema", &options).await;
        expect(&other, "success");
        let refused = restore(&worker, &backup, &remade("school")).await;
        assert_eq!(expect(&refused, "error"), "name_taken");
        assert_eq!(refused["detail"]["holder"]["namespace"], "another");

        // Nor does a TenantSchema get a second schema.
        let other = world.database.tenant_of(&other).await;
        expect(
            &worker.step("set_aside_tenant_schema", &other.options(&json!({ "owner_uid": "uid-school-2" }))).await,
            "success",
        );
        let mut options = tenant_options("second");
        options["owner"] = remade("school");
        expect(&worker.step("create_tenant_schema", &options).await, "success");
        let refused = restore(&worker, &backup, &remade("school")).await;
        assert_eq!(expect(&refused, "error"), "name_taken");
        assert_eq!(refused["detail"]["holder"]["schema_name"], "second");
        assert_eq!(row(&world, &tenant).await, "dropped ReadWrite uid-school");

        // What was made by hand was no object's, and the first object that names it may have it.
        let by_hand = world.tenant("hand").await;
        succeed(&worker.client, "drop_institution_schema", by_hand.id).await;
        expect(&restore(&worker, &world.newest_backup().await["id"], &remade("hand")).await, "success");
        assert_eq!(row(&world, &by_hand).await, "active ReadWrite uid-hand-2");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_living_tenant_is_reclaimed_by_its_own_object_alone() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.database.tenant("school").await;
        worker.survey().await;
        for key in ["cluster", "namespace", "name"] {
            let refused = reclaim(&worker, &tenant, &differing("school", key)).await;
            assert_eq!(expect(&refused, "error"), "not_owner", "{key}");
            assert_eq!(refused["detail"]["holder"]["name"], "school");
        }
        assert_eq!(expect(&reclaim(&worker, &tenant, &json!({})).await, "error"), "internal");
        expect(&reclaim(&worker, &tenant, &owner("school")).await, "unchanged");
        expect(&reclaim(&worker, &tenant, &remade("school")).await, "success");
        expect(&reclaim(&worker, &tenant, &remade("school")).await, "unchanged");
        assert_eq!(row(&world, &tenant).await, "active ReadWrite uid-school-2");
        assert_eq!(worker.survey().await["tenants"][0]["owner"]["uid"], "uid-school-2");
        assert_eq!(logged(&world, "reclaim_tenant_schema").await.matches("school success a test").count(), 1);

        // Released while suspended, with the same object and with its schema gone.
        expect(&worker.step("set_tenant_access", &tenant.options(&json!({ "access": "Suspended" }))).await, "success");
        expect(&release(&worker, &["uid-school-2"]).await, "success");
        world.run("DROP SCHEMA school CASCADE").await;
        expect(&reclaim(&worker, &tenant, &remade("school")).await, "success");
        assert_eq!(row(&world, &tenant).await, "suspended Suspended uid-school-2");
        let seen = observe(&worker.client, &remade("school"), "school").await;
        assert_eq!((&seen["own"]["status"], &seen["own"]["schema_exists"]), (&json!("suspended"), &json!(false)));

        // One that has a schema gets no second one; no object can have what is dropped or made by hand.
        let mut options = tenant_options("second");
        options["owner"]["name"] = json!("school");
        let second = worker.step("create_tenant_schema", &options).await;
        let second = world.database.tenant_of(&second).await;
        let refused = reclaim(&worker, &second, &remade("school")).await;
        assert_eq!(expect(&refused, "error"), "name_taken");
        assert_eq!(refused["detail"]["holder"]["schema_id"], json!(tenant.id));
        let by_hand = world.tenant("hand").await;
        assert_eq!(expect(&reclaim(&worker, &by_hand, &remade("hand")).await, "error"), "not_owner");
        expect(
            &worker.step("set_aside_tenant_schema", &second.options(&json!({ "owner_uid": "uid-second" }))).await,
            "success",
        );
        assert_eq!(expect(&reclaim(&worker, &second, &owner("school")).await, "error"), "not_found");
        world
            .run("UPDATE edu_matrix_hub_schema.tenant_schemas SET status = 'dropping' WHERE schema_name = 'school'")
            .await;
        expect(&reclaim(&worker, &tenant, &remade("school")).await, "busy");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tenants_of_this_cluster_that_live_are_released() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let mut tenants = Vec::new();
        for name in ["active", "suspended", "elsewhere", "taken", "dropped", "kept"] {
            tenants.push(world.database.tenant(name).await);
        }
        let by_hand = world.tenant("hand").await;
        expect(&worker.step("set_tenant_access", &tenants[1].options(&json!({ "access": "Suspended" }))).await, "success");
        set_aside(&worker, &tenants[4], &json!({})).await;
        world
            .run(
                "UPDATE edu_matrix_hub_schema.tenant_schemas SET owner_cluster = 'cluster-2' WHERE schema_name = 'elsewhere';
                 UPDATE edu_matrix_hub_schema.tenant_schemas SET taken_over = true WHERE schema_name = 'taken'",
            )
            .await;
        worker.survey().await;
        let uids = ["uid-active", "uid-suspended", "uid-elsewhere", "uid-taken", "uid-dropped", "uid-unknown"];

        // A session is at work on one of them: none is released, and the next attempt does it.
        let holder = world.superuser().await;
        holder.batch_execute("BEGIN; SELECT FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'suspended' FOR UPDATE").await.unwrap();
        expect(&release(&worker, &uids).await, "busy");
        assert_eq!(row(&world, &tenants[0]).await, "active ReadWrite uid-active");
        holder.batch_execute("ROLLBACK").await.unwrap();

        let answer = release(&worker, &uids).await;
        expect(&answer, "success");
        let mut released: Vec<_> = answer["detail"]["released"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        released.sort_unstable();
        assert_eq!(released, ["active", "suspended"]);
        for (tenant, expected) in tenants.iter().zip([
            "released ReadWrite uid-active",
            "released Suspended uid-suspended",
            "active ReadWrite uid-elsewhere",
            "active ReadWrite uid-taken taken over",
            "dropped ReadWrite uid-dropped",
            "active ReadWrite uid-kept",
        ]) {
            assert_eq!(row(&world, tenant).await, expected);
        }
        assert_eq!(row(&world, &by_hand).await, "active ReadWrite");
        assert_eq!(logged(&world, "release_tenants").await, "active success a test, suspended success a test");
        let again = release(&worker, &uids).await;
        expect(&again, "unchanged");
        assert_eq!(again["detail"]["released"], json!([]));
        expect(&release(&worker, &[]).await, "unchanged");
        let survey = worker.survey().await;
        assert!(survey["tenants"].as_array().unwrap().iter().all(|tenant| tenant["status"] == "released"), "{survey}");
        assert_eq!(survey["tenants"].as_array().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_tenant_is_measured_left_alone_and_free_to_go() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.database.tenant("school").await;
        let other = world.database.tenant("other").await;
        worker.survey().await;
        expect(&release(&worker, &["uid-school", "uid-other"]).await, "success");
        let seen = observe(&worker.client, &owner("school"), "school").await;
        assert_eq!((&seen["own"]["status"], &seen["own"]["drift"]), (&json!("released"), &json!([])));
        let claim = &observe(&worker.client, &remade("school"), "school").await["name_holder"];
        assert_eq!((&claim["status"], &claim["taken_over"], &claim["uid"]), (&json!("released"), &json!(false), &json!("uid-school")));

        world.as_owner(&tenant, "CREATE TABLE school.t AS SELECT g FROM generate_series(1, 5000) AS g; GRANT USAGE ON SCHEMA school TO PUBLIC").await;
        let survey = worker.survey().await;
        let reported = survey["tenants"].as_array().unwrap().iter().find(|row| row["schema_name"] == "school").unwrap();
        assert_eq!((&reported["table_count"], &reported["drift"]), (&json!(1), &json!([])));
        assert!(reported["storage_bytes"].as_i64().unwrap() > 100_000, "{reported}");
        expect(&worker.step("repair_tenant_schema", &tenant.options(&json!({}))).await, "unchanged");
        assert!(world.database.acl("school").await.contains("{=U/") || world.database.acl("school").await.contains(",=U/"));

        // Reclaimed, it is put right again.
        expect(&reclaim(&worker, &tenant, &remade("school")).await, "success");
        assert!(worker.survey().await["tenants"][0]["drift"][0]["what"].as_str().unwrap().contains("PUBLIC"));
        expect(&worker.step("repair_tenant_schema", &tenant.options(&json!({}))).await, "success");

        expect(&release(&worker, &["uid-school-2"]).await, "success");
        succeed(&worker.client, "backup_institution_schema", tenant.id).await;
        let (status, message) = front(&worker.client, "drop_institution_schema", tenant.id).await;
        assert_eq!(status, "success", "{message}");
        set_aside(&worker, &other, &json!({})).await;
        assert_eq!(row(&world, &other).await, "dropped ReadWrite uid-other");
        let backup = id(&observe(&worker.client, &remade("school"), "school").await["set_aside"]["backup_id"]);
        succeed(&worker.client, "restore_set_aside", backup).await;
        assert_eq!(row(&world, &tenant).await, "released ReadWrite uid-school-2");
        let answer = call(&worker.client, "reclaim_tenant_schema", &tenant.options(&json!({ "owner": owner("school") }))).await;
        expect(&answer, "success");
    })
    .await;
}
