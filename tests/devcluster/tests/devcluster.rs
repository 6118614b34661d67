//! The whole thing, for real: clusters side by side, their members and guards killed, servers of
//! one's own broken and mended, and after each of these nothing left.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test as the test would")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use devcluster::{
    Cluster, ControlPlane, ControlPlaneOptions, PostgresInfo, PostgresOptions, PostgresServer, PostgresVersion,
    ServerCertificate, StopMode, shared, wait_until,
};

const SOON: Duration = Duration::from_secs(30);

/// A directory for this test alone, under the build's own.
fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()))
}

fn devcluster(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_devcluster"))
        .env_remove("DEVCLUSTER_DIR")
        .arg("--dir")
        .arg(dir)
        .args(args)
        .output()
        .unwrap()
}

fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn kill(pid: u32) {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// The live processes that name this place on their command line or work in it.
fn processes_at(place: &Path) -> Vec<String> {
    let place = place.to_str().unwrap();
    let me = std::process::id().to_string();
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().into_string().ok()?;
            if pid == me || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            (line.contains(place) || cwd.starts_with(place)).then(|| format!("{pid} {line}"))
        })
        .collect()
}

fn wait_for_nothing(places: &[&Path]) {
    let mut left = Vec::new();
    let gone = wait_until(SOON, "every process to end", || {
        left = places.iter().flat_map(|place| processes_at(place)).collect();
        left.is_empty()
    });
    assert!(gone.is_ok(), "left running: {left:#?}");
}

fn assert_answers(cluster: &Cluster) {
    let info = cluster.info().unwrap();
    let ready = info.control_plane.kubectl(&["get", "--raw", "/readyz"]).unwrap();
    assert_eq!(ready.trim(), "ok");
    assert_eq!(info.postgres.psql("postgres", "select 40 + 2").unwrap(), "42");
}

fn pid_of(cluster: &Cluster, name: &str) -> u32 {
    let members = cluster.status();
    let found = members.iter().find(|one| one.member.name == name).unwrap();
    assert!(found.ready, "{name} is ready");
    found.member.process.pid
}

/// Says whether everything is gone once this member has been killed.
fn assert_kill_ends_all(cluster: &Cluster, member: &str) {
    let data = cluster.info().unwrap().postgres.data_dir;
    kill(pid_of(cluster, member));
    wait_for_nothing(&[cluster.dir(), &data]);
    assert!(!data.exists() && cluster.status().is_empty());
}

#[test]
fn two_side_by_side_leave_nothing_whichever_is_killed() {
    let dirs = [scratch("one"), scratch("two")];
    std::thread::scope(|scope| {
        for dir in &dirs {
            scope.spawn(|| succeed(&devcluster(dir, &["up"])));
        }
    });
    let [one, two] = dirs.each_ref().map(|dir| Cluster::at(dir));
    assert_answers(&one);
    assert_answers(&two);
    let before = one.info().unwrap();
    assert_ne!(before.postgres.port, two.info().unwrap().postgres.port);
    succeed(&devcluster(one.dir(), &["up"]));
    let again = one.info().unwrap();
    assert_eq!(again.postgres.port, before.postgres.port, "up is idempotent");
    assert!(succeed(&devcluster(one.dir(), &["status"])).contains("kube-controller-manager"));
    let exports = succeed(&devcluster(one.dir(), &["env"]));
    for name in ["KUBECONFIG", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGSSLROOTCERT", "PATH", "DEVCLUSTER_DIR"] {
        assert!(exports.contains(&format!("export {name}='")), "{exports}");
    }
    let refused = devcluster(one.dir(), &["up", "--postgres", "10"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("devcluster down"));

    let plane = again.control_plane;
    plane.kubectl(&["create", "namespace", "gone"]).unwrap();
    plane.kubectl(&["create", "configmap", "inside", "-n", "gone"]).unwrap();
    plane.kubectl(&["delete", "namespace", "gone", "--timeout=30s"]).unwrap();

    assert_kill_ends_all(&one, "postgres");
    let said = devcluster(one.dir(), &["status"]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("postgres has ended"));
    assert_answers(&two);
    assert_kill_ends_all(&two, "guard");

    // With both guards gone at the same moment only the state files tell what runs.
    succeed(&devcluster(two.dir(), &["up"]));
    let guards = [pid_of(&two, "guard"), pid_of(&two, "guard-of-guard")];
    Command::new("kill").arg("-9").args(guards.map(|pid| pid.to_string())).status().unwrap();
    succeed(&devcluster(two.dir(), &["down"]));
    wait_for_nothing(&[two.dir()]);
    for dir in &dirs {
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn a_command_runs_in_a_cluster_of_its_own() {
    let dir = scratch("exec");
    let script = "test \"$(kubectl get --raw /readyz)\" = ok && psql -Xqc 'select 1' \
                  && test -d \"$DEVCLUSTER_DIR\" && exit 7";
    let output = devcluster(&dir, &["exec", "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    wait_for_nothing(&[&dir]);
    fs::remove_dir_all(&dir).unwrap();
}

fn tls(info: &PostgresInfo) -> Result<Output, std::io::Error> {
    Command::new(info.tool("psql").unwrap())
        .args(["-XAtqc", "select ssl from pg_stat_ssl where pid = pg_backend_pid()"])
        .arg(info.conninfo("postgres"))
        .output()
}

#[test]
fn a_server_of_ones_own_can_be_broken_and_mended() {
    let options =
        PostgresOptions { settings: vec![("work_mem".to_owned(), "5MB".to_owned())], ..PostgresOptions::default() };
    let mut server = PostgresServer::start(options).unwrap();
    let info = server.info().clone();
    let show = |name: &str| info.psql("postgres", &format!("show {name}")).unwrap();
    assert_eq!(show("work_mem"), "5MB");
    assert_eq!(show("max_connections"), "300");
    assert_eq!(show("max_locks_per_transaction"), "64");
    assert_eq!(show("server_version_num"), info.version_num.to_string());
    assert_eq!(succeed(&tls(&info).unwrap()).trim(), "t");

    info.psql("postgres", "create table kept (a int)").unwrap();
    let standby = server.standby().unwrap();
    let on_standby = |sql: &str| standby.info().psql("postgres", sql);
    assert_eq!(on_standby("select pg_is_in_recovery()").unwrap(), "t");
    let refused = on_standby("create table no (a int)").unwrap_err();
    assert!(refused.to_string().contains("read-only"), "{refused}");
    info.psql("postgres", "insert into kept values (1)").unwrap();
    wait_until(SOON, "the row on the standby", || {
        on_standby("select count(*) from kept").is_ok_and(|count| count == "1")
    })
    .unwrap();
    let standby_data = standby.info().data_dir.clone();
    drop(standby);
    assert!(!standby_data.exists());

    server.restart(StopMode::Kill).unwrap();
    assert_eq!(info.psql("postgres", "select count(*) from kept").unwrap(), "1");
    server.stop(StopMode::Fast).unwrap();
    assert!(info.psql("postgres", "select 1").is_err());
    server.start_again().unwrap();
    server.set("work_mem", "6MB").unwrap();
    wait_until(SOON, "the new setting", || show("work_mem") == "6MB").unwrap();

    let expired = ServerCertificate { expired: true, ..ServerCertificate::default() };
    let certificate = server.authority().unwrap().server(&expired).unwrap();
    server.use_certificate(&certificate).unwrap();
    wait_until(SOON, "the expired certificate", || {
        String::from_utf8_lossy(&tls(&info).unwrap().stderr).contains("certificate verify failed")
    })
    .unwrap();

    drop(server);
    assert!(!info.data_dir.exists());
    wait_for_nothing(&[&info.data_dir]);
}

#[test]
#[ignore = "fetches what is not installed"]
fn every_major_version_has_tls_dumps_and_standbys() {
    for major in [15, 16, 17, 18] {
        let server = PostgresServer::start(PostgresOptions {
            version: PostgresVersion::Major(major),
            ..PostgresOptions::default()
        })
        .unwrap();
        let info = server.info();
        assert_eq!(info.major(), major);
        assert_eq!(succeed(&tls(info).unwrap()).trim(), "t");
        info.psql("postgres", "create table dumped (a int)").unwrap();
        let dump = Command::new(info.tool("pg_dump").unwrap()).envs(info.env()).output().unwrap();
        assert!(succeed(&dump).contains("CREATE TABLE public.dumped"));
        let standby = server.standby().unwrap();
        let following = standby.info().psql("postgres", "select pg_is_in_recovery()");
        assert_eq!(following.unwrap(), "t");
    }
}

#[test]
fn a_control_plane_of_ones_own_knows_its_users() {
    let mut plane = ControlPlane::start(&ControlPlaneOptions::default()).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = plane.info().kubeconfig_for("ann", &["readers", "writers"]).unwrap();
    fs::write(file.path(), text).unwrap();
    let as_ann = format!("--kubeconfig={}", file.path().display());
    let who = plane.info().kubectl(&[&as_ann, "auth", "whoami", "-o", "json"]).unwrap();
    for word in ["\"ann\"", "\"readers\"", "\"writers\""] {
        assert!(who.contains(word), "{who}");
    }
    assert!(plane.info().kubectl(&[&as_ann, "get", "secrets"]).is_err());
    plane.stop_apiserver();
    assert!(!plane.info().is_ready());
    plane.start_apiserver().unwrap();
    let token = plane.info().kubectl(&["create", "token", "default"]).unwrap();
    assert_eq!(token.trim().split('.').count(), 3);
    let bin = plane.info().bin_dir.clone();
    drop(plane);
    assert!(!bin.exists());
    wait_for_nothing(&[&bin]);
}

#[test]
fn a_control_plane_goes_back_and_can_be_cloned() {
    let mut plane = ControlPlane::start(&ControlPlaneOptions::default()).unwrap();
    let has = |plane: &ControlPlane, name: &str| plane.info().kubectl(&["get", "configmap", name]).is_ok();
    let uid = |plane: &ControlPlane| {
        plane.info().kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"]).unwrap()
    };
    plane.info().kubectl(&["create", "configmap", "before"]).unwrap();
    let snapshot = plane.snapshot().unwrap();
    let later = plane.snapshot().unwrap();
    plane.info().kubectl(&["create", "configmap", "after"]).unwrap();

    let clone = plane.start_clone(&snapshot).unwrap();
    assert!(has(&clone, "before") && !has(&clone, "after"));
    assert_eq!(uid(&clone), uid(&plane));
    assert_ne!(clone.info().port, plane.info().port);
    clone.info().kubectl(&["create", "configmap", "cloned"]).unwrap();
    drop(clone);
    assert!(has(&plane, "after") && !has(&plane, "cloned"));

    for snapshot in [snapshot, later] {
        let url = plane.info().url.clone();
        plane.restore(&snapshot).unwrap();
        assert_eq!(plane.info().url, url);
        assert!(has(&plane, "before") && !has(&plane, "after"));
        plane.info().kubectl(&["create", "configmap", "after"]).unwrap();
        // The controllers work again.
        plane.info().kubectl(&["create", "namespace", "gone"]).unwrap();
        plane.info().kubectl(&["delete", "namespace", "gone", "--timeout=30s"]).unwrap();
    }
    let bin = plane.info().bin_dir.clone();
    drop(plane);
    wait_for_nothing(&[&bin]);
}

#[test]
fn a_server_goes_back_to_a_copy_and_fails_over_to_one() {
    let mut server = PostgresServer::start(PostgresOptions::default()).unwrap();
    let info = server.info().clone();
    let psql = |sql: &str| info.psql("postgres", sql).unwrap();
    let timeline = || psql("select timeline_id from pg_control_checkpoint()");
    psql("create table kept (a int); insert into kept values (1)");
    let system = psql("select system_identifier from pg_control_system()");
    let copy = server.copy().unwrap();
    for _ in 0..2 {
        psql("insert into kept values (2)");
        server.restore(&copy).unwrap();
        assert_eq!(psql("select string_agg(a::text, ' ') from kept"), "1");
        assert_eq!(timeline(), "1");
    }
    let later = server.copy().unwrap();
    psql("insert into kept values (3)");
    server.fail_over(&later).unwrap();
    assert_eq!(psql("select string_agg(a::text, ' ') from kept"), "1");
    psql("checkpoint; insert into kept values (4)");
    assert_eq!(timeline(), "2");
    // One that was made on the new timeline goes on from there.
    let latest = server.copy().unwrap();
    psql("insert into kept values (5)");
    server.fail_over(&latest).unwrap();
    psql("checkpoint");
    assert_eq!(timeline(), "3");
    assert_eq!(psql("select string_agg(a::text, ' ') from kept"), "1 4");
    assert_eq!(psql("select system_identifier from pg_control_system()"), system);
    drop(server);
    wait_for_nothing(&[&info.data_dir]);
}

/// What the test below runs twice in processes of their own.
#[test]
#[ignore = "runs as a child of the test of the shared cluster"]
fn a_user_of_the_shared_cluster() {
    let shared = shared().unwrap();
    assert!(shared.control_plane().is_ready());
    assert!(shared.kubeconfig_path().exists() && shared.kubectl().exists());
    // Two that make the same table at the same time would collide in spite of IF NOT EXISTS.
    let make = "select pg_advisory_xact_lock(1); create table if not exists used (a int)";
    shared.postgres().psql("postgres", make).unwrap();
    shared.postgres().psql("postgres", "insert into used values (1)").unwrap();
    println!("used {} times", shared.postgres().psql("postgres", "select count(*) from used").unwrap());
}

#[test]
fn the_shared_cluster_ends_after_its_last_user() {
    let target = scratch("target");
    let use_it = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_user_of_the_shared_cluster", "--ignored", "--nocapture"])
            .env("CARGO_TARGET_DIR", &target)
            .env_remove("DEVCLUSTER_DIR")
            .output()
            .unwrap()
    };
    let outputs = std::thread::scope(|scope| {
        let together = [scope.spawn(use_it), scope.spawn(use_it)];
        together.map(|one| succeed(&one.join().unwrap()))
    });
    assert!(outputs.iter().any(|text| text.contains("used 2 times")), "{outputs:?}");
    wait_for_nothing(&[&target]);
    fs::remove_dir_all(&target).unwrap();
}
