//! A SchemaBackup that is applied again finds what its former self made, and makes nothing twice.

use serde_json::{Value, json};

use crate::backup_world::{Worker, World, with_world};
use crate::support::{Tenant, call, expect};

/// The SchemaBackup of that name, asking about a tenant.
fn request(name: &str, uid: &str, tenant: &Tenant) -> Value {
    json!({ "cluster": "cluster-1", "namespace": "team-a", "name": name, "uid": uid, "method": "Snapshot",
            "tenant_uid": format!("uid-{}", tenant.schema) })
}

async fn made(worker: &Worker, tenant: &Tenant, name: &str) -> Value {
    let asked = worker.request(tenant, name).await;
    expect(&asked, "success");
    let job = worker.next_job().await;
    while worker.run(job).await["status"] == "partial" {}
    asked["detail"]["backup_id"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_found_by_its_names_for_the_same_tenant_alone() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let school = world.database.tenant("school").await;
        let other = world.database.tenant("other").await;
        let backup = made(&worker, &school, "before-exams").await;
        let found = async |request: Value| {
            call(&worker.client, "observe_backup", &request).await["backup"]["backup_id"].clone()
        };
        let again = request("before-exams", "uid-again", &school);
        assert_eq!(found(again.clone()).await, backup);
        assert_eq!(found(request("before-exams", "uid-again", &other)).await, json!(null), "of another tenant");
        for key in ["cluster", "namespace", "name", "method"] {
            let mut differing = again.clone();
            differing[key] = json!("another");
            assert_eq!(found(differing).await, json!(null), "{key}");
        }
        let mut removal = again.clone();
        removal.as_object_mut().unwrap().remove("method");
        assert_eq!(found(removal).await, json!(null), "who asks for nothing to be made is not shown it");
        for (change, kept) in [
            ("state = 'failed'", false),
            ("state = 'cancelled'", false),
            ("state = 'purged', purged_at = now(), expires_at = NULL", false),
            ("state = 'purged', purged_at = now(), expires_at = now() + interval '1 day'", false),
            ("state = 'purged', purged_at = now(), expires_at = now() - interval '1 day'", true),
            ("state = 'complete'", true),
        ] {
            world.run(&format!("UPDATE edu_matrix_hub_schema.schema_backups SET {change}")).await;
            assert_eq!(found(again.clone()).await == backup, kept, "{change}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_belongs_to_the_new_object_then_and_to_no_object_of_another_name() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let school = world.database.tenant("school").await;
        let backup = made(&worker, &school, "before-exams").await;
        let adopt = |name: &str, uid: Value| {
            let object = json!({ "cluster": "cluster-1", "namespace": "team-a", "name": name, "uid": uid });
            json!({ "backup_id": backup, "object": object, "requested_by": "a test" })
        };
        for options in [adopt("another", json!("uid-again")), adopt("before-exams", json!(null))] {
            assert_eq!(expect(&worker.step("adopt_backup", &options).await, "error"), "not_owner");
        }
        expect(&worker.step("adopt_backup", &adopt("before-exams", json!("uid-again"))).await, "success");
        expect(&worker.step("adopt_backup", &adopt("before-exams", json!("uid-again"))).await, "unchanged");
        let rows = "SELECT string_agg(object_uid || ' ' || state, ', ') FROM edu_matrix_hub_schema.schema_backups";
        assert_eq!(world.text(rows).await, "uid-again complete");
        let seen = call(&worker.client, "observe_backup", &request("before-exams", "uid-again", &school)).await;
        assert_eq!(seen["backup"]["object"]["uid"], "uid-again");
    })
    .await;
}
