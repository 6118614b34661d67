//! What becomes of a deleted tenant: its deletion policy, and nothing else.

use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use tenant_schema_operator::api::{
    CONFIRM_DROP, RECREATE, TENANT_SCHEMA_FINALIZER, TenantSchema, tenant_schema::State,
};

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_then_drop_sets_the_schema_aside_whole_and_psql_brings_it_back() {
    let world = World::new(json!({})).await;
    let institution = uuid::Uuid::new_v4();
    let spec = json!({ "schemaName": "school", "institutionId": institution, "config": { "grade": 7 } });
    world.apply_tenant("school", spec.clone()).await;
    world.ready_tenant("school").await;
    world.sql("CREATE TABLE public.countries (id int PRIMARY KEY); INSERT INTO public.countries VALUES (1)");
    world.sql(&format!("GRANT REFERENCES ON public.countries TO {}", world.tenant_role("school", "owner")));
    world.sql_as(
        "school",
        "owner",
        "CREATE TABLE school.pupils (id serial PRIMARY KEY, country int REFERENCES public.countries, name text);
         INSERT INTO school.pupils (country, name) SELECT 1, 'pupil ' || n FROM generate_series(1, 100) AS n;
         CREATE VIEW school.names AS SELECT name FROM school.pupils",
    );
    let facts = |schema: &str| {
        world.sql(&format!(
            "SELECT count(*), md5(string_agg(p::text, ',' ORDER BY id)), (SELECT count(*) FROM {schema}.names) \
             FROM {schema}.pupils AS p"
        ))
    };
    world
        .eventually("the survey has measured it", async || {
            world.api::<TenantSchema>().get("school").await.unwrap().status.unwrap().storage_used_bytes > Some(0)
        })
        .await;
    let before = facts("school");
    let acl = || world.sql("SELECT nspacl, nspowner::regrole FROM pg_namespace WHERE nspname = 'school'");
    let acl_before = acl();
    let (owner, reader) = (world.tenant_role("school", "owner"), world.tenant_role("school", "reader"));

    world.delete_tenant("school").await;
    let [aside] = <[String; 1]>::try_from(world.schemas("school")).unwrap();
    assert_eq!(facts(&aside), before);
    world.event("school", "SetAside", &aside).await;
    // What is set aside keeps no other from anything, and no tenant's role reaches it.
    world.sql("DROP TABLE public.countries");
    assert!(!world.may_use(&reader, &aside));
    let tombstone = "SELECT t.status, t.institution_id, b.method, b.state, b.location, b.table_count
                     FROM edu_matrix_hub_schema.tenant_schemas AS t
                     JOIN edu_matrix_hub_schema.schema_backups AS b ON b.schema_id = t.id";
    assert_eq!(world.sql(tombstone), format!("dropped|{institution}|SetAside|complete|{aside}|1"));
    world
        .eventually("the database counts what is set aside", async || {
            let status = world.databases().get(&world.database_ref()).await.unwrap().status.unwrap();
            status.set_aside_count == Some(1) && status.set_aside_bytes > Some(0) && status.tenant_count == Some(0)
        })
        .await;

    // Applied again and asked for, it is another tenant, empty, and the old one is still there.
    world.apply_tenant("school", spec).await;
    let message = world.stalled_tenant("school", "Conflict").await;
    world.annotate::<TenantSchema>("school", RECREATE, &World::value_told(&message, RECREATE)).await;
    world.ready_tenant("school").await;
    assert_eq!(world.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'school'::regnamespace"), "0");
    assert_eq!(facts(&aside), before);
    let restore = format!(
        "SET ROLE {}; SELECT status, message FROM edu_matrix_hub_schema.restore_set_aside('{}')",
        world.login(),
        world.sql(&format!("SELECT id FROM edu_matrix_hub_schema.schema_backups WHERE location = '{aside}'"))
    );
    let taken = world.answered(&restore).await;
    assert!(taken.starts_with("error|"), "{taken}");
    world.delete_tenant("school").await;

    world.sql("CREATE TABLE public.countries (id int PRIMARY KEY); INSERT INTO public.countries VALUES (1)");
    world.sql(&format!("GRANT REFERENCES, SELECT ON public.countries TO {owner}"));
    let answer = world.answered(&restore).await;
    assert!(answer.starts_with("success|"), "{answer}");
    assert_eq!(facts("school"), before);
    assert_eq!(acl(), acl_before);
    let keys = world.sql(
        "SELECT conname, convalidated FROM pg_constraint WHERE conrelid = 'school.pupils'::regclass AND contype = 'f'",
    );
    assert_eq!(keys, "pupils_country_fkey|t", "{answer}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drop_waits_for_the_schemas_name_and_then_leaves_nothing() {
    let world = World::new(json!({})).await;
    let tenants = world.api::<TenantSchema>();
    for name in ["school", "spared"] {
        world.apply_tenant(name, json!({ "schemaName": name, "deletionPolicy": "Drop" })).await;
        let effective = world.ready_tenant(name).await.status.unwrap().effective.unwrap();
        let effective = serde_json::to_value(effective).unwrap();
        assert_eq!((&effective["deletionPolicy"], &effective["finalBackup"]), (&json!("Drop"), &json!("None")));
        world.sql_as(name, "owner", &format!("CREATE TABLE {name}.pupils AS SELECT 7 AS id"));
    }
    assert_eq!(world.count_roles("school"), "3");

    for name in ["school", "spared"] {
        tenants.delete(name, &DeleteParams::default()).await.unwrap();
    }
    let message = world.stalled_tenant("school", "DropNotConfirmed").await;
    assert!(message.contains("schema school would be dropped without a backup"), "{message}");
    world.annotate::<TenantSchema>("school", CONFIRM_DROP, "school").await;
    world.next_survey().await;
    world.stalled_tenant("school", "DropNotConfirmed").await;
    assert_eq!(world.sql_as("school", "reader", "SELECT id FROM school.pupils"), "7", "it works as before");
    world
        .eventually("what would be lost is shown as it is", async || {
            tenants.get("school").await.unwrap().status.unwrap().table_count == Some(1)
        })
        .await;

    // The table is locked, so its removal takes its time; the object is there until it is done.
    let lock = world.session("BEGIN; LOCK TABLE school.pupils IN ACCESS SHARE MODE");
    let command = message.split("kubectl ").nth(1).unwrap().split("; to keep it").next().unwrap();
    let command: Vec<_> = command.trim_end_matches(';').split_whitespace().collect();
    world.kubectl(&[command.as_slice(), &["--overwrite"]].concat());
    let dropping = world.until_ready(&tenants, "school", "False", "AwaitingJob").await;
    assert_eq!(dropping.status.unwrap().state, Some(State::Dropping));
    let told = world.event("school", "Dropped", "(1 table, ").await;
    assert!(told.contains("confirm-drop confirmed, which field manager kubectl-annotate at 20"), "{told}");
    world.event("school", "DeletionWaits", "is being dropped").await;
    assert_eq!(world.schemas("school").len(), 1);
    drop(lock);
    world.until_gone(&tenants, "school").await;
    assert!(world.schemas("school").is_empty());
    assert_eq!(world.count_roles("school"), "0");
    let rows = "SELECT t.status, b.state FROM edu_matrix_hub_schema.tenant_schemas AS t
                JOIN edu_matrix_hub_schema.schema_backups AS b ON b.schema_id = t.id WHERE t.schema_name = 'school'";
    assert_eq!(world.sql(rows), "dropped|purged", "the catalogue remembers");

    // The other way out that the message has: another policy.
    let message = world.stalled_tenant("spared", "DropNotConfirmed").await;
    let patch = message.rsplit_once("-p '").unwrap().1.trim_end_matches('\'');
    let patch: serde_json::Value = serde_json::from_str(patch).unwrap();
    tenants.patch("spared", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    world.until_gone(&tenants, "spared").await;
    assert!(world.schemas("spared")[0].starts_with("spared_bak_"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retain_goes_at_once_and_finalizers_of_others_stay() {
    let world = World::new(json!({ "defaults": { "deletionPolicy": "Retain" } })).await;
    let tenants = world.api::<TenantSchema>();
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    let effective = world.ready_tenant("school").await.status.unwrap().effective.unwrap();
    assert_eq!(serde_json::to_value(effective).unwrap()["deletionPolicy"], "Retain", "the database's default");
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 7 AS id");
    let facts = || {
        world.sql(
            "SELECT nspacl, nspowner::regrole, (SELECT count(*) FROM school.pupils) FROM pg_namespace \
             WHERE nspname = 'school'",
        )
    };
    let before = facts();
    world.delete_tenant("school").await;
    assert_eq!(facts(), before);
    assert_eq!(world.sql_as("school", "reader", "SELECT id FROM school.pupils"), "7");
    world.event("school", "Retained", "schema school stays as it is").await;

    // Before ours, after ours: the finalizer of another client is for that client to take away.
    let theirs = "example.com/theirs";
    let more = "example.com/more";
    world.apply_tenant("academy", json!({ "schemaName": "academy", "deletionPolicy": "BackupThenDrop" })).await;
    world.ready_tenant("academy").await;
    let both = json!({ "metadata": { "finalizers": [theirs, TENANT_SCHEMA_FINALIZER, more] } });
    tenants.patch("academy", &PatchParams::default(), &Patch::Merge(&both)).await.unwrap();
    tenants.delete("academy", &DeleteParams::default()).await.unwrap();
    world
        .eventually("our finalizer goes", async || tenants.get("academy").await.unwrap().finalizers() == [theirs, more])
        .await;
    assert!(world.schemas("academy")[0].starts_with("academy_bak_"));
    world.next_survey().await;
    assert_eq!(tenants.get("academy").await.unwrap().finalizers(), [theirs, more]);
    let none = json!({ "metadata": { "finalizers": null } });
    tenants.patch("academy", &PatchParams::default(), &Patch::Merge(&none)).await.unwrap();
    world.until_gone(&tenants, "academy").await;

    // One that had another's finalizer from birth gets ours beside it.
    let object = json!({
        "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
        "metadata": { "name": "college", "labels": { "e2e": world.id }, "finalizers": [theirs] },
        "spec": { "schemaName": "college", "databaseRef": { "name": world.database_ref() } },
    });
    tenants.patch("college", &PatchParams::apply("e2e"), &Patch::Apply(&object)).await.unwrap();
    let college = world.ready_tenant("college").await;
    assert_eq!(college.finalizers(), [theirs, TENANT_SCHEMA_FINALIZER]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_built_on_a_schema_keeps_it_until_it_is_gone() {
    let world = World::new(json!({})).await;
    let tenants = world.api::<TenantSchema>();
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.sql_as(
        "school",
        "owner",
        "CREATE TABLE school.pupils (id int PRIMARY KEY); INSERT INTO school.pupils VALUES (7)",
    );
    world.sql(
        "CREATE TABLE public.cards (pupil int REFERENCES school.pupils);
         CREATE SCHEMA reporting; CREATE VIEW reporting.pupils AS SELECT id FROM school.pupils",
    );
    tenants.delete("school", &DeleteParams::default()).await.unwrap();
    let message = world.stalled_tenant("school", "DependentsExist").await;
    assert!(message.contains("public.cards.cards_pupil_fkey, reporting.pupils"), "{message}");
    assert!(message.contains("deletionPolicy: Retain"), "{message}");
    world.next_survey().await;
    assert_eq!(world.sql("SELECT id FROM reporting.pupils"), "7");
    assert_eq!(world.sql_as("school", "reader", "SELECT id FROM school.pupils"), "7", "it works as before");

    world.sql("DROP TABLE public.cards; DROP VIEW reporting.pupils");
    world.until_gone(&tenants, "school").await;
    assert!(world.schemas("school")[0].starts_with("school_bak_"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_question_before_a_drop_is_about_what_is_there_when_it_is_put() {
    // No survey comes between the table and the deletion.
    let world = World::new(json!({ "surveyPeriodSeconds": 3600 })).await;
    let tenants = world.api::<TenantSchema>();
    world.apply_tenant("school", json!({ "schemaName": "school", "deletionPolicy": "Drop" })).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT generate_series(1, 1000) AS id");
    let bytes = world.sql("SELECT pg_total_relation_size('school.pupils')");
    let content = format!("without a backup (1 table, {bytes} bytes, as of 20");
    tenants.delete("school", &DeleteParams::default()).await.unwrap();
    let message = world.stalled_tenant("school", "DropNotConfirmed").await;
    assert!(message.contains(&content), "{message}");
    assert_eq!(tenants.get("school").await.unwrap().status.unwrap().table_count, Some(1));
    world.annotate::<TenantSchema>("school", CONFIRM_DROP, &World::value_told(&message, CONFIRM_DROP)).await;
    world.event("school", "Dropped", &content).await;
    world.until_gone(&tenants, "school").await;
    world.finish().await;
}
