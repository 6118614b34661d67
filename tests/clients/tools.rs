//! What is fetched: once, into `target/clients`, and again when a file that pins it changes.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use support::repository;

/// The files that a language's packages are pinned by, fetched into a folder in which they are as well.
fn fetched(language: &str, pinned_by: &[&str], fetch: impl FnOnce(&Path)) -> PathBuf {
    let all = devcluster::target_dir().join("clients");
    fs::create_dir_all(&all).unwrap();
    let lock = File::create(all.join(format!("{language}.lock"))).unwrap();
    lock.lock().unwrap();
    let (from, home) = (source(language), all.join(language));
    let wanted: String = pinned_by.iter().map(|file| fs::read_to_string(from.join(file)).unwrap()).collect();
    let done = home.join("fetched");
    if fs::read_to_string(&done).is_ok_and(|text| text == wanted) {
        return home;
    }
    eprintln!("clients: fetching what {language} needs into {}", home.display());
    if home.exists() {
        fs::remove_dir_all(&home).unwrap();
    }
    fs::create_dir(&home).unwrap();
    for file in pinned_by {
        fs::copy(from.join(file), home.join(file)).unwrap();
    }
    fetch(&home);
    fs::write(done, wanted).unwrap();
    home
}

/// The folder of a language's files.
pub fn source(language: &str) -> PathBuf {
    repository().join("tests/clients").join(language)
}

/// Copies what is in a folder into another one, but for files and folders whose names have this word in them.
pub fn copy(from: &Path, into: &Path, without: Option<&str>) {
    fs::create_dir_all(into).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if without.is_some_and(|word| name.contains(word)) {
            continue;
        }
        if entry.path().is_dir() {
            copy(&entry.path(), &into.join(name), without);
        } else {
            fs::copy(entry.path(), into.join(name)).unwrap();
        }
    }
}

/// Fails with what is missing, unless the command says that it is there.
fn needs(program: &str, arguments: &[&str], what: &str, remedy: &str) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let is_there = command.status().is_ok_and(|status| status.success());
    assert!(is_there, "missing: {what}\n    {remedy}");
}

/// Runs a command that has to succeed; returns what it printed.
pub fn run(command: &mut Command) -> String {
    attempt(command).unwrap_or_else(|text| panic!("{command:?}:\n{text}"))
}

/// Runs a command; what it printed, as an error if it failed.
pub fn attempt(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(text) } else { Err(text) }
}

/// A folder with the programs of Python's packages.
pub fn python() -> PathBuf {
    let home = fetched("python", &["requirements.txt"], |home| {
        let is_new = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))";
        needs("python3", &["-c", is_new], "Python 3.10 or newer with venv", "apt-get install python3 python3-venv");
        run(Command::new("python3").args(["-m", "venv"]).arg(home.join("venv")));
        let mut pip = Command::new(home.join("venv/bin/pip"));
        run(pip
            .args(["install", "--quiet", "--no-deps", "--require-hashes", "-r", "requirements.txt"])
            .current_dir(home));
    });
    home.join("venv/bin")
}

/// A folder with the packages of Node.
pub fn node() -> PathBuf {
    fetched("node", &["package.json", "package-lock.json"], |home| {
        let is_new = "const [a, b] = process.versions.node.split('.').map(Number); process.exit(a > 20 || a == 20 && b > 18 ? 0 : 1)";
        needs("node", &["-e", is_new], "Node 20.19 or newer", "install it so that node and npm are on PATH");
        needs("npm", &["--version"], "npm", "install it so that it is on PATH");
        // The scripts of Prisma's packages fetch engines from elsewhere, which nothing here runs.
        run(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(home));
    })
}

/// Keeps Prisma from fetching engines of machine code from a host that is no registry. What is run here needs none, and would
/// fail if it started this one.
pub fn without_engines(command: &mut Command) -> &mut Command {
    command.env("PRISMA_SCHEMA_ENGINE_BINARY", "/bin/false").env("PRISMA_QUERY_ENGINE_LIBRARY", "/bin/false")
}

/// Go, with its modules in the folder of what is fetched.
pub fn go(home: &Path) -> Command {
    let mut command = Command::new("go");
    command.env("GOMODCACHE", home.join("modules")).env("GOFLAGS", "-mod=readonly -modcacherw").env("CGO_ENABLED", "0");
    command
}

/// A folder with the program `migrate` and the modules of Go.
pub fn go_home() -> PathBuf {
    fetched("go", &["go.mod", "go.sum"], |home| {
        needs("go", &["version"], "Go 1.26 or newer", "install it so that go is on PATH");
        let package = "github.com/golang-migrate/migrate/v4/cmd/migrate";
        run(go(home).args(["build", "-tags", "postgres", "-o", "migrate", package]).current_dir(home));
    })
}

/// Maven, with its repository in the folder of what is fetched.
pub fn maven(home: &Path) -> Command {
    let mut command = Command::new("mvn");
    command.args(["--batch-mode", "--quiet", "-f"]).arg(home.join("pom.xml"));
    command.arg(format!("-Dmaven.repo.local={}", home.join("repository").display()));
    command
}

/// A folder with the libraries of Java in `lib`.
pub fn java() -> PathBuf {
    fetched("java", &["pom.xml"], |home| {
        needs("javac", &["--release", "17", "--version"], "a JDK, 17 or newer", "apt-get install default-jdk-headless");
        needs("mvn", &["--version"], "Maven", "apt-get install maven");
        run(maven(home).args(["dependency:copy-dependencies", "-DoutputDirectory=lib"]));
        // Fetches what Flyway needs and does nothing.
        run(maven(home).args(["flyway:migrate", "-Dflyway.skip=true"]));
    })
}

/// A program of this crate, in which its files were copied.
pub fn rust(project: &Path) -> PathBuf {
    let home = devcluster::target_dir().join("clients/rust");
    let build = ["build", "--locked", "--quiet", "--target-dir"];
    run(Command::new("cargo").args(build).arg(&home).current_dir(project));
    home.join("debug/client")
}
