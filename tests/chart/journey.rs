//! From `helm install` to `helm uninstall`, with the values by default, in a cluster and with a server of its own: the
//! operator runs under the chart's own rights, and everything that it asks the API server for is recorded.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use devcluster::{ControlPlane, ControlPlaneOptions, PostgresOptions, PostgresServer, wait_until};
use serde_json::{Value, json};

use super::{
    helm::{Helm, file},
    permissions::{Right, rights},
    stage::{DEADLINE, DEBUG, Operator, Release, kubeconfig_of, make_database, may, secret},
};

const NAMESPACE: &str = "tenant-schema-system";
const NAME: &str = "tenant-schema-operator";

/// Rights that this journey need not meet, because they are for moments that it cannot bring about at will.
const RARE: [(&str, &str); 4] = [
    // When the cache is behind a write of the operator's own.
    ("tenantdatabases", "get"),
    ("tenantschemas", "get"),
    ("schemabackups", "get"),
    // When the same is to be told again within minutes.
    ("events", "patch"),
];

#[test]
fn the_chart_is_installed_used_and_uninstalled() {
    let audit = tempfile::tempdir().unwrap();
    let (log, policy) = (audit.path().join("log"), audit.path().join("policy"));
    let account = format!("system:serviceaccount:{NAMESPACE}:{NAME}");
    let rules = json!([
        { "level": "Metadata", "users": [account], "omitStages": ["RequestReceived"] },
        // What docs/security.md asks for.
        { "level": "Metadata", "resources": [{ "group": "edumatrixhub.io" }] },
    ]);
    let rules = json!({ "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules });
    fs::write(&policy, rules.to_string()).unwrap();
    let apiserver_flags =
        vec![format!("--audit-policy-file={}", policy.display()), format!("--audit-log-path={}", log.display())];
    let plane =
        ControlPlane::start(&ControlPlaneOptions { apiserver_flags, ..ControlPlaneOptions::default() }).unwrap();
    let server = PostgresServer::start(PostgresOptions::default()).unwrap();
    let Some(helm) = Helm::find(&plane.info().kubeconfig) else { return };
    let release = Release { helm, plane: plane.info(), namespace: NAMESPACE, name: NAME };

    install(&release, &server);
    assert_pods_are_restricted(&release);
    let operator = release.start();
    let (agrees, said) = release.test();
    assert!(!agrees && said.contains("TenantDatabase \"default\" does not exist"), "{said}");
    let values = json!({ "database": { "create": true, "spec": { "surveyPeriodSeconds": 5 } },
        "finalizerPolicy": { "enabled": true }, "log": { "level": DEBUG } });
    release.install(&values).unwrap();
    release.wait("condition=Ready", "tenantdatabase/default", "", &operator);
    let (agrees, said) = release.test();
    assert!(agrees && said.starts_with("connected to "), "{said}");
    assert_eq!(release.kubectl(&["get", "tenantdatabase/default", "-o", "jsonpath={.spec.surveyPeriodSeconds}"]), "5");

    let tenant = json!({ "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
        "metadata": { "namespace": "team-a", "name": "school" },
        "spec": { "schemaName": "school", "connectionSecret": { "name": "school-db" } } });
    assert_finalizer_is_set(&release, &tenant);
    release.apply(&tenant);
    release.wait("condition=Ready", "tenantschema/school", "team-a", &operator);
    // Its applications connect by a Secret, which is replaced when a user asks for another password.
    let login = ["get", "tenantschema/school", "-n", "team-a", "-o", "jsonpath={.status.credentials.login}"];
    assert!(release.kubectl(&login).ends_with("_app_a"));
    release.kubectl(&["get", "secret/school-db", "-n", "team-a"]);
    let asked =
        format!("edumatrixhub.io/rotate-requested-at={}", jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2));
    release.kubectl(&["annotate", "tenantschema/school", "-n", "team-a", &asked]);
    wait_until(DEADLINE, "the other login is published", || release.kubectl(&login).ends_with("_app_b")).unwrap();
    // A pipeline applies what it has again and again: the finalizer is not the pipeline's, and stays.
    let spec =
        ["get", "tenantschema/school", "-n", "team-a", "-o", "jsonpath={.metadata.generation} {.metadata.finalizers}"];
    release.apply(&tenant);
    assert_eq!(release.kubectl(&spec), r#"1 ["edumatrixhub.io/tenant-schema"]"#);
    release.apply(&json!({ "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "SchemaBackup",
        "metadata": { "namespace": "team-a", "name": "copy" },
        "spec": { "tenantSchemaRef": { "name": "school" }, "method": "Snapshot" } }));
    release.wait("condition=Ready", "schemabackup/copy", "team-a", &operator);
    assert_a_schedule_makes_and_removes(&release, &operator);
    let suspend = json!({ "spec": { "access": "Suspended" } }).to_string();
    release.kubectl(&["patch", "tenantschema/school", "-n", "team-a", "--type=merge", "-p", &suspend]);
    release.wait("jsonpath={.status.state}=Suspended", "tenantschema/school", "team-a", &operator);
    for (namespace, object) in [("team-a", "school"), ("default", "default")] {
        let about = format!("involvedObject.name={object}");
        let events = release.kubectl(&["get", "events", "-n", namespace, "--field-selector", &about, "-o", "name"]);
        assert!(!events.is_empty(), "Events tell of {object} in {namespace}");
    }
    assert_users_have_their_roles(&release);
    assert_strangers_are_closed(&release);
    assert_who_asked_is_found(&release, &server, &log);

    // It is refused three times, each time for what comes next. Helm takes the release for half gone then, and a rollback
    // to the very same revision mends that.
    for (kind, object) in [("TenantSchema", "school"), ("SchemaBackup", "copy"), ("TenantDatabase", "default")] {
        let (uninstalled, said) = release.uninstall();
        uninstalled.expect_err("the check refuses");
        assert!(said.contains(&format!("1 of kind {kind} need it")), "{said}");
        release.helm(&["rollback"], &[&release.revision()]).unwrap();
        release.install(&values).unwrap();
        let (_, command) = said.trim().rsplit_once("first: kubectl ").expect("the next command to type");
        assert!(command.contains(object), "{command}");
        release.kubectl(&command.split(' ').chain(["--timeout=60s"]).collect::<Vec<_>>());
    }
    assert_eq!(
        server
            .info()
            .psql("tenants", "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'school_bak_%'")
            .unwrap()
            .trim(),
        "3"
    );
    operator.stop_unrefused();
    let rights = rights(&release.objects());
    let (uninstalled, said) = release.uninstall();
    uninstalled.unwrap_or_else(|error| panic!("{error} {said}"));
    assert_rights_are_used(rights, &account, &fs::read_to_string(&log).unwrap());
    let left = release.kubectl(&[
        "get",
        "crd,clusterrole,clusterrolebinding,mutatingadmissionpolicy,mutatingadmissionpolicybinding,\
            validatingadmissionpolicy,validatingadmissionpolicybinding",
        "-o",
        "name",
        "-l",
        &format!("app.kubernetes.io/instance={NAME}"),
    ]);
    assert_eq!(left.lines().count(), 3, "the kinds stay, and nothing else: {left}");
}

/// The first commands of the README, in a namespace that takes only restricted pods.
fn install(release: &Release, server: &PostgresServer) {
    for namespace in [NAMESPACE, "team-a"] {
        release.kubectl(&["create", "namespace", namespace]);
    }
    release.kubectl(&["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"]);
    let data = make_database(server, "tenants", "tenant_operator");
    release.apply(&secret(NAMESPACE, "default-postgres", &data));
    release.apply(&secret("team-a", "private", &json!({ "key": "value" })));
    let error = release.install(&json!({ "database": { "create": true } })).expect_err("the kinds are not there");
    assert!(error.contains("--reset-then-reuse-values --set database.create=true"), "{error}");
    release.install(&json!({ "log": { "level": DEBUG } })).unwrap();
    release.kubectl(&["wait", devcluster::ESTABLISHED, "crd", "--all", "--timeout=60s"]);
}

/// The API server gives a new tenant the finalizer before the operator has seen it.
fn assert_finalizer_is_set(release: &Release, tenant: &Value) {
    let manifest = file(tenant);
    let path = manifest.path().to_str().unwrap();
    let try_it = ["create", "--dry-run=server", "-o", "jsonpath={.metadata.finalizers}", "-f", path];
    // Until it has read the schema of a new kind, every few seconds, the API server refuses what the policy would change.
    let is_set = || release.plane.kubectl(&try_it).is_ok_and(|found| found == r#"["edumatrixhub.io/tenant-schema"]"#);
    wait_until(DEADLINE, "the API server sets the finalizer", is_set).unwrap();
}

fn assert_pods_are_restricted(release: &Release) {
    for workload in [release.deployment(), release.check_job()] {
        let template = &workload["spec"]["template"];
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
            "metadata": { "name": "probe", "namespace": NAMESPACE, "labels": template["metadata"]["labels"] } });
        release.kubectl(&["create", "--dry-run=server", "-f", file(&pod).path().to_str().unwrap()]);
        assert_eq!(pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
    }
}

/// A user who may edit or view a namespace may do so with its tenants and backups, and has nothing to do with
/// databases.
fn assert_users_have_their_roles(release: &Release) {
    let plane = release.plane;
    for (user, role) in [("editor", "edit"), ("viewer", "view")] {
        let name = format!("--user={user}");
        release.kubectl(&["create", "rolebinding", user, "--clusterrole", role, &name, "-n", "team-a"]);
    }
    let [editor, viewer] = ["editor", "viewer"].map(|user| kubeconfig_of(plane, user, &[]));
    for kind in ["tenantschemas", "schemabackups"] {
        let here = |verb| [verb, kind, "-n", "team-a"];
        wait_until(DEADLINE, "roles are aggregated", || {
            may(plane, &editor, &here("create")) && may(plane, &viewer, &here("list"))
        })
        .unwrap();
        assert!(!may(plane, &viewer, &here("delete")));
        assert!(!may(plane, &editor, &["create", kind, "-n", "default"]));
    }
    for verb in ["get", "create", "delete"] {
        assert!(!may(plane, &editor, &[verb, "tenantdatabases"]));
    }
}

/// What the operator has no business with is closed to it.
fn assert_strangers_are_closed(release: &Release) {
    let kubeconfig = release.kubeconfig();
    let path = kubeconfig.path().to_str().unwrap();
    let error = release.plane.kubectl(&["--kubeconfig", path, "get", "secret", "private", "-n", "team-a"]).unwrap_err();
    assert!(error.to_string().contains("secrets \"private\" is forbidden"), "{error}");
    for what in [
        &["list", "secrets", "-n", "team-a"][..],
        &["list", "secrets", "-A"],
        &["patch", "secrets", "-n", NAMESPACE],
        &["create", "tenantschemas", "-n", "team-a"],
        &["delete", "tenantschemas", "-n", "team-a"],
        &["get", "leases", "-n", "team-a"],
        &["list", "pods", "-A"],
        &["create", "pods", "-n", NAMESPACE],
    ] {
        assert!(!may(release.plane, &kubeconfig, what), "{what:?}");
    }
    assert!(may(release.plane, &kubeconfig, &["get", "secrets", "-n", NAMESPACE]));
}

/// From a line of the operations to the user who asked for it, by the commands of docs/security.md.
fn assert_who_asked_is_found(release: &Release, server: &PostgresServer, log: &Path) {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md")).unwrap();
    let (_, section) = page.split_once("## Who asked for it").expect("the section");
    let block = |language: &str| {
        let (_, rest) = section.split_once(&format!("```{language}\n")).expect("a block");
        rest.split_once("\n```").unwrap().0.to_owned()
    };
    let patch = |user: &str, grade: u8| {
        let kubeconfig = kubeconfig_of(release.plane, user, &["system:authenticated"]);
        let config = json!({ "spec": { "config": { "grade": grade } } }).to_string();
        let patch = ["patch", "tenantschema/school", "-n", "team-a", "--type=merge", "-p", &config];
        release.plane.kubectl(&[&["--kubeconfig", kubeconfig.path().to_str().unwrap()], &patch[..]].concat())
    };
    // Another one who may edit.
    release.kubectl(&["create", "rolebinding", "pipeline", "--clusterrole=edit", "--user=pipeline", "-n", "team-a"]);
    let version = || {
        let version = "SELECT version FROM edu_matrix_hub_schema.tenant_schemas WHERE status <> 'dropped'";
        server.info().psql("tenants", version).unwrap()
    };
    let mut operations = Vec::new();
    for (user, grade) in [("pipeline", 1), ("editor", 2), ("pipeline", 3)] {
        // One who is refused did not ask for it.
        patch("viewer", grade).unwrap_err();
        let before = version();
        wait_until(DEADLINE, "the role is known", || patch(user, grade).is_ok()).unwrap();
        wait_until(DEADLINE, "the change is in the registry", || version() != before).unwrap();
        let told = server.info().psql("tenants", &block("sql")).unwrap();
        let operation = told.lines().find(|line| line.contains("|TenantSchema team-a/school|"));
        operations.push(operation.unwrap_or_else(|| panic!("{told}")).to_owned());
    }
    let started: jiff::Timestamp = operations[1].split('|').nth(1).unwrap().parse().unwrap();

    let command = block("console").replace("acme", "school").replace("audit.log", log.to_str().unwrap());
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    if output.status.code() == Some(127) {
        eprintln!("not tried: jq is not installed");
        return;
    }
    let found = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && !found.contains("viewer"), "{found}");
    let writes = found.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let own = format!("system:serviceaccount:{NAMESPACE}:{NAME}");
    let mut asked = writes.filter(|write| write[1] != own && write[0].parse::<jiff::Timestamp>().unwrap() < started);
    let last = asked.next_back().unwrap_or_else(|| panic!("{found}"));
    assert_eq!(last[1..5], ["editor", "-", "patch", "tenantschemas"], "{operations:?} {found}");
}

/// A backup is made when it is due, and its object goes with the schedule.
fn assert_a_schedule_makes_and_removes(release: &Release, operator: &Operator) {
    let patch = |patch: Value, flags: &[&str]| {
        let text = patch.to_string();
        let arguments = ["patch", "tenantschema/school", "-n", "team-a", "--type=merge", "-p", &text];
        release.kubectl(&[&arguments, flags].concat());
    };
    let (now, half_a_day) = (jiff::Timestamp::now(), jiff::SignedDuration::from_hours(12));
    let cron = (now + half_a_day).strftime("%M %H * * *").to_string();
    patch(json!({ "spec": { "backup": { "schedules": [{ "name": "daily", "cron": cron }] } } }), &[]);
    release.wait("jsonpath={.status.schedules[0].nextScheduleTime}", "tenantschema/school", "team-a", operator);
    let due = jiff::Timestamp::from_second(now.as_second()).unwrap();
    let told =
        json!({ "name": "daily", "cron": format!("{cron} UTC"), "spreadSeconds": 3600, "nextScheduleTime": due });
    patch(json!({ "status": { "schedules": [told] } }), &["--subresource=status"]);
    let again = format!("edumatrixhub.io/reconcile-requested-at={now}");
    release.kubectl(&["annotate", "tenantschema/school", "-n", "team-a", &again]);
    release.wait("jsonpath={.status.schedules[0].backups[0]}", "tenantschema/school", "team-a", operator);
    let name = format!("schemabackup/school.daily-{}", due.strftime("%Y%m%d%H%M%S"));
    release.wait("condition=Ready", &name, "team-a", operator);
    patch(json!({ "spec": { "backup": null } }), &[]);
    release.wait("delete", &name, "team-a", operator);
}

/// Every right was used, but for the rare ones, and nothing was refused.
fn assert_rights_are_used(rights: BTreeSet<Right>, account: &str, log: &str) {
    let mut used = BTreeSet::new();
    for request in log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // Others, and the questions of this test.
        if request["user"]["username"] != account || word(&request["userAgent"]).starts_with("kubectl") {
            continue;
        }
        assert_ne!(request["responseStatus"]["code"], 403, "{request}");
        let object = &request["objectRef"];
        let subresource = object["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
        used.insert((format!("{}{subresource}", word(&object["resource"])), word(&request["verb"])));
    }
    let granted: BTreeSet<_> = rights.into_iter().map(|(_, resource, verb)| (resource, verb)).collect();
    let idle: Vec<_> = granted
        .difference(&used)
        .filter(|(resource, verb)| !RARE.contains(&(resource.as_str(), verb.as_str())))
        .collect();
    assert!(idle.is_empty(), "granted and never used: {idle:?}; used: {used:?}");
}
