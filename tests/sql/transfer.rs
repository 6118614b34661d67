//! A tenant goes to another TenantSchema when the owners of its database give it, and to no other.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::backup_world::{Worker, World, id, with_world};
use crate::support::{Tenant, expect};

/// The TenantSchema that gets the tenant.
fn new_owner(namespace: &str, name: &str) -> Value {
    json!({ "cluster": "cluster-1", "namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}") })
}

fn taking(tenant: &Tenant, to: &Value, from: &Value) -> Value {
    tenant.options(&json!({ "owner": to, "transfer": from }))
}

async fn owner_of(world: &World, tenant: &Tenant) -> String {
    let sql = "SELECT concat_ws(' ', status, owner_cluster, owner_namespace, owner_name, owner_uid) FROM edu_matrix_hub_schema.tenant_schemas";
    world.text(&format!("{sql} WHERE id = '{}'", tenant.id)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_given_by_its_own_object_alone() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let school = world.database.tenant("school").await;
        let before = owner_of(&world, &school).await;
        let to = new_owner("team-b", "academy");
        let other_cluster = {
            let mut to = to.clone();
            to["cluster"] = json!("cluster-2");
            to
        };
        for (to, from) in [
            (&to, json!(null)),
            (&to, json!({ "namespace": "team-a", "name": "another" })),
            (&to, json!({ "namespace": "team-b", "name": "school" })),
            (&to, json!({ "namespace": "team-a" })),
            (&other_cluster, json!({ "namespace": "team-a", "name": "school" })),
        ] {
            let answer = worker.step("reclaim_tenant_schema", &taking(&school, to, &from)).await;
            assert_eq!(expect(&answer, "error"), "not_owner", "{from}");
        }
        assert_eq!(owner_of(&world, &school).await, before);
        let from = json!({ "namespace": "team-a", "name": "school" });
        expect(&worker.step("release_tenants", &json!({ "owner_uids": ["uid-school"] })).await, "success");
        expect(&worker.step("reclaim_tenant_schema", &taking(&school, &to, &from)).await, "success");
        assert_eq!(owner_of(&world, &school).await, "active cluster-1 team-b academy uid-team-b-academy");
        expect(&worker.step("reclaim_tenant_schema", &taking(&school, &to, &from)).await, "unchanged");
        // Done, it gives nothing more: not back, and not to a third one.
        let third = new_owner("team-c", "school");
        let answer = worker.step("reclaim_tenant_schema", &taking(&school, &third, &from)).await;
        assert_eq!(expect(&answer, "error"), "not_owner");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_comes_back_as_the_new_owners() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let school = world.database.tenant("school").await;
        world.as_owner(&school, "CREATE TABLE school.t AS SELECT 7 AS a").await;
        let drop = school.options(&json!({ "owner_uid": "uid-school" }));
        expect(&worker.step("set_aside_tenant_schema", &drop).await, "success");
        let backup = id(&world.newest_backup().await["id"]);
        let to = new_owner("team-b", "academy");
        let restore = |from: Value| json!({ "backup_id": backup, "owner": to, "transfer": from });
        for from in [json!(null), json!({ "namespace": "team-a", "name": "another" })] {
            assert_eq!(expect(&worker.step("restore_tenant_schema", &restore(from)).await, "error"), "not_owner");
        }
        expect(
            &worker.step("restore_tenant_schema", &restore(json!({ "namespace": "team-a", "name": "school" }))).await,
            "success",
        );
        assert_eq!(owner_of(&world, &school).await, "active cluster-1 team-b academy uid-team-b-academy");
        assert_eq!(world.text("SELECT a FROM school.t").await, "7");
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_of_its_backups_follows_it_and_that_of_others_stays() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let (school, other) = (world.database.tenant("school").await, world.database.tenant("other").await);
        for (tenant, name) in [(&school, "before-exams"), (&other, "weekly")] {
            expect(&worker.request(tenant, name).await, "success");
        }
        let places = || async {
            world.text("SELECT string_agg(object_namespace || '/' || object_name, ' ' ORDER BY object_name) FROM edu_matrix_hub_schema.schema_backups").await
        };
        let from = json!({ "namespace": "team-a", "name": "school" });
        // Within a namespace nothing of that changes.
        let renamed = new_owner("team-a", "academy");
        expect(&worker.step("reclaim_tenant_schema", &taking(&school, &renamed, &from)).await, "success");
        assert_eq!(places().await, "team-a/before-exams team-a/weekly");
        let from = json!({ "namespace": "team-a", "name": "academy" });
        expect(&worker.step("reclaim_tenant_schema", &taking(&school, &new_owner("team-b", "academy"), &from)).await, "success");
        assert_eq!(places().await, "team-b/before-exams team-a/weekly");
        let kept: Uuid = world.text("SELECT schema_id FROM edu_matrix_hub_schema.schema_backups WHERE object_name = 'before-exams'").await.parse().unwrap();
        assert_eq!(kept, school.id);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_from_a_name_to_itself_answers_for_a_namespace_that_was_made_again() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let of = |uid: &str, namespace: &str| json!({ "cluster": "cluster-1", "namespace": "team-a", "name": "school", "uid": uid, "namespace_uid": namespace });
        let made = worker.step("create_tenant_schema", &json!({ "schema_name": "school", "owner": of("first", "n1") })).await;
        let school = world.database.tenant_of(&made).await;
        let again = of("second", "n2");
        assert_eq!(expect(&worker.step("reclaim_tenant_schema", &taking(&school, &again, &json!(null))).await, "error"), "not_owner");
        let itself = json!({ "namespace": "team-a", "name": "school" });
        expect(&worker.step("reclaim_tenant_schema", &taking(&school, &again, &itself)).await, "success");
        let namespace = "SELECT owner_uid || ' ' || owner_namespace_uid FROM edu_matrix_hub_schema.tenant_schemas";
        assert_eq!(world.text(namespace).await, "second n2");
        expect(&worker.step("set_aside_tenant_schema", &school.options(&json!({ "owner_uid": "second" }))).await, "success");
        let backup = id(&world.newest_backup().await["id"]);
        let restore = |from: Value| json!({ "backup_id": backup, "owner": of("third", "n3"), "transfer": from });
        assert_eq!(expect(&worker.step("restore_tenant_schema", &restore(json!(null))).await, "error"), "not_owner");
        expect(&worker.step("restore_tenant_schema", &restore(itself)).await, "success");
        assert_eq!(world.text(namespace).await, "third n3");
    })
    .await;
}
