//! `paused`: nothing is done, and what would be done can be read.

use std::io::Write;

use kube::api::DeleteParams;
use serde_json::json;
use tenant_schema_operator::api::{PAUSED, RECLAIM, TenantSchema};

use crate::world::{World, condition};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_tenant_shows_its_plan_and_nothing_is_done() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.annotate::<TenantSchema>("school", PAUSED, "true").await;
    let paused = async |part: &str| {
        let tenant = world.api::<TenantSchema>().get("school").await.unwrap();
        condition(&tenant, "Paused").is_some_and(|(status, _, message)| status == "True" && message.contains(part))
    };
    world.eventually("nothing is planned", async || paused("nothing to do").await).await;

    world.apply_tenant("school", json!({ "schemaName": "school", "access": "Suspended" })).await;
    world.eventually("the suspension is planned", async || paused("suspend: take USAGE").await).await;
    let tenant = world.api::<TenantSchema>().get("school").await.unwrap();
    assert_eq!(condition(&tenant, "Ready").unwrap().0, "True", "what runs goes on");
    assert_ne!(tenant.status.unwrap().observed_generation, tenant.metadata.generation, "and is not what the spec says");
    let access = || world.sql("SELECT access FROM edu_matrix_hub_schema.tenant_schemas");
    assert_eq!(access(), "ReadWrite");

    world.api::<TenantSchema>().delete("school", &DeleteParams::default()).await.unwrap();
    world.eventually("the end is planned", async || paused("set the schema aside whole").await).await;
    assert_eq!((access().as_str(), world.schemas("school").len()), ("ReadWrite", 1));

    world.remove_annotation("school", PAUSED).await;
    world.until_gone(&world.api::<TenantSchema>(), "school").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_tenant_whose_schema_is_another_ones_does_not_say_ready() {
    let mut world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.annotate::<TenantSchema>("school", PAUSED, "true").await;
    // What a restore of the database to a day before does: the row is an earlier object's.
    world.stop_operator().await;
    world.sql("UPDATE edu_matrix_hub_schema.tenant_schemas SET owner_uid = 'earlier'");
    world.start_operator().await;
    let ready = async |expected: (&str, &str)| {
        let tenant = world.api::<TenantSchema>().get("school").await.unwrap();
        condition(&tenant, "Ready").is_some_and(|(status, reason, _)| (&*status, &*reason) == expected)
    };
    world.eventually("it is not there", async || ready(("False", "Paused")).await).await;
    world.annotate::<TenantSchema>("school", RECLAIM, "school").await;
    world.remove_annotation("school", PAUSED).await;
    world.eventually("it goes on", async || ready(("True", "Succeeded")).await).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_planned_against_the_live_cluster_and_changes_nothing() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.settled_tenant("school").await;
    let before = world.written().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let text = [
        world.manifest("school", "schemaName: school, quota: {limit: 5Gi}, access: Suspended"),
        world.manifest("newcomer", "schemaName: newcomer"),
        world.manifest("rival", "schemaName: school"),
        "---\nkind: Namespace\n".to_owned(),
    ];
    file.write_all(text.concat().as_bytes()).unwrap();
    let path = file.path().display().to_string();
    let namespace = &world.namespace;
    let database = world.database_ref();
    assert_eq!(
        world.plan(&[&path]),
        (
            3,
            format!(
                "tenant {namespace}/school, schema school:\n  in order:\n    suspend: take USAGE from all but the owner, end \
             sessions\n  in order:\n    set quota 5Gi\ntenant {namespace}/newcomer, schema newcomer:\n  in order:\n    create schema with roles \
             owner, reader, writer; quota none\ntenant {namespace}/rival, schema school:\n  refuse (Conflict): schema school \
             belongs to TenantSchema school of this namespace; the first keeps it, and deleting this object drops \
             nothing. If it is the same tenant under a new name, the platform team gives it to this object in \
             spec.transfers of TenantDatabase {database}\nNamespace: not planned, only this operator's kinds are\n"
            )
        )
    );

    assert_eq!(world.written().await, before);
    assert_eq!(world.schemas("newcomer"), [""; 0]);

    // All tenants are let go and keep their schemas, at the command of a person.
    let selector = format!("e2e={}", world.id);
    let (status, out, err) = world.command(&["release", "--all", "--watch-selector", &selector]);
    assert!(status.success() && out.starts_with("1 of 1 TenantSchemas with e2e="), "{out}{err}");
    let command = format!("kubectl delete tenantschemas --all-namespaces -l '{selector}'\n");
    assert!(out.ends_with(&command), "it deletes what was released, and no other: {out}");
    world.delete_tenant("school").await;
    assert_eq!(world.schemas("school"), ["school"]);
    world.finish().await;
}

/// What these tests do in their world.
trait Pause {
    fn manifest(&self, name: &str, spec: &str) -> String;
    fn plan(&self, files: &[&str]) -> (i32, String);
}

impl Pause for World {
    /// The manifest of a tenant of the test.
    fn manifest(&self, name: &str, spec: &str) -> String {
        format!(
            "---\napiVersion: edumatrixhub.io/v1alpha1\nkind: TenantSchema\nmetadata: {{name: {name}, namespace: {}, labels: \
             {{e2e: {}}}}}\nspec: {{databaseRef: {{name: {}}}, {spec}}}\n",
            self.namespace,
            self.id,
            self.database_ref()
        )
    }

    /// What `plan -f` says of files, and how it ends.
    fn plan(&self, files: &[&str]) -> (i32, String) {
        let files = files.iter().flat_map(|file| ["-f", *file]);
        let arguments: Vec<_> =
            ["plan"].into_iter().chain(files).chain(["--namespace", &self.operator_namespace]).collect();
        let (status, out, err) = self.command(&arguments);
        assert_eq!(err, "");
        (status.code().unwrap(), out)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_goes_by_the_code_with_which_plan_ends() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.settled_tenant("school").await;
    let before = world.written().await;
    let database = world.database_ref();
    let plan = |files: &[&str]| world.plan(files);
    let manifest = |name: &str, spec: &str| world.manifest(name, spec);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).display().to_string()
    };
    let same = write("same.yaml", &manifest("school", "schemaName: school"));
    let (code, out) = plan(&[&same]);
    assert!(code == 0 && out.ends_with("nothing to do\n"), "{code} {out}");
    let new = write("new.yml", &manifest("newcomer", "schemaName: newcomer"));
    assert_eq!(plan(&[&same, &new]).0, 1);
    let of_database = |spec: &str| {
        format!(
            "apiVersion: edumatrixhub.io/v1alpha1\nkind: TenantDatabase\nmetadata: {{name: {database}}}\nspec: {{{spec}}}\n"
        )
    };
    let secret = "connection: {secretRef: {name: postgres}, tls: {mode: VerifyFull}}";
    let limits = write("database.yaml", &of_database(&format!("{secret}, limits: {{maxDeletionsPerHour: 7}}")));
    assert_eq!(plan(&[&limits]), (1, format!("database {database}:\n  change spec.limits\n")));
    assert_eq!(
        plan(&[&write("database.yaml", &of_database(secret))]),
        (0, format!("database {database}:\n  nothing to do\n"))
    );
    let broken = write("database.yaml", &of_database(&format!("{secret}, naming: [{{pattern: \"([a-z\"}}]")));
    let (code, out) = plan(&[&broken]);
    assert!(code == 3 && out.contains("spec.naming[0].pattern") && out.contains("unclosed character class"), "{out}");
    write("database.yaml", &of_database(secret));
    let backup = |field: &str| {
        let text = format!(
            "apiVersion: edumatrixhub.io/v1alpha1\nkind: SchemaBackup\nmetadata: {{name: before, namespace: {namespace}}}\n\
             spec: {{{field}: {{name: school}}}}\n",
            namespace = world.namespace
        );
        write("backup.yml", &text)
    };
    assert_eq!(plan(&[&backup("tenantSchemaRef")]), (1, format!("backup {}/before:\n  create\n", world.namespace)));
    let (code, out) = plan(&[&backup("tenantRef")]);
    assert!(code == 3 && out.contains("tenantRef"), "{out}");
    std::fs::remove_file(folder.path().join("backup.yml")).unwrap();

    // One commit that moves a tenant: the entry, the new object, and the old one's file removed.
    let entry = format!(
        "transfers: [{{schemaName: school, from: {{namespace: {n}, name: school}}, to: {{namespace: {n}, name: moved}}}}]",
        n = world.namespace
    );
    let entry = write("moved-database.yaml", &of_database(&format!("{secret}, {entry}")));
    let moved = manifest("moved", "schemaName: school")
        .replace("name: moved", "name: moved, annotations: {edumatrixhub.io/reclaim: school}");
    let moved = write("moved.yaml", &moved);
    let (code, out) = plan(&[&moved]);
    assert!(code == 3 && out.contains("spec.transfers"), "without the entry it is another's: {out}");
    let (code, out) = plan(&[&entry, &moved]);
    assert!(code == 1 && out.contains("take back the schema") && out.contains("once the object"), "{code} {out}");
    std::fs::remove_file(&entry).unwrap();
    std::fs::remove_file(&moved).unwrap();
    let (code, out) = plan(&[folder.path().to_str().unwrap()]);
    assert!(code == 1 && out.matches("\ntenant ").count() == 2, "a folder is planned whole: {out}");
    let elsewhere = manifest("elsewhere", "schemaName: elsewhere").replace(&format!("name: {database}"), "name: none");
    let elsewhere = write("elsewhere.yaml", &elsewhere);
    let (code, out) = plan(&[&elsewhere]);
    assert!(code == 4 && out.contains("TenantDatabase \"none\" does not exist"), "{code} {out}");
    for (name, spec, words) in [
        ("school", "schemaName: other", "schemaName is immutable"),
        ("typo", "schemaNmae: typo", "schemaNmae: field not declared"),
    ] {
        let (code, out) = plan(&[&write("wrong.yaml", &manifest(name, spec))]);
        assert!(code == 3 && out.contains(words), "{code} {out}");
    }
    assert_eq!(plan(&[&write("wrong.yaml", "kind: [")]).0, 3);
    assert_eq!(world.command(&["plan"]).0.code(), Some(2));
    assert_eq!(world.written().await, before);
    assert_eq!(world.schemas("newcomer"), [""; 0]);
    world.finish().await;
}
