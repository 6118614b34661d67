//! An operator for one namespace, with a server of `CloudNativePG`: the files of `examples/cloudnativepg` as they are, but for
//! names, and a Secret laid out as `CloudNativePG` lays it out.

use std::{fs, path::Path};

use devcluster::{PostgresOptions, PostgresServer};
use serde_json::{Value, json};

use super::{
    helm::Helm,
    stage::{DEBUG, Namespaces, Release, make_database, may, secret},
};

/// A file of the example.
fn example(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cloudnativepg").join(name);
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The Secret that `CloudNativePG` makes for the owner of a cluster's database (`CreateSecret` in its `pkg/specs/secrets.go`).
/// The short name in `host` leads nowhere outside of the server's namespace; `uri` has a name that does.
fn app_secret(namespace: &str, server: &PostgresServer, database: &str, user: &str) -> Value {
    let (host, port) = (&server.info().host, server.info().port);
    let data = json!({
        "username": user, "user": user, "password": "pw", "dbname": database, "host": "tenants-rw",
        "port": port.to_string(),
        "pgpass": format!("tenants-rw:{port}:{database}:{user}:pw\n"),
        "uri": format!("postgresql://{user}:pw@{host}:{port}/{database}"),
        "jdbc-uri": format!("jdbc:postgresql://{host}:{port}/{database}?password=pw&user={user}"),
        "fqdn-uri": format!("postgresql://{user}:pw@{host}:{port}/{database}"),
        "fqdn-jdbc-uri": format!("jdbc:postgresql://{host}:{port}/{database}?password=pw&user={user}"),
    });
    let mut secret = secret(namespace, "tenants-app", &data);
    secret["type"] = json!("kubernetes.io/basic-auth");
    secret
}

#[test]
fn an_operator_of_one_namespace_works_with_the_secrets_of_cloudnativepg() {
    let plane = devcluster::shared().unwrap().control_plane();
    let Some(helm) = Helm::find(&plane.kubeconfig) else { return };
    let namespaces = Namespaces::new(plane, "cnpg");
    let Namespaces { id, own, tenants, databases, other, .. } = &namespaces;
    plane.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "crds/"]).unwrap();
    plane.kubectl(&["wait", devcluster::ESTABLISHED, "crd", "--all", "--timeout=60s"]).unwrap();

    // What the example's Cluster asks CloudNativePG for, and what CloudNativePG then makes.
    let server = PostgresServer::start(PostgresOptions::default()).unwrap();
    let cluster = example("cluster.yaml");
    let bootstrap = &cluster["spec"]["bootstrap"]["initdb"];
    let [database, login] = ["database", "owner"].map(|key| bootstrap[key].as_str().unwrap());
    let data = make_database(&server, database, login);
    server.info().psql("postgres", &format!("ALTER ROLE {login} NOCREATEROLE")).unwrap();
    for statement in bootstrap["postInitSQL"].as_array().unwrap() {
        server.info().psql("postgres", statement.as_str().unwrap()).unwrap();
    }

    let mut values = example("values.yaml");
    let named = values["connectionSecrets"].as_object_mut().unwrap().remove("databases").unwrap();
    values["connectionSecrets"][databases] = named;
    values["crds"] = json!({ "install": false });
    values["watchNamespaces"] = json!([tenants]);
    values["watchSelector"] = json!(format!("e2e={id}"));
    values["log"] = json!({ "level": DEBUG });
    let release = Release { helm, plane, namespace: own, name: id };
    release.install(&values).unwrap();
    release.apply(&app_secret(databases, &server, database, login));
    release.apply(&secret(databases, "tenants-ca", &json!({ "ca.crt": data["ca.crt"], "ca.key": "its key" })));
    release.apply(&secret(databases, "private", &json!({ "key": "value" })));
    let operator = release.start();

    let mut declared = example("database.yaml");
    declared["metadata"] = json!({ "name": id, "labels": { "e2e": id } });
    declared["spec"]["surveyPeriodSeconds"] = json!(5);
    for reference in ["/spec/connection/secretRef", "/spec/connection/tls/caSecretRef"] {
        let reference = declared.pointer_mut(reference).unwrap();
        assert_eq!(reference["namespace"], cluster["metadata"]["namespace"]);
        reference["namespace"] = json!(databases);
    }
    release.apply(&declared);
    let tenant_database = format!("tenantdatabase/{id}");
    release.wait("condition=Ready", &tenant_database, "", &operator);

    let tenant = |namespace: &str| {
        json!({ "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
            "metadata": { "namespace": namespace, "name": "school", "labels": { "e2e": id } },
            "spec": { "schemaName": "school", "databaseRef": { "name": id } } })
    };
    // Were it looked at, this one would take the name of the schema.
    release.apply(&tenant(other));
    release.apply(&tenant(tenants));
    release.wait("condition=Ready", "tenantschema/school", tenants, &operator);
    let seen = ["get", "tenantschema/school", "-n", other, "-o", "jsonpath={.status.observedGeneration}"];
    assert_eq!(release.kubectl(&seen), "-1", "a tenant of another namespace is not looked at");
    let suspend = json!({ "spec": { "access": "Suspended" } }).to_string();
    release.kubectl(&["patch", "tenantschema/school", "-n", tenants, "--type=merge", "-p", &suspend]);
    release.wait("jsonpath={.status.state}=Suspended", "tenantschema/school", tenants, &operator);
    release.apply(&json!({ "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "SchemaBackup",
        "metadata": { "namespace": tenants, "name": "copy", "labels": { "e2e": id } },
        "spec": { "tenantSchemaRef": { "name": "school" }, "method": "Snapshot" } }));
    release.wait("condition=Ready", "schemabackup/copy", tenants, &operator);

    let kubeconfig = release.kubeconfig();
    for what in [
        &["list", "tenantschemas", "-A"][..],
        &["patch", "tenantschemas", "-n", other],
        &["get", "secrets", "-n", databases],
        &["get", "secrets/private", "-n", databases],
        &["list", "secrets", "-n", databases],
        &["watch", "secrets/tenants-app", "-n", databases],
        &["create", "events.events.k8s.io", "-n", other],
    ] {
        assert!(!may(plane, &kubeconfig, what), "{what:?}");
    }
    assert!(may(plane, &kubeconfig, &["get", "secrets/tenants-app", "-n", databases]));

    let (agrees, said) = release.check();
    assert!(
        !agrees && said.contains(&format!("{tenants}/school")) && !said.contains(&format!("{other}/school")),
        "{said}"
    );
    let remains = [
        ("tenantschema/school", tenants.as_str()),
        ("schemabackup/copy", tenants),
        ("tenantschema/school", other),
        (&tenant_database, ""),
    ];
    for (object, namespace) in remains {
        release.kubectl(&["delete", object, "-n", namespace, "--timeout=60s"]);
    }
    let (agrees, said) = release.check();
    assert!(agrees, "{said}");
    operator.stop_unrefused();
    release.helm(&["uninstall"], &["--no-hooks"]).unwrap();
}
