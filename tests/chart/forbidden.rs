//! An operator that may write no Secret in a namespace says which right is missing; the tenant works, and its applications go on
//! with the Secret that they have.

use devcluster::{PostgresOptions, PostgresServer, wait_until};
use serde_json::{Value, json};

use super::{
    helm::Helm,
    stage::{DEADLINE, Namespaces, Release, make_database, secret},
};

#[test]
fn a_right_to_write_secrets_that_is_missing_is_told_with_the_commands_that_give_it() {
    let plane = devcluster::shared().unwrap().control_plane();
    let Some(helm) = Helm::find(&plane.kubeconfig) else { return };
    let namespaces = Namespaces::new(plane, "no-right");
    let Namespaces { id, own, tenants, databases, .. } = &namespaces;
    plane.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "crds/"]).unwrap();
    plane.kubectl(&["wait", devcluster::ESTABLISHED, "crd", "--all", "--timeout=60s"]).unwrap();
    let server = PostgresServer::start(PostgresOptions::default()).unwrap();
    let data = make_database(&server, "tenants", "tenant_operator");
    let release = Release { helm, plane, namespace: own, name: id };
    // It may write Secrets in another namespace than the tenant's.
    let values = json!({ "crds": { "install": false }, "watchNamespaces": [tenants], "watchSelector": format!("e2e={id}"),
        "credentials": { "namespaces": [databases] } });
    release.install(&values).unwrap();
    release.apply(&secret(own, "postgres", &data));
    let operator = release.start();
    release.apply(&json!({ "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantDatabase",
        "metadata": { "name": id, "labels": { "e2e": id } },
        "spec": { "connection": { "secretRef": { "name": "postgres" } }, "surveyPeriodSeconds": 5 } }));
    let object = |kind: &str, namespace: &str| {
        let arguments = ["get", kind, "-n", namespace, "-o", "json"];
        serde_json::from_str::<Value>(&release.kubectl(&arguments)).unwrap()
    };
    let tenant = || object("tenantschema/school", tenants);
    let condition = |tenant: &Value, kind: &str| {
        let conditions = tenant["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
    };
    // The tenant works, and says what it may not have.
    let forbidden = || {
        let mut message = String::new();
        wait_until(DEADLINE, "what is missing is told", || {
            let tenant = tenant();
            let (ready, stalled) = (condition(&tenant, "Ready"), condition(&tenant, "Stalled"));
            message = stalled["message"].as_str().unwrap_or_default().to_owned();
            stalled["reason"] == "CredentialsForbidden" && ready["status"] == "True"
        })
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", tenant(), operator.log()));
        message
    };
    let asked = |key: &str| {
        let value = format!("edumatrixhub.io/{key}={}", jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2));
        release.kubectl(&["annotate", "--overwrite", "tenantschema/school", "-n", tenants, &value]);
    };

    release.apply(&json!({ "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
        "metadata": { "namespace": tenants, "name": "school", "labels": { "e2e": id } },
        "spec": { "schemaName": "school", "databaseRef": { "name": id }, "connectionSecret": { "name": "school-db" },
            "credentials": { "rotationGraceSeconds": 2 } } }));
    let message = forbidden();
    assert!(message.contains("schema school is there") && message.contains("cannot create resource"), "{message}");
    type_it(&release, &message);
    asked("reconcile-requested-at");
    release.wait("jsonpath={.status.summary.reason}=Succeeded", "tenantschema/school", tenants, &operator);
    let first = keys(&object("secret/school-db", tenants));
    assert!(comes_in(&server, &first));
    let credential = || tenant()["status"]["credentials"]["credentialId"].clone();
    let told = credential();

    // The right is taken away again.
    release.kubectl(&["delete", "role,rolebinding", "tenant-secrets", "-n", tenants]);
    asked("rotate-requested-at");
    let message = forbidden();
    assert!(message.contains("cannot update resource"), "{message}");
    assert_eq!(keys(&object("secret/school-db", tenants)), first, "the Secret is as it was");
    assert!(comes_in(&server, &first), "and its login is open");
    // Nor do later passes and surveys close it, although its grace would be over.
    asked("reconcile-requested-at");
    let surveyed =
        || server.info().psql("tenants", "SELECT surveyed_at FROM edu_matrix_hub_schema.installation").unwrap();
    for _ in 0..2 {
        let before = surveyed();
        wait_until(DEADLINE, "a survey ends", || surveyed() != before).unwrap();
    }
    assert!(comes_in(&server, &first));
    assert_eq!((forbidden(), credential()), (message.clone(), told));

    type_it(&release, &message);
    asked("reconcile-requested-at");
    let next = || keys(&object("secret/school-db", tenants));
    wait_until(DEADLINE, "the next password is in the Secret", || next() != first).unwrap();
    release.wait("jsonpath={.status.summary.reason}=Succeeded", "tenantschema/school", tenants, &operator);
    assert!(comes_in(&server, &next()));
    release.kubectl(&["delete", "tenantschema/school", "-n", tenants, "--timeout=60s"]);
    release.kubectl(&["delete", "tenantdatabase", id, "--timeout=60s"]);
    drop(operator);
    release.helm(&["uninstall"], &["--no-hooks"]).unwrap();
}

/// Runs the commands that a message ends with.
fn type_it(release: &Release, message: &str) {
    let (_, commands) = message.split_once("kubectl ").expect("a command");
    for command in commands.split(" && ") {
        let arguments: Vec<_> = command.trim_start_matches("kubectl ").split(' ').collect();
        release.kubectl(&arguments);
    }
}

/// Login and password.
fn keys(secret: &Value) -> (String, String) {
    use base64::prelude::{BASE64_STANDARD, Engine};
    let text = |key: &str| {
        let value = BASE64_STANDARD.decode(secret["data"][key].as_str().unwrap()).unwrap();
        String::from_utf8(value).unwrap()
    };
    (text("username"), text("password"))
}

/// Whether an application with these comes in.
fn comes_in(server: &PostgresServer, (login, password): &(String, String)) -> bool {
    let info = server.info();
    let mut psql = std::process::Command::new(info.tool("psql").unwrap());
    psql.envs(info.env()).env("PGUSER", login).env("PGPASSWORD", password);
    psql.args(["-XAtc", "SELECT 1", "-d", "tenants"]).output().unwrap().status.success()
}
