//! Schemas that frameworks made become tenants, and their applications go on with the login that they have.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use support::world::World;
use tempfile::TempDir;
use tenant_schema_operator::api::{CONFIRM_ADOPT, TenantSchema};

use crate::tools;

/// A database in which an application has a login of its own and may make schemas, as frameworks ask for.
struct Site {
    world: World,
    login: String,
}

impl Site {
    async fn new() -> Self {
        let world = World::new(json!({})).await;
        let login = format!("{}_site", world.database);
        world.sql(&format!(
            "CREATE ROLE {login} LOGIN PASSWORD 'pw'; GRANT CREATE ON DATABASE {} TO {login}; \
             CREATE SCHEMA shared AUTHORIZATION {login}",
            world.database
        ));
        if world.postgres.major() >= 16 {
            let grant = format!("GRANT {login} TO {} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE", world.owner_role());
            world.sql(&grant);
        }
        let offered = json!([{ "pattern": "north.*|Courses", "namespace": world.namespace }]);
        let offer = kube::api::Patch::Merge(json!({ "spec": { "adoptable": offered } }));
        let parameters = kube::api::PatchParams::default();
        world.databases().patch(&world.database_ref(), &parameters, &offer).await.unwrap();
        Self { world, login }
    }

    /// Runs a program as the application does.
    fn run(&self, program: &Path, arguments: &[&str], folder: &Path) -> String {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder);
        tools::run(self.with_login(&mut command))
    }

    fn with_login<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let postgres = &self.world.postgres;
        command
            .env("PGHOST", &postgres.host)
            .env("PGPORT", postgres.port.to_string())
            .env("PGDATABASE", &self.world.database)
            .env("PGUSER", &self.login)
            .env("PGPASSWORD", "pw")
    }

    /// Asks for a schema, confirms what is told, and waits until it is a tenant's.
    async fn adopt(&self, name: &str, schema: &str) {
        let spec = json!({ "schemaName": schema, "existingSchema": "Adopt" });
        self.world.apply_tenant(name, spec).await;
        let message = self.world.stalled_tenant(name, "AdoptionPending").await;
        assert!(!message.contains("a DBA has to run"), "{message}");
        self.world.annotate::<TenantSchema>(name, CONFIRM_ADOPT, &World::value_told(&message, CONFIRM_ADOPT)).await;
        self.world.ready_tenant(name).await;
    }

    /// What the site's login makes in a tenant's schema is told with the statement that gives it to the owner role; types it.
    async fn gives_on(&self, name: &str, schema: &str, table: &str) {
        let tells = async || self.world.tenant_looked_at(name).await.status.unwrap().summary.unwrap().message;
        let statement = format!("ALTER TABLE {schema}.{table} OWNER TO");
        self.world.eventually("the new table is told", async || tells().await.contains(&statement)).await;
        self.world.sql(tells().await.split_once("owner role: ").unwrap().1);
        let is_done = async || !tells().await.contains(table.trim_matches('"'));
        self.world.eventually("nothing is told of it any more", is_done).await;
    }

    async fn finish(self) {
        let Self { world, login } = self;
        let postgres = world.postgres.clone();
        world.finish().await;
        postgres.psql("postgres", &format!("DROP ROLE {login}")).unwrap();
    }
}

/// The files of a release, without those whose names have this word in them.
fn release(language: &str, project: &str, without: Option<&str>) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    tools::copy(&tools::source(language).join(project), folder.path(), without);
    let path = folder.path().to_owned();
    (folder, path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "fetches packages: make test-clients"]
async fn django_tenants() {
    let python = tools::python().join("python");
    let site = Site::new().await;
    let (_first, first) = release("python", "django_tenants", Some("second"));
    site.run(&python, &["manage.py", "migrate_schemas", "--shared"], &first);
    let count = |folder: &Path, arguments: &[&str]| {
        let all: Vec<_> = ["site_client.py"].iter().chain(arguments).copied().collect();
        site.run(&python, &all, folder).lines().last().unwrap().to_owned()
    };
    assert_eq!(count(&first, &["make", "north-school", "maths"]), "1");
    let tables =
        "SELECT count(*) FROM pg_class WHERE relnamespace = '\"north-school\"'::regnamespace AND relkind = 'r'";
    let before = site.world.sql(tables);
    site.adopt("north", "north-school").await;
    assert_eq!(site.world.sql(tables), before);

    // The site goes on, and its next release migrates the schema with the login that it has.
    assert_eq!(count(&first, &["add", "north-school", "physics"]), "2");
    let (_second, second) = release("python", "django_tenants", None);
    site.run(&python, &["manage.py", "migrate_schemas"], &second);
    assert_eq!(count(&second, &["add", "north-school", "art"]), "3");
    site.gives_on("north", "\"north-school\"", "courses_lesson").await;
    // Another school is made as always, and is no tenant until one asks for it.
    assert_eq!(count(&second, &["make", "north-college"]), "0");
    site.adopt("college", "north-college").await;
    assert_eq!(count(&second, &["add", "north-college", "law"]), "1");
    fs::remove_dir_all(&second).unwrap();
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "fetches packages: make test-clients"]
async fn prisma_with_several_schemas() {
    let home = tools::node();
    let site = Site::new().await;
    // Node looks for packages in the folders above.
    let release = tempfile::tempdir_in(&home).unwrap();
    let folder = release.path();
    let prepare = |without: Option<&str>| tools::copy(&tools::source("node").join("multi_schema"), folder, without);
    let run = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder);
        tools::run(tools::without_engines(site.with_login(&mut command)))
    };
    let engine = home.join("node_modules/prisma-6/build/index.js");
    let migrate = || run(Path::new("node"), &[engine.to_str().unwrap(), "migrate", "deploy"]);
    let add = |arguments: &[&str]| {
        let all: Vec<_> = ["site_client.ts"].iter().chain(arguments).copied().collect();
        run(&home.join("node_modules/.bin/tsx"), &all).lines().last().unwrap().to_owned()
    };
    prepare(Some("second"));
    fs::copy(home.join("package.json"), folder.join("package.json")).unwrap();
    run(&home.join("node_modules/.bin/prisma"), &["generate", "--schema", "schema.prisma"]);
    migrate();
    assert_eq!(add(&["Sums"]), "1");
    site.adopt("courses", "Courses").await;

    // The site goes on, and its next release changes an enum and a column and makes a table, with the login that it has.
    assert_eq!(add(&["Greek"]), "2");
    prepare(None);
    migrate();
    assert_eq!(add(&["Physics", "in a room"]), "3");
    site.gives_on("courses", "\"Courses\"", "\"Room\"").await;
    assert_eq!(add(&["Chemistry", "in a room"]), "4");
    site.finish().await;
}
