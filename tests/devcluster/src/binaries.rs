//! The control plane's programs: taken from `KUBEBUILDER_ASSETS` or `setup-envtest` as far as they
//! have them, and built from Go modules otherwise. Helm and what is in `tests/tools` likewise, from
//! `PATH`. What is built goes into a cache that survives `cargo clean` and is shared by all checkouts.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::error::{Error, FileContext};
use crate::paths::{cache_dir, is_executable, lock, make_dir, on_path};
use crate::process::{describe, run, spawn_error};

/// The version of Kubernetes that is built, which the module file pins.
pub const KUBERNETES_VERSION: &str = "1.36.2";
/// The version of Helm that is built where there is none.
const HELM_VERSION: &str = "3.22.0";
const GO_MOD: &str = include_str!("../controlplane/go.mod");
const GO_SUM: &str = include_str!("../controlplane/go.sum");
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// The programs, cheapest to build first, with their packages.
const PROGRAMS: [(&str, &str); 4] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
];

/// Finds or builds all four programs, so that starting them later takes no longer than it has to.
pub(crate) fn provide_programs() -> Result<Vec<(&'static str, PathBuf)>, Error> {
    let cache = cache_dir()?.join("controlplane").join(KUBERNETES_VERSION);
    locate(&installed_assets(), &cache.join("bin"))
        .into_iter()
        .map(|(name, found)| match found {
            Some(found) => Ok((name, found)),
            None => Ok((name, build(name, &cache)?)),
        })
        .collect()
}

/// Links all four programs into one directory.
pub(crate) fn link_programs(into: &Path) -> Result<(), Error> {
    make_dir(into, 0o755)?;
    for (name, source) in provide_programs()? {
        let link = into.join(name);
        symlink(&source, &link).file("link", &link)?;
    }
    Ok(())
}

/// Where each program is, if it is anywhere: installed assets first, then the cache.
fn locate(assets: &[PathBuf], built: &Path) -> Vec<(&'static str, Option<PathBuf>)> {
    PROGRAMS
        .iter()
        .map(|(name, _)| {
            let found = assets
                .iter()
                .map(PathBuf::as_path)
                .chain([built])
                .map(|dir| dir.join(name))
                .find(|file| is_executable(file));
            (*name, found)
        })
        .collect()
}

fn installed_assets() -> Vec<PathBuf> {
    if let Some(dir) = std::env::var_os("KUBEBUILDER_ASSETS") {
        return vec![PathBuf::from(dir)];
    }
    let minor = KUBERNETES_VERSION.rsplit_once('.').map_or(KUBERNETES_VERSION, |(minor, _)| minor);
    on_path("setup-envtest")
        .and_then(|program| run(Command::new(program).args(["use", "-i", "-p", "path", &format!("{minor}.x")])).ok())
        .map(|printed| PathBuf::from(printed.trim()))
        .into_iter()
        .collect()
}

/// Builds one program under the cache's lock, unless another process has done so meanwhile.
fn build(name: &'static str, cache: &Path) -> Result<PathBuf, Error> {
    let lock_file = cache.join("lock");
    let _lock = lock(&lock_file)?;
    let bin = cache.join("bin");
    let program = bin.join(name);
    if is_executable(&program) {
        return Ok(program);
    }
    let go = find_go().ok_or_else(|| Error::Missing {
        what: format!("Go 1.26 or newer, to build {name} {KUBERNETES_VERSION} from Go modules"),
        remedy: "install it from your package manager or from the Go project's download page so \
                 that `go` is on PATH, or point KUBEBUILDER_ASSETS at a directory with etcd, \
                 kube-apiserver, kube-controller-manager and kubectl"
            .to_owned(),
    })?;
    make_dir(&bin, 0o755)?;
    let work = tempfile::Builder::new().prefix("build-").tempdir_in(cache).file("create a directory in", cache)?;
    for (file, text) in [("go.mod", GO_MOD), ("go.sum", GO_SUM)] {
        let path = work.path().join(file);
        fs::write(&path, text).file("write", &path)?;
    }
    let built = work.path().join(name);
    let package =
        PROGRAMS.iter().find_map(|(program, package)| (*program == name).then_some(*package)).unwrap_or_default();
    let mut command = Command::new(go);
    command
        .args(["build", "-v", "-trimpath", "-ldflags", &linker_flags(), "-o"])
        .arg(&built)
        .arg(package)
        .current_dir(work.path());
    run_with_progress(&mut command, &format!("{name} for Kubernetes {KUBERNETES_VERSION}"))?;
    fs::rename(&built, &program).file("put in place", &program)?;
    Ok(program)
}

/// Helm 3 from `PATH` or the cache, or else built; nothing where neither it nor Go is installed.
pub fn helm() -> Result<Option<PathBuf>, Error> {
    if let Some(helm) = on_path("helm").filter(|helm| is_helm_3(helm)) {
        return Ok(Some(helm));
    }
    let cache = cache_dir()?.join("helm").join(HELM_VERSION);
    build_once(&cache, "helm", |command, work| {
        command
            .args(["install", "-v", "-trimpath", "-ldflags", "-s -w"])
            .arg(format!("helm.sh/helm/v3/cmd/helm@v{HELM_VERSION}"))
            .env("GOBIN", work)
            // Inside a module `go install` of a version is refused under some settings.
            .current_dir(work);
    })
}

/// A package that a module in `tests/tools` pins: from the cache, or else built; nothing where Go is not installed. It is
/// built again when a file of the module changes.
pub fn go_tool(module: &Path, name: &str, package: &str) -> Result<Option<PathBuf>, Error> {
    let entries = fs::read_dir(module).and_then(Iterator::collect::<Result<Vec<_>, _>>).file("read", module)?;
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    files.sort();
    let mut content = DefaultHasher::new();
    for file in files {
        content.write(&fs::read(&file).file("read", &file)?);
    }
    let cache = cache_dir()?.join("tools").join(format!("{name}-{:016x}", content.finish()));
    build_once(&cache, name, |command, work| {
        command
            .args(["build", "-v", "-trimpath", "-ldflags", "-s -w", "-mod=readonly"])
            // Leaves out of Prometheus what finds targets at a dozen clouds, which is most of it.
            .args(["-tags", "remove_all_sd", "-o"])
            .arg(work.join(name))
            .arg(package)
            .env("CGO_ENABLED", "0")
            .current_dir(module);
    })
}

/// Builds a program into its cache unless it is there; nothing where Go is not installed. `prepare` completes a command of
/// Go so that it leaves the program in the directory that it is given.
fn build_once(cache: &Path, name: &str, prepare: impl FnOnce(&mut Command, &Path)) -> Result<Option<PathBuf>, Error> {
    let program = cache.join(name);
    if is_executable(&program) {
        return Ok(Some(program));
    }
    let Some(go) = find_go() else { return Ok(None) };
    let _lock = lock(&cache.join("lock"))?;
    if is_executable(&program) {
        return Ok(Some(program));
    }
    let work = tempfile::Builder::new().prefix("build-").tempdir_in(cache).file("create a directory in", cache)?;
    let mut command = Command::new(go);
    prepare(&mut command, work.path());
    run_with_progress(&mut command, name)?;
    fs::rename(work.path().join(name), &program).file("put in place", &program)?;
    Ok(Some(program))
}

fn is_helm_3(helm: &Path) -> bool {
    run(Command::new(helm).args(["version", "--short"])).is_ok_and(|printed| printed.starts_with("v3."))
}

fn find_go() -> Option<PathBuf> {
    on_path("go").or_else(|| {
        ["/usr/local/go/bin/go", "/usr/lib/go/bin/go", "/opt/homebrew/bin/go"]
            .iter()
            .map(PathBuf::from)
            .find(|file| is_executable(file))
    })
}

/// Without these the programs report version v0.0.0-master, and clients that check it refuse them.
fn linker_flags() -> String {
    let mut parts = KUBERNETES_VERSION.split('.');
    let major = parts.next().unwrap_or_default();
    let minor = parts.next().unwrap_or_default();
    let component = "k8s.io/component-base/version";
    format!(
        "-s -w -X {component}.gitVersion=v{KUBERNETES_VERSION} -X {component}.gitMajor={major} \
         -X {component}.gitMinor={minor} -X k8s.io/client-go/pkg/version.gitVersion=v{KUBERNETES_VERSION}"
    )
}

/// Runs a build and prints a line every few seconds, since it can take minutes.
fn run_with_progress(command: &mut Command, what: &str) -> Result<(), Error> {
    let begin = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| spawn_error(command, source))?;
    let (sender, lines) = channel();
    if let Some(stderr) = child.stderr.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    let mut printed: Vec<String> = Vec::new();
    let mut next = PROGRESS_EVERY;
    loop {
        match lines.recv_timeout(PROGRESS_EVERY) {
            Ok(line) => printed.push(line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if begin.elapsed() >= next {
            next = begin.elapsed() + PROGRESS_EVERY;
            eprintln!(
                "devcluster: building {what}, {} s, {} packages, now {} \
                 (once per machine, some minutes in all)",
                begin.elapsed().as_secs(),
                printed.len(),
                printed.last().map_or("downloading or linking", String::as_str),
            );
        }
    }
    let status = child.wait().map_err(|source| spawn_error(command, source))?;
    if status.success() {
        return Ok(());
    }
    let last = printed.len().saturating_sub(10);
    Err(Error::Command { command: describe(command), status: status.to_string(), output: printed[last..].join("\n") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn program(dir: &Path, name: &str) {
        fs::write(dir.join(name), "").unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn assets_come_before_the_cache_and_gaps_are_named() {
        let assets = tempfile::tempdir().unwrap();
        let built = tempfile::tempdir().unwrap();
        program(assets.path(), "etcd");
        program(built.path(), "etcd");
        program(built.path(), "kubectl");
        let found = locate(&[assets.path().to_owned()], built.path());
        assert_eq!(found[0], ("etcd", Some(assets.path().join("etcd"))));
        assert_eq!(found[1], ("kubectl", Some(built.path().join("kubectl"))));
        assert_eq!(found[2], ("kube-apiserver", None));
    }

    #[test]
    fn the_module_file_pins_the_version() {
        assert!(GO_MOD.contains(&format!("k8s.io/kubernetes v{KUBERNETES_VERSION} ")));
        assert!(linker_flags().contains("gitMinor=36"));
    }
}
