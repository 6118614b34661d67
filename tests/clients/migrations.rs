//! Migration tools with the Secret of migrations and the Jobs of `examples/applications/migrations.yaml`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use support::world::World;
use tempfile::TempDir;

use crate::{
    pod::Pod,
    tenant::{APPLICATION, MIGRATION, acme, ask, example, is_refused, of_another_authority, rotate, secrets},
    tools,
};

/// What is told apart by its name: the migrations of the second release.
const SECOND: &str = "second";

/// Two releases of an application are migrated, the second one with the next password.
///
/// `prepare` lays out a release, without the files whose names have this word in them; `migrate` carries out the Job there.
async fn proves(
    job: &str,
    prepare: impl Fn(&Path, Option<&str>),
    migrate: impl Fn(&Pod, &Path) -> Result<String, String>,
) {
    let world = acme(json!({ "rotationGraceSeconds": 2 })).await;
    let first = secrets(&world).await;
    let manifest = example("migrations.yaml", job);
    let release = TempDir::new().unwrap();
    prepare(release.path(), Some(SECOND));
    // Another server that answers under this address is not believed.
    let error = migrate(&Pod::start(&manifest, &of_another_authority(&first)), release.path()).unwrap_err();
    assert!(error.to_lowercase().contains("certif"), "{error}");
    migrate(&Pod::start(&manifest, &first), release.path()).unwrap();
    let application = &first[APPLICATION];
    assert_eq!(ask(application, "INSERT INTO pupils (id, name) VALUES (1, 'Ada') RETURNING id").await.unwrap(), "1");
    assert_eq!(ask(application, "UPDATE pupils SET name = 'Eve' RETURNING name").await.unwrap(), "Eve");
    for refused in [
        "CREATE TABLE mine ()",
        "CREATE TABLE acme.mine ()",
        "CREATE VIEW mine AS SELECT 1",
        "ALTER TABLE pupils ADD COLUMN mine text",
        "ALTER TABLE pupils RENAME TO mine",
        "CREATE INDEX ON pupils (name)",
        "DROP TABLE pupils",
        "TRUNCATE pupils",
    ] {
        is_refused(application, refused).await;
    }
    all_is_the_owners(&world);

    let second = rotate(&world).await;
    assert_ne!(second[MIGRATION]["username"], first[MIGRATION]["username"]);
    let is_closed = async || ask(&first[MIGRATION], "SELECT 1").await.is_err();
    world.eventually("the former password opens nothing", is_closed).await;
    prepare(release.path(), None);
    migrate(&Pod::start(&manifest, &second), release.path()).unwrap();
    // Once more, as a Job that is tried again does: there is nothing left to do.
    migrate(&Pod::start(&manifest, &second), release.path()).unwrap();
    let application = &second[APPLICATION];
    ask(application, "INSERT INTO pupils (id, name, born) VALUES (2, 'Bob', '2015-01-01')").await.unwrap();
    ask(application, "INSERT INTO teachers (id) VALUES (1)").await.unwrap();
    assert_eq!(world.sql("SELECT to_regclass('acme.marks') IS NULL"), "t");
    is_refused(application, "DROP TABLE teachers").await;
    all_is_the_owners(&world);
    let events = world.events_about("acme").await;
    assert!(events.iter().all(|(reason, ..)| reason != "DriftRepaired"), "{events:?}");
    world.finish().await;
}

/// Everything in the schema belongs to the owner role, and nothing was made elsewhere.
fn all_is_the_owners(world: &World) {
    let owner = world.sql("SELECT owner_role FROM edu_matrix_hub_schema.tenant_schemas");
    let relations = "SELECT string_agg(DISTINCT relnamespace::regnamespace || ' ' || pg_get_userbyid(relowner), ', ') \
                     FROM pg_class WHERE relnamespace IN ('acme'::regnamespace, 'public'::regnamespace)";
    assert_eq!(world.sql(relations), format!("acme {owner}"));
}

/// The program of the command's first word, with the others.
fn carry_out(pod: &Pod, program: &Path, words: &[String], folder: &Path) -> Result<String, String> {
    tools::attempt(pod.command(program).args(words).current_dir(folder))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "fetches packages: make test-clients"]
async fn django() {
    let python = tools::python();
    let prepare = |folder: &Path, without: Option<&str>| {
        tools::copy(&tools::source("python").join("django"), folder, without);
    };
    let migrate = |pod: &Pod, folder: &Path| {
        pod.copy_here("django", folder);
        let words = pod.words();
        carry_out(pod, &python.join(&words[0]), &words[1..], folder)
    };
    proves("acme-migrate-django", prepare, migrate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "fetches packages: make test-clients"]
async fn alembic() {
    let python = tools::python();
    let prepare = |folder: &Path, without: Option<&str>| {
        tools::copy(&tools::source("python").join("alembic"), folder, without);
    };
    let migrate = |pod: &Pod, folder: &Path| {
        let words = pod.words();
        carry_out(pod, &python.join(&words[0]), &words[1..], folder)
    };
    proves("acme-migrate-alembic", prepare, migrate).await;
}

/// Lays out the migrations that are SQL under the names that a tool wants.
fn sql(folder: &Path, without: Option<&str>, name: impl Fn(usize, &str) -> PathBuf) {
    for (number, which) in ["first", SECOND].into_iter().enumerate().filter(|(_, which)| Some(*which) != without) {
        let file = folder.join(name(number + 1, which));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::copy(tools::source("sql").join(format!("{which}.sql")), file).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "fetches packages: make test-clients"]
async fn golang_migrate() {
    let program = tools::go_home().join("migrate");
    let prepare = |folder: &Path, without: Option<&str>| {
        sql(folder, without, |number, which| format!("{number}_{which}.up.sql").into());
    };
    let migrate = |pod: &Pod, folder: &Path| {
        let here = |word: &String| word.replace("/migrations", folder.to_str().unwrap());
        let words: Vec<_> = pod.words().iter().map(here).collect();
        carry_out(pod, &program, &words[1..], folder)
    };
    proves("acme-migrate-golang", prepare, migrate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "fetches packages: make test-clients"]
async fn flyway() {
    let home = tools::java();
    let prepare = |folder: &Path, without: Option<&str>| {
        sql(folder, without, |number, which| format!("V{number}__{which}.sql").into());
    };
    let migrate = |pod: &Pod, folder: &Path| {
        let maven = tools::maven(&home);
        let goal =
            [format!("flyway:{}", pod.words()[0]), format!("-Dflyway.locations=filesystem:{}", folder.display())];
        tools::attempt(pod.command(Path::new(maven.get_program())).args(maven.get_args()).arg("--offline").args(goal))
    };
    proves("acme-migrate-flyway", prepare, migrate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "fetches packages: make test-clients"]
async fn prisma() {
    let home = tools::node();
    let prepare = |folder: &Path, without: Option<&str>| {
        sql(&folder.join("migrations"), without, |number, which| format!("{number}_{which}/migration.sql").into());
        fs::write(folder.join("migrations/migration_lock.toml"), "provider = \"postgresql\"\n").unwrap();
        for file in ["prisma.config.mjs", "migrations.prisma"] {
            fs::copy(tools::source("node").join(file), folder.join(file)).unwrap();
        }
    };
    let migrate = |pod: &Pod, folder: &Path| {
        // Node looks for packages in the folders above.
        let project = tempfile::tempdir_in(&home).unwrap();
        tools::copy(folder, project.path(), None);
        let words = pod.words();
        assert_eq!(words[..2], ["npx", "prisma"]);
        let mut command = pod.command(Path::new("node"));
        command.arg(home.join("node_modules/prisma-6/build/index.js")).args(&words[2..]).current_dir(project.path());
        tools::attempt(tools::without_engines(&mut command))
    };
    proves("acme-migrate-prisma", prepare, migrate).await;
}
