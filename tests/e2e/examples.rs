//! What people copy works: every manifest in `examples/` is applied as it is, but for the names that are this test's.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
};

use kube::{
    Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, ValidationDirective},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tenant_schema_operator::api::{SchemaBackup, TenantSchema, grants::GrantState};

use crate::{adoption, documented::Documented, world::World};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The documents of all examples, with the name of their file.
fn documents() -> Vec<(String, Value)> {
    let mut documents = Vec::new();
    let folder = folder();
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    for path in files.chain([folder.join("applications/tenant.yaml")]) {
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        documents.extend(documents_of(&path).into_iter().map(|document| (file.clone(), document)));
    }
    documents
}

fn documents_of(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let document = |text| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.split("\n---\n").map(document).collect()
}

/// Applies an object of an example as it stands, in the test's namespace, and returns its name.
async fn apply<K>(world: &World, mut object: Value) -> String
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let strict = PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("e2e") };
    assert!(object["metadata"].get("namespace").is_none(), "people apply it to a namespace of theirs");
    object["metadata"]["labels"]["e2e"] = json!(world.id);
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let applied = world.api::<K>().patch(&name, &strict, &Patch::Apply(&object)).await;
    applied.unwrap_or_else(|error| panic!("{name}: {error}"));
    name
}

/// The same of a tenant, which uses the default database: here the world's.
async fn apply_tenant(world: &World, mut tenant: Value) -> String {
    assert!(tenant["spec"].get("databaseRef").is_none(), "{tenant} uses the default database");
    tenant["spec"]["databaseRef"] = json!({ "name": world.database_ref() });
    apply::<TenantSchema>(world, tenant).await
}

/// Waits until all grants are given: a tenant is ready before those are there that it gives something to.
async fn until_granted(world: &World) {
    let given = async || {
        let tenants = world.api::<TenantSchema>().list(&ListParams::default()).await.unwrap();
        let mut grants = tenants.into_iter().flat_map(|tenant| tenant.status.unwrap_or_default().grants);
        grants.all(|grant| grant.state == Some(GrantState::Active))
    };
    world.eventually("all grants are given", given).await;
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

    for (_, tenant) in of_kind("TenantSchema") {
        let name = apply_tenant(&world, tenant.clone()).await;
        let reason = if tenant["spec"]["access"] == "Suspended" { "Suspended" } else { "Succeeded" };
        world.until_ready(&world.api::<TenantSchema>(), &name, "True", reason).await;
    }
    until_granted(&world).await;
    for (_, backup) in of_kind("SchemaBackup") {
        let name = apply::<SchemaBackup>(&world, backup.clone()).await;
        world.until_ready(&world.api::<SchemaBackup>(), &name, "True", "Completed").await;
    }
    let kinds: BTreeSet<_> = documents.iter().map(|(_, document)| document["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["SchemaBackup", "TenantDatabase", "TenantSchema"]), "no other kind is left out");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eleven_domains_refer_to_each_other_by_keys_that_their_owners_make() {
    let mut world = World::without_operator(json!({})).await;
    world.guard_secrets();
    world.start_operator().await;
    let tenants = documents_of(&folder().join("domains-with-keys/tenants.yaml"));
    assert_eq!(tenants.len(), 11);
    for tenant in tenants {
        apply_tenant(&world, tenant).await;
    }
    let path = Path::new("examples/domains-with-keys/keys.sh");
    let script = fs::read_to_string(folder().join("domains-with-keys/keys.sh")).unwrap();
    let keys: Vec<Vec<_>> = script
        .lines()
        .filter_map(|line| line.strip_prefix("key "))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(keys.len(), 10);
    for key in &keys {
        let [from, table, column, to, target] = key[..] else { panic!("{key:?}") };
        for (domain, made) in [(to, target), (from, table)] {
            world.ready_tenant(domain).await;
            let make = format!("CREATE TABLE IF NOT EXISTS {domain}.{made} (id bigint PRIMARY KEY)");
            world.sql_as(domain, "owner", &make);
        }
        world.sql_as(from, "owner", &format!("ALTER TABLE {from}.{table} ADD {column} bigint"));
    }
    world.ready_tenant("statistics").await;
    until_granted(&world).await;
    let root = folder().parent().unwrap().to_owned();
    for _ in 0..2 {
        world.shell(path, &root, "examples/domains-with-keys/keys.sh team-a");
    }
    let made = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated \
                AND connamespace <> 'edu_matrix_hub_schema'::regnamespace";
    assert_eq!(world.sql(made), "10");
    world.sql_as("people", "owner", "INSERT INTO people.persons VALUES (1)");
    world.sql_as("library", "owner", "INSERT INTO library.loans VALUES (1, 1)");
    let by_reader = world.sql_as("statistics", "reader", "SELECT count(*) FROM people.persons, library.loans");
    assert_eq!(by_reader, "1");
    // What others refer to stays, with everything in it.
    world.api::<TenantSchema>().delete("people", &DeleteParams::default()).await.unwrap();
    let message = world.stalled_tenant("people", "DependentsExist").await;
    assert!(message.contains("library.loans"), "{message}");
    for key in &keys {
        let [from, table, column, ..] = key[..] else { panic!("{key:?}") };
        let drop = format!("ALTER TABLE {from}.{table} DROP CONSTRAINT {table}_{column}_fkey");
        world.sql_as(from, "owner", &drop);
    }
    world.until_gone(&world.api::<TenantSchema>(), "people").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_stands_is_adopted_as_the_example_says() {
    let mut world = World::bare().await;
    world.make_database(&world.database, &world.login());
    world.write_secret(json!({})).await;
    let mut database = documents_of(&folder().join("adoption/database.yaml")).remove(0);
    assert_eq!(database["spec"]["adoptable"][0], json!({ "pattern": "education", "namespace": "team-a" }));
    database["spec"]["adoptable"][0]["namespace"] = json!(world.namespace);
    database["spec"]["connection"]["secretRef"]["name"] = json!("postgres");
    world.apply_database(database["spec"].take()).await;
    world.start_operator().await;
    world.until_ready(&world.databases(), &world.database_ref(), "True", "Succeeded").await;
    world.sql("CREATE SCHEMA education; CREATE TABLE education.pupils AS SELECT 1 AS id");
    let name = apply_tenant(&world, documents_of(&folder().join("adoption/tenant.yaml")).remove(0)).await;
    let message = world.stalled_tenant(&name, "AdoptionPending").await;
    adoption::help(&world, &message);
    adoption::confirm(&world, &name, &message).await;
    world.ready_tenant(&name).await;
    assert_eq!(world.sql_as("education", "reader", "SELECT id FROM education.pupils"), "1");
    world.finish().await;
}
