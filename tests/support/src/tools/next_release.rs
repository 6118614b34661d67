//! The release after this one, really built: these sources with a higher version, a higher contract and other functions.

use crate::repository;
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tenant_schema_operator::postgres::script::CONTRACT;

/// What it is called beside today's program, which it must not overwrite.
const PROGRAM: &str = "tenant-schema-operator-next";
/// What a build needs of a checkout.
const SOURCES: [&str; 9] =
    ["Cargo.toml", "Cargo.lock", "build.rs", "crates", "src", "sql", "benches", "tests/devcluster", "tests/support"];

/// One more column in a table whose rows are arguments of functions.
const REGISTRY: &str = "\
ALTER TABLE edu_matrix_hub_schema.tenant_schemas ADD COLUMN IF NOT EXISTS next_release text NOT NULL DEFAULT 'new';
";
/// One more management function.
const FUNCTION: &str = "\
CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.next_release(name text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, edu_matrix_hub_schema, pg_temp
AS $function$
    SELECT t.next_release FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.schema_name = $1
$function$;
REVOKE ALL ON FUNCTION edu_matrix_hub_schema.next_release(text) FROM PUBLIC;
";

/// The next release, built.
pub struct NextRelease {
    /// The program.
    pub program: PathBuf,
    /// Its version.
    pub version: String,
    /// Its contract.
    pub contract: i32,
    /// What raises unless its functions are installed.
    pub verify: String,
}

/// Builds it, once in this process; what is unchanged since the last time is not built again.
pub fn next_release() -> &'static NextRelease {
    static BUILT: OnceLock<NextRelease> = OnceLock::new();
    BUILT.get_or_init(build)
}

fn build() -> NextRelease {
    let target = devcluster::target_dir();
    // Always the same place: packages elsewhere would leave new artefacts behind with every run.
    let checkout = target.join("next-release");
    let (version, contract) = (next_version(), CONTRACT + 1);
    let sources = sources(&version, contract);
    let verify = text(&sources, "sql/verify/functions.sql");
    synchronise(&checkout, &sources);
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // With a test target, so that the dependencies have the features that tests give them, and are built already.
    command.args(["build", "--offline", "--locked", "--bin", PROGRAM, "--test", "next_release"]);
    // The variables that cargo sets for tests speak of another package, and ring is built again when one of them differs.
    let of_test =
        |name: &str| name == "OUT_DIR" || ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of| name.starts_with(of));
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_test)) {
        command.env_remove(name);
    }
    let built = command.current_dir(&checkout).env("CARGO_TARGET_DIR", &target).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    NextRelease { program: target.join("debug").join(PROGRAM), version, contract, verify }
}

/// The minor version after this one.
fn next_version() -> String {
    let mut numbers = env!("CARGO_PKG_VERSION").split(['.', '-', '+']).map(|number| number.parse::<u32>().unwrap_or(0));
    format!("{}.{}.0", numbers.next().unwrap(), numbers.next().unwrap() + 1)
}

type Sources = BTreeMap<PathBuf, Vec<u8>>;

fn sources(version: &str, contract: i32) -> Sources {
    let root = repository();
    let mut sources = Sources::new();
    for source in SOURCES {
        collect(root, &root.join(source), &mut sources);
    }
    let here = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
    let there = format!("version = \"{version}\"");
    edit(&mut sources, "Cargo.toml", &here, &there);
    let program = format!("\n[[bin]]\nname = \"{PROGRAM}\"\npath = \"src/main.rs\"\n\n[lints]\n");
    edit(&mut sources, "Cargo.toml", "\n[lints]\n", &program);
    for package in ["artefact", "devcluster", "support", "tenant-schema-api", "tenant-schema-operator"] {
        let entry = |version: &str| format!("name = \"{package}\"\n{version}\n");
        edit(&mut sources, "Cargo.lock", &entry(&here), &entry(&there));
    }
    let number = |contract: i32| format!("pub const CONTRACT: i32 = {contract};");
    edit(&mut sources, "src/postgres/script.rs", &number(CONTRACT), &number(contract));
    sources.insert("tests/next_release.rs".into(), b"//! No test.\n".to_vec());
    // Before the view of tenants, which shows the column.
    sources.insert("sql/registry/89_next_release.sql".into(), REGISTRY.into());
    edit(
        &mut sources,
        "sql/registry/90_tenant_rows.sql",
        "'config', t.config,",
        "'config', t.config, 'new', t.next_release,",
    );
    sources.insert("sql/schema_management/next_release.sql".into(), FUNCTION.into());
    edit(&mut sources, "sql/schema_management/_result.sql", "'status', $1,", "'release', 'next', 'status', $1,");
    let line = "            ('observe_backup',";
    let lines = format!("            ('next_release', 'name text', true, 1),\n{line}");
    edit(&mut sources, "sql/verify/functions.sql", line, &lines);
    sources
}

fn collect(root: &Path, path: &Path, sources: &mut Sources) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            collect(root, &entry.unwrap().path(), sources);
        }
    } else {
        sources.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(path).unwrap());
    }
}

fn text(sources: &Sources, path: &str) -> String {
    String::from_utf8(sources[Path::new(path)].clone()).unwrap()
}

fn edit(sources: &mut Sources, path: &str, from: &str, to: &str) {
    let before = text(sources, path);
    assert_eq!(before.matches(from).count(), 1, "{path} has {from:?} once");
    sources.insert(path.into(), before.replace(from, to).into());
}

/// Makes a directory have these files and no others; those that are so already keep their time.
fn synchronise(checkout: &Path, sources: &Sources) {
    let mut there = Sources::new();
    if checkout.exists() {
        collect(checkout, checkout, &mut there);
    }
    for gone in there.keys().filter(|path| !sources.contains_key(*path)) {
        fs::remove_file(checkout.join(gone)).unwrap();
    }
    for (path, content) in sources.iter().filter(|(path, content)| there.get(*path) != Some(*content)) {
        let path = checkout.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}
