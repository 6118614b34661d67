//! What people copy works: every manifest in `examples/` is applied as it is, but for the names that are this test's.

use std::{collections::BTreeSet, fs, path::Path};

use kube::{
    Api,
    api::{Patch, PatchParams, ValidationDirective},
};
use serde_json::{Value, json};
use tenant_schema_operator::api::{SchemaBackup, TenantSchema};

use crate::world::World;

/// The documents of all examples, with the name of their file.
fn documents() -> Vec<(String, Value)> {
    let mut documents = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    for path in files.chain([folder.join("applications/tenant.yaml")]) {
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        for document in fs::read_to_string(&path).unwrap().split("\n---\n") {
            let value: Value = serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{file}: {error}"));
            documents.push((file.clone(), value));
        }
    }
    documents
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_is_accepted_and_becomes_ready() {
    let mut world = World::bare().await;
    world.make_database(&world.database, &world.login());
    world.write_secret(json!({})).await;
    let documents = documents();
    let of_kind = |kind: &'static str| documents.iter().filter(move |(_, document)| document["kind"] == kind);

    for (file, document) in of_kind("TenantDatabase") {
        let mut spec = document["spec"].clone();
        assert_eq!(spec["connection"]["secretRef"]["name"], "default-postgres", "{file}");
        spec["connection"]["secretRef"]["name"] = json!("postgres");
        world.apply_database(spec).await;
    }
    world.guard_secrets();
    world.start_operator().await;
    world.until_ready(&world.databases(), &world.database_ref(), "True", "Succeeded").await;

    let strict = PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("e2e") };
    let adapted = |document: &Value| {
        let mut document = document.clone();
        document["metadata"]["labels"]["e2e"] = json!(world.id);
        assert!(document["metadata"].get("namespace").is_none(), "people apply it to a namespace of theirs");
        document
    };
    for (file, document) in of_kind("TenantSchema") {
        let mut tenant = adapted(document);
        assert!(tenant["spec"].get("databaseRef").is_none(), "{file} uses the default database");
        tenant["spec"]["databaseRef"] = json!({ "name": world.database_ref() });
        let name = tenant["metadata"]["name"].as_str().unwrap();
        let api: Api<TenantSchema> = world.api();
        api.patch(name, &strict, &Patch::Apply(&tenant)).await.unwrap_or_else(|error| panic!("{file}: {error}"));
        let reason = if tenant["spec"]["access"] == "Suspended" { "Suspended" } else { "Succeeded" };
        world.until_ready(&api, name, "True", reason).await;
    }
    for (file, document) in of_kind("SchemaBackup") {
        let backup = adapted(document);
        let name = backup["metadata"]["name"].as_str().unwrap();
        let api: Api<SchemaBackup> = world.api();
        api.patch(name, &strict, &Patch::Apply(&backup)).await.unwrap_or_else(|error| panic!("{file}: {error}"));
        world.until_ready(&api, name, "True", "Completed").await;
    }
    let kinds: BTreeSet<_> = documents.iter().map(|(_, document)| document["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["SchemaBackup", "TenantDatabase", "TenantSchema"]), "no other kind is left out");
    world.finish().await;
}
