//! A tenant gets another object, under another name or in another namespace, with all its data, in any order in which a
//! pipeline applies what is new and removes what is old; and only when both sides say so.

use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tenant_schema_operator::api::{CONFIRM_DROP, RECLAIM, TenantSchema};

use crate::world::World;

const SCHEMA: &str = "school";

/// What these tests do in their world.
trait Renaming {
    async fn transfer(&self, from: (&str, &str), to: (&str, &str));
    async fn pupils(&self, name: &str, spec: Value) -> Option<String>;
    async fn says(&self, api: &Api<TenantSchema>, name: &str, part: &str);
    fn rows(&self) -> String;
}

impl Renaming for World {
    /// The platform team's half.
    async fn transfer(&self, from: (&str, &str), to: (&str, &str)) {
        let entry = json!({
            "schemaName": SCHEMA, "from": { "namespace": from.0, "name": from.1 }, "to": { "namespace": to.0, "name": to.1 },
        });
        let patch = Patch::Merge(json!({ "spec": { "transfers": [entry] } }));
        self.databases().patch(&self.database_ref(), &PatchParams::default(), &patch).await.unwrap();
    }

    async fn pupils(&self, name: &str, spec: Value) -> Option<String> {
        self.apply_tenant(name, spec).await;
        let id = self.ready_tenant(name).await.status.unwrap().schema_id;
        self.sql_as(SCHEMA, "owner", "CREATE TABLE school.pupils AS SELECT 7 AS id");
        id
    }

    /// Waits until a tenant of any namespace says this.
    async fn says(&self, api: &Api<TenantSchema>, name: &str, part: &str) {
        let said = async || {
            let tenant = api.get(name).await.unwrap();
            crate::world::condition(&tenant, "Stalled")
                .is_some_and(|(_, reason, message)| reason == "Conflict" && message.contains(part))
        };
        self.eventually(&format!("{name} says {part}"), said).await;
    }

    fn rows(&self) -> String {
        let rows =
            "SELECT status, owner_namespace, owner_name FROM edu_matrix_hub_schema.tenant_schemas ORDER BY created_at";
        self.sql(rows).replace(&self.namespace, "NAMESPACE")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_tenant_keeps_its_data_when_the_new_object_comes_first() {
    let world = World::new(json!({})).await;
    let tenants = world.api::<TenantSchema>();
    // With the policy that would take most, and confirmed.
    let id = world.pupils("git-old", json!({ "schemaName": SCHEMA, "deletionPolicy": "Drop" })).await;
    world.confirm("git-old", CONFIRM_DROP).await;
    let login = format!("{}_app", world.login());
    let writer = world.tenant_role(SCHEMA, "writer");
    world.sql(&format!("CREATE ROLE {login} LOGIN PASSWORD 'pw'; GRANT {writer} TO {login}"));
    let mut application = world.session_as(&login, "pw", "INSERT INTO school.pupils VALUES (8)");

    // What a renamed file in Git does. Each half alone does nothing, and names the other.
    let spec = json!({ "schemaName": SCHEMA, "quota": { "limit": "1Gi" }, "config": { "grade": 7 } });
    world.apply_tenant("git-new", spec.clone()).await;
    world.tenant_says("git-new", "Stalled", "Conflict", "spec.transfers of TenantDatabase").await;
    world.apply_annotated("git-new", spec, json!({ RECLAIM: SCHEMA })).await;
    world.next_survey().await;
    world.tenant_says("git-new", "Stalled", "Conflict", "If it is the same tenant under a new name").await;
    world.annotate::<TenantSchema>("git-new", RECLAIM, "not yet").await;
    world.transfer((&world.namespace, "git-old"), (&world.namespace, "git-new")).await;
    let message = world.tenant_says("git-new", "Stalled", "Conflict", "gives it to this object; to take it").await;
    world.annotate::<TenantSchema>("git-new", RECLAIM, &World::value_told(&message, RECLAIM)).await;
    world.tenant_says("git-new", "Stalled", "Conflict", "when that object is deleted").await;
    world.ready_tenant("git-old").await;

    // What prune does.
    world.delete_tenant("git-old").await;
    let new = world.ready_tenant("git-new").await.status.unwrap();
    assert_eq!(new.schema_id, id, "the same tenant, for life");
    assert_eq!(world.schemas(SCHEMA), [SCHEMA], "nothing was set aside");
    assert_eq!(world.sql_as(SCHEMA, "reader", "SELECT count(*) FROM school.pupils"), "2");
    assert!(!application.is_ended(), "who worked in it goes on");
    drop(application);
    let row = "SELECT quota_limit, config FROM edu_matrix_hub_schema.tenant_schemas";
    assert_eq!(world.sql(row), "1073741824|{\"grade\": 7}", "quota and config are the new object's");
    assert_eq!(world.rows(), "active|NAMESPACE|git-new");

    // The entry is done: the old manifest, applied again, gets nothing, and the new object is deleted as any other.
    world.apply_annotated("git-old", json!({ "schemaName": SCHEMA }), json!({ RECLAIM: SCHEMA })).await;
    world.stalled_tenant("git-old", "Conflict").await;
    tenants.delete("git-old", &DeleteParams::default()).await.unwrap();
    world.until_gone(&tenants, "git-old").await;
    world.delete_tenant("git-new").await;
    assert!(world.schemas(SCHEMA)[0].starts_with("school_bak_"));
    world.sql(&format!("DROP OWNED BY {login}; DROP ROLE {login}"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_moves_to_another_namespace_keeps_its_data_when_the_old_object_goes_first() {
    let world = World::new(json!({ "limits": { "maxDeletionsPerHour": 0 } })).await;
    let there = format!("{}-there", world.namespace);
    world.make_namespace(&there, json!({})).await;
    let moved = Api::<TenantSchema>::namespaced(world.client.clone(), &there);
    let spec = json!({ "schemaName": SCHEMA });
    let id = world.pupils("old", spec.clone()).await;
    // Restored beside the original by a tool that copies namespaces.
    world.try_annotated_in(&there, "copy", spec.clone(), json!({ RECLAIM: SCHEMA })).await.unwrap();
    world.says(&moved, "copy", "belongs to a tenant of another namespace").await;

    world.transfer((&world.namespace, "old"), (&there, "new")).await;
    world.delete_tenant("old").await;
    world.event("old", "Retained", "stays as it is, for TenantSchema").await;
    assert_eq!(world.rows(), "released|NAMESPACE|old", "neither set aside nor counted as a deletion");
    assert_eq!(world.sql_as(SCHEMA, "reader", "SELECT id FROM school.pupils"), "7", "open in between");
    world.apply_annotated("stranger", spec.clone(), json!({ RECLAIM: SCHEMA })).await;
    world.stalled_tenant("stranger", "Conflict").await;
    world.says(&moved, "copy", "belongs to a tenant of another namespace").await;

    world.try_annotated_in(&there, "new", spec, json!({ RECLAIM: SCHEMA })).await.unwrap();
    let new = world.until_ready(&moved, "new", "True", "Succeeded").await;
    assert_eq!(new.status.unwrap().schema_id, id);
    assert_eq!(world.sql_as(SCHEMA, "reader", "SELECT id FROM school.pupils"), "7");
    assert_eq!(world.rows(), "active|NAMESPACE-there|new");
    world.stalled_tenant("stranger", "Conflict").await;
    world.says(&moved, "copy", "belongs to TenantSchema new of this namespace").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_was_set_aside_before_it_was_given_comes_back_to_the_new_object() {
    let world = World::new(json!({})).await;
    let there = format!("{}-there", world.namespace);
    world.make_namespace(&there, json!({})).await;
    let moved = Api::<TenantSchema>::namespaced(world.client.clone(), &there);
    let spec = json!({ "schemaName": SCHEMA });
    let id = world.pupils("old", spec.clone()).await;
    world.delete_tenant("old").await;
    assert!(world.schemas(SCHEMA)[0].starts_with("school_bak_"));
    world.try_annotated_in(&there, "new", spec, json!({ RECLAIM: SCHEMA })).await.unwrap();
    world.says(&moved, "new", "its name and institution are kept for it").await;
    // A schema goes to one object alone, so that entries neither contradict one another nor form a ring.
    let object = |name: &str| json!({ "namespace": world.namespace, "name": name });
    let entry = |from: &str, to: &str| json!({ "schemaName": SCHEMA, "from": object(from), "to": object(to) });
    for entries in
        [json!([entry("old", "a"), entry("old", "b")]), json!([entry("Old", "a")]), json!([entry("old", "a/b")])]
    {
        let patch = Patch::Merge(json!({ "spec": { "transfers": entries } }));
        let refused = world.databases().patch(&world.database_ref(), &PatchParams::default(), &patch).await;
        assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 422), "{patch:?}");
    }
    world.transfer((&world.namespace, "old"), (&there, "new")).await;
    let new = world.until_ready(&moved, "new", "True", "Succeeded").await;
    assert_eq!(new.status.unwrap().schema_id, id);
    assert_eq!(world.schemas(SCHEMA), [SCHEMA]);
    assert_eq!(world.sql_as(SCHEMA, "reader", "SELECT id FROM school.pupils"), "7");
    assert_eq!(world.rows(), "active|NAMESPACE-there|new");
    world.finish().await;
}
