//! The commands of `docs/operations.md` and of the runbooks, typed as they stand there. Names of the examples become those of
//! the test; SQL is undone again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use tenant_schema_operator::api::{REBIND, RECLAIM, SchemaBackup, TenantSchema, condition::Reason};

use crate::world::World;

fn read(path: &Path) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The pages, in the order of their names.
fn pages() -> Vec<PathBuf> {
    let runbooks = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks")).unwrap();
    let mut pages: Vec<_> = runbooks.map(|entry| entry.unwrap().path()).collect();
    pages.push("docs/operations.md".into());
    pages.sort();
    pages
}

/// The blocks of a page in this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    page.split(&format!("```{language}\n")).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// What a command prints; fails with what it says is wrong.
fn succeeds(page: &Path, command: &mut Command, text: &str) -> String {
    let output = command.output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let error = said(&output.stderr);
    assert!(output.status.success() && !error.contains("ERROR"), "{}:\n{text}\n{error}", page.display());
    said(&output.stdout)
}

/// What these tests do in their world.
pub trait Documented {
    fn translated(&self, text: &str) -> String;
    fn shell(&self, page: &Path, place: &Path, text: &str) -> String;
    fn typed(&self, page: &Path, text: &str, stays: bool) -> String;
}

impl Documented for World {
    /// The words of the documents in the words of this test.
    fn translated(&self, text: &str) -> String {
        let database = self.database_ref();
        [
            ("team-a", self.namespace.as_str()),
            ("tenant-schema-system", &self.operator_namespace),
            ("tenant-database-default", &format!("tenant-database-{database}")),
            ("default-postgres", "postgres"),
            ("tenantdatabase default", &format!("tenantdatabase {database}")),
            ("tenantdatabase/default", &format!("tenantdatabase/{database}")),
            ("edu_matrix_owner", &self.owner_role()),
            ("edu_matrix_operator", &format!("e2e_{}_operator", self.id)),
            ("tenant_operator", &self.login()),
            ("a-new-password", "pw"),
            ("{generateName: school-}", &format!("{{generateName: school-, labels: {{e2e: \"{}\"}}}}", self.id)),
        ]
        .into_iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    /// Runs a block of shell where kubectl and psql find this test's cluster and database.
    fn shell(&self, page: &Path, place: &Path, text: &str) -> String {
        let text = self.translated(text);
        let shared = devcluster::shared().unwrap();
        let programs = [self.postgres.tool("pg_dump").unwrap(), self.postgres.tool("psql").unwrap(), shared.kubectl()];
        let dirs = programs.iter().map(|program| program.parent().unwrap().to_owned());
        let path = std::env::join_paths(dirs.chain(std::env::split_paths(&std::env::var_os("PATH").unwrap()))).unwrap();
        let mut command = Command::new("bash");
        command.args(["-euc", &text]).current_dir(place).env("PATH", path).env("KUBECONFIG", shared.kubeconfig_path());
        command.envs(self.postgres.env()).env("PGDATABASE", &self.database);
        succeeds(page, &mut command, &text)
    }

    /// Runs a block of SQL, and undoes it unless it is to stay.
    fn typed(&self, page: &Path, text: &str, stays: bool) -> String {
        let text = self.translated(text);
        let mut command = Command::new(self.postgres.tool("psql").unwrap());
        command.envs(self.postgres.env()).args(["-XAt", "-v", "ON_ERROR_STOP=1", "-d", &self.database]);
        let all = if stays { text.clone() } else { format!("BEGIN;\n{text}\nROLLBACK;") };
        succeeds(page, command.args(["-c", &all]), &text)
    }
}

#[test]
fn every_reason_has_its_next_command() {
    let page = read(Path::new("docs/operations.md"));
    let quiet = [Reason::Succeeded, Reason::Suspended, Reason::Completed, Reason::Expired];
    let missing = Reason::ALL.iter().filter(|reason| !quiet.contains(reason) && !page.contains(&format!("`{reason}`")));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&Reason>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_documents_say_to_type_can_be_typed() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school", "quota": { "limit": "5Gi" } })).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT generate_series(1, 1000) AS id");
    let place = tempfile::tempdir().unwrap();
    let mut typed = 0;
    for path in pages() {
        let page = read(&path);
        for text in blocks(&page, "sql") {
            world.typed(&path, text, false);
            typed += 1;
        }
        for text in blocks(&page, "sh") {
            world.shell(&path, place.path(), text);
            typed += 1;
        }
    }
    assert!(typed > 40, "{typed} blocks were found");

    // What was typed had its effect.
    let made = world.api::<SchemaBackup>().list(&kube::api::ListParams::default()).await.unwrap().items;
    world
        .until_ready(&world.api::<SchemaBackup>(), made[0].metadata.name.as_deref().unwrap(), "True", "Completed")
        .await;
    let tenant = world.api::<TenantSchema>().get("school").await.unwrap();
    let abandons = format!("school@{}", tenant.metadata.uid.unwrap());
    assert_eq!(tenant.metadata.annotations.unwrap()["edumatrixhub.io/abandon"], abandons);
    assert_eq!(tenant.spec.quota.unwrap().limit.as_deref(), Some("10Gi"));
    assert!(fs::metadata(place.path().join("tenants.dump")).unwrap().len() > 10_000);
    world.kubectl(&["-n", &world.namespace, "delete", "schemabackup", "--all"]);
    // A page lets surveys be rarer, and the tenant was closed since the last one.
    let often = r#"{"spec":{"surveyPeriodSeconds":5}}"#;
    world.kubectl(&["patch", "tenantdatabase", &world.database_ref(), "--type", "merge", "-p", often]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_restored_to_an_earlier_instant_is_worked_with() {
    let mut world = World::new(json!({})).await;
    let operations = Path::new("docs/operations.md");
    let page = read(operations);
    let block = |language: &str, words: &str| {
        let found = blocks(&page, language).into_iter().find(|block| block.contains(words));
        found.unwrap_or_else(|| panic!("no block with {words}")).to_owned()
    };
    for name in ["stays", "school"] {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
        world.ready_tenant(name).await;
        world.sql_as(name, "owner", &format!("CREATE TABLE {name}.pupils AS SELECT 7 AS id"));
    }
    let place = tempfile::tempdir().unwrap();
    world.shell(operations, place.path(), &block("sh", "pg_dump "));

    // What happens after the instant that is come back to.
    world.delete_tenant("school").await;
    world.apply_tenant("later", json!({ "schemaName": "later" })).await;
    world.ready_tenant("later").await;
    // Other tests may have tenants of this name on the same server.
    let roles_of_later = world.sql(
        "SELECT concat_ws(', ', owner_role, reader_role, writer_role) FROM edu_matrix_hub_schema.tenant_schemas
         WHERE schema_name = 'later'",
    );
    world.stop_operator().await;
    let old = std::mem::replace(&mut world.database, format!("e2e_{}_restored", world.id));
    world.sql_in("postgres", &format!("CREATE DATABASE {} OWNER {}", world.database, world.login()));
    world.shell(operations, place.path(), "pg_restore --dbname=\"$PGDATABASE\" tenants.dump");
    world.write_secret(json!({})).await;
    world.start_operator().await;
    let installation = world.database_ready().await.status.unwrap().installation_id.unwrap();
    // A dump has other identifiers than the database that it was taken of: a person says that it is the same.
    world.stalled_tenant("stays", "SchemaMissing").await;
    world.annotate_database(REBIND, &installation).await;
    world.settled_tenant("stays").await;
    assert_eq!(world.sql_as("stays", "reader", "SELECT id FROM stays.pupils"), "7");

    // Made in between.
    world.stalled_tenant("later", "SchemaMissing").await;
    world.delete_tenant("later").await;
    world.apply_tenant("later", json!({ "schemaName": "later" })).await;
    world.ready_tenant("later").await;

    // Deleted in between.
    let status = "SELECT status FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'school'";
    world.eventually("the tenant without an object is released", async || world.sql(status) == "released").await;
    let orphans = world.typed(operations, &block("sql", "owner_name"), true);
    assert_eq!(orphans.trim(), format!("school|{}|school", world.namespace));
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.stalled_tenant("school", "Conflict").await;
    world.annotate::<TenantSchema>("school", RECLAIM, "school").await;
    world.ready_tenant("school").await;
    assert_eq!(world.sql_as("school", "reader", "SELECT id FROM school.pupils"), "7");

    world.sql_in("postgres", &format!("DROP DATABASE {old} WITH (FORCE)"));
    for role in roles_of_later.split(", ") {
        world.sql_in("postgres", &format!("DROP ROLE IF EXISTS \"{role}\""));
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_was_dropped_comes_back_from_a_dump_as_the_page_says() {
    let world = World::new(json!({})).await;
    let (operations, deleted) = (Path::new("docs/operations.md"), Path::new("docs/everything-was-deleted.md"));
    let typed = |path: &Path, words: &str, place: &Path| {
        let page = read(path);
        let block = blocks(&page, "sh").into_iter().find(|block| block.contains(words)).map(str::to_owned);
        world.shell(path, place, &block.unwrap_or_else(|| panic!("no block with {words}")));
    };
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 7 AS id");
    let place = tempfile::tempdir().unwrap();
    typed(operations, "pg_dump ", place.path());
    world.sql("DROP SCHEMA school CASCADE");
    let message = world.stalled_tenant("school", "SchemaMissing").await;
    assert!(message.contains("docs/everything-was-deleted.md#one-schema"), "{message}");
    typed(deleted, "pg_restore --schema", place.path());
    let told = async || world.stalled_tenant("school", "SchemaMissing").await.contains(REBIND);
    world.eventually("the tenant says what to type", told).await;
    let message = world.stalled_tenant("school", "SchemaMissing").await;
    let command = message.split_once("kubectl ").unwrap().1.split(';').next().unwrap();
    world.kubectl(&command.split_whitespace().collect::<Vec<_>>());
    world.ready_tenant("school").await;
    assert_eq!(world.sql_as("school", "reader", "SELECT id FROM school.pupils"), "7");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_page_on_security_says_who_may_do_what_is_so() {
    let mut world = World::without_operator(json!({})).await;
    world.guard_secrets();
    world.start_operator().await;
    world.apply_tenant("acme", json!({ "schemaName": "acme", "connectionSecret": { "name": "acme-db" } })).await;
    let (security, connect) = (Path::new("docs/security.md"), Path::new("docs/connect.md"));
    let place = tempfile::tempdir().unwrap();
    for page in [connect, security] {
        for text in blocks(&read(page), "sh") {
            // To a question whether a user may, kubectl answers no by failing.
            world.shell(page, place.path(), &format!("{} || [[ \"{}\" == *auth* ]]", text.trim(), text.trim()));
        }
    }
    let page = read(security);
    for text in blocks(&page, "sql") {
        assert!(world.typed(security, text, false).contains("TenantSchema"), "{text}");
    }
    let roles: Vec<_> = blocks(&page, "yaml").into_iter().filter(|text| text.contains("kind: Role\n")).collect();
    assert_eq!(roles.len(), 4);
    let name = |text: &str| text.lines().find_map(|line| line.strip_prefix("  name: ")).unwrap().to_owned();
    for text in &roles {
        let role = name(text);
        world.shell(security, place.path(), &format!("kubectl apply -f - <<'Y'\n{text}Y"));
        let bind = format!("kubectl -n team-a create rolebinding {role} --role={role} --user={role}");
        world.shell(security, place.path(), &bind);
    }
    let asked = [
        ("developer", "list tenantschemas.edumatrixhub.io", true),
        ("developer", "get pods/log", true),
        ("developer", "patch tenantschemas.edumatrixhub.io", false),
        ("developer", "get secret/acme-db", false),
        ("developer", "create pods/exec", false),
        ("tenant-on-call", "patch tenantschemas.edumatrixhub.io", true),
        ("tenant-on-call", "delete tenantschemas.edumatrixhub.io", false),
        ("tenant-on-call", "get secret/acme-db", false),
        ("acme-db", "get secret/acme-db", true),
        ("acme-db", "get secret/another", false),
        ("acme-db", "list secrets", false),
        ("tenant-owner", "delete tenantschemas.edumatrixhub.io", true),
        ("tenant-owner", "get secret/acme-db", false),
    ];
    for (user, what, may) in asked {
        let ask = format!("kubectl auth can-i {what} -n team-a --as={user} || true");
        let answer = world.shell(security, place.path(), &ask);
        assert_eq!(answer.trim(), if may { "yes" } else { "no" }, "{user} {what}");
    }
    world.finish().await;
}
