//! Secrets, which the operator may write and not read: the chart installed, and what its service account's token can do with
//! the Secrets of others and with those of tenants, request by request.

use axum::http::Request;
use devcluster::wait_until;
use serde_json::{Value, json};
use tenant_schema_operator::kubernetes::secrets::{DIFFERS_WORDS, GUARD_WORDS};

use super::{
    account::{Account, Answer, collection, dry, item},
    helm::Helm,
    stage::{DEADLINE, Namespaces, Release},
};

const TYPE: &str = "servicebinding.io/postgresql";
const KINDS: &str = "edumatrixhub.io/v1alpha1";
/// What is in every Secret here, and how Secrets have it.
const VALUE: &str = "not/for-the?operator";
const ENCODED: &str = "bm90L2Zvci10aGU/b3BlcmF0b3I=";

/// A release whose policy is in force, and what stands in its namespaces.
struct Ground<'a> {
    release: &'a Release<'a>,
    account: Account,
    namespaces: &'a Namespaces<'a>,
    /// UIDs of two objects in the tenants' namespace, `one` and `two`.
    tenants: [String; 2],
}

fn owner(version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!([{ "apiVersion": version, "kind": kind, "name": name, "uid": uid }])
}

/// A Secret with these owners; `null` for none.
fn secret(namespace: &str, name: &str, of_type: &str, owners: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "type": of_type, "data": { "password": ENCODED },
        "metadata": { "namespace": namespace, "name": name, "ownerReferences": owners } })
}

/// The same with an annotation.
fn annotated(mut secret: Value, key: &str, value: &str) -> Value {
    secret["metadata"]["annotations"][format!("edumatrixhub.io/{key}")] = json!(value);
    secret
}

/// The same with something else in it.
fn emptied(secret: &Value) -> Value {
    let mut secret = secret.clone();
    secret["data"] = json!({});
    secret
}

impl Ground<'_> {
    /// Installs the chart with these values and waits until the policy is in force; nothing where there is no Helm.
    fn run(values: impl Fn(&Namespaces) -> Value, test: impl FnOnce(&Ground)) {
        let plane = devcluster::shared().unwrap().control_plane();
        let Some(helm) = Helm::find(&plane.kubeconfig) else { return };
        let namespaces = Namespaces::new(plane, "secrets");
        plane.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "crds/"]).unwrap();
        plane.kubectl(&["wait", devcluster::ESTABLISHED, "crd", "--all", "--timeout=60s"]).unwrap();
        let mut values = values(&namespaces);
        values["crds"] = json!({ "install": false });
        let release = Release { helm, plane, namespace: &namespaces.own, name: &namespaces.id };
        release.install(&values).unwrap();
        let tenants = ["one", "two"].map(|name| {
            release.apply(&json!({ "apiVersion": KINDS, "kind": "TenantSchema",
                "metadata": { "namespace": namespaces.tenants, "name": name }, "spec": {} }));
            uid(&release, &namespaces.tenants, &format!("tenantschema/{name}"))
        });
        let ground = Ground { account: Account::new(&release), release: &release, namespaces: &namespaces, tenants };
        let probe = secret(&namespaces.tenants, "probe", "Opaque", &json!(null));
        let in_force = || {
            let answer = ground.account.request("POST", &dry(&collection(&probe)), &probe);
            answer.code == 422 && answer.text("/message").contains(GUARD_WORDS)
        };
        wait_until(DEADLINE, "the policy is in force", in_force).unwrap();
        test(&ground);
        release.helm(&["uninstall"], &["--no-hooks"]).unwrap();
    }

    /// The owner that the first or the second TenantSchema is.
    fn owner(&self, which: usize) -> Value {
        owner(KINDS, "TenantSchema", ["one", "two"][which], &self.tenants[which])
    }

    /// A Secret of the first TenantSchema.
    fn ours(&self, name: &str) -> Value {
        annotated(secret(&self.namespaces.tenants, name, TYPE, &self.owner(0)), "tenant-schema", "one")
    }

    /// How it is, to the last byte.
    fn seen(&self, secret: &Value) -> String {
        self.release.kubectl(&["get", "--raw", &item(secret)])
    }

    /// Secrets that are not the operator's, each for another reason, in two namespaces of others and its own.
    fn foreign(&self) -> Vec<Value> {
        let Namespaces { own, tenants, other, .. } = self.namespaces;
        self.release.apply(&json!({ "apiVersion": KINDS, "kind": "SchemaBackup",
            "metadata": { "namespace": tenants, "name": "copy" }, "spec": { "tenantSchemaRef": { "name": "one" } } }));
        let backup = uid(self.release, tenants, "schemabackup/copy");
        let none = json!(null);
        let mut foreign = vec![
            secret(tenants, "opaque", "Opaque", &none),
            annotated(secret(tenants, "of-another-type", "Opaque", &self.owner(0)), "tenant-schema", "one"),
            secret(tenants, "of-no-name", TYPE, &self.owner(0)),
            secret(tenants, "of-no-owner", TYPE, &none),
            secret(tenants, "of-another-kind", TYPE, &owner(KINDS, "SchemaBackup", "copy", &backup)),
            secret(tenants, "of-another-group", TYPE, &owner("edumatrixhub.io.evil/v1", "TenantSchema", "one", "1")),
            secret(other, "elsewhere", "Opaque", &none),
            secret(own, "default-postgres", "Opaque", &none),
        ];
        let mut immutable = secret(tenants, "immutable", TYPE, &none);
        immutable["immutable"] = json!(true);
        foreign.push(immutable);
        for secret in &foreign {
            self.release.apply(secret);
        }
        foreign
    }
}

fn uid(release: &Release, namespace: &str, object: &str) -> String {
    release.kubectl(&["get", object, "-n", namespace, "-o", "jsonpath={.metadata.uid}"])
}

/// Every way to read it, to patch it or to make it go that the API has.
fn assert_closed(ground: &Ground, secret: &Value) {
    let (account, path) = (&ground.account, item(secret));
    let forbidden = |answer: &Answer| {
        answer.is(403, "Forbidden", "cannot ");
        assert!(![VALUE, ENCODED].iter().any(|value| answer.to_string().contains(value)), "{answer}");
    };
    let nothing = json!({});
    if secret["metadata"]["namespace"] != ground.namespaces.own.as_str() {
        for (method, path) in [("GET", path.clone()), ("GET", collection(secret))] {
            for path in [path.clone(), format!("{path}?watch=true&timeoutSeconds=1")] {
                forbidden(&account.request(method, &path, &nothing));
                let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
                let request = Request::builder().method(method).uri(&path).header("accept", metadata);
                forbidden(&account.send(request, &nothing));
            }
        }
    }
    forbidden(&account.request("DELETE", &path, &nothing));
    forbidden(&account.request("DELETE", &collection(secret), &nothing));
    for part in ["status", "scale"] {
        forbidden(&account.request("GET", &format!("{path}/{part}"), &nothing));
        forbidden(&account.request("PUT", &format!("{path}/{part}"), secret));
    }
    let name = &secret["metadata"]["name"];
    let apply = "apply-patch+yaml";
    let patches = [
        ("merge-patch+json", json!({})),
        ("merge-patch+json", json!({ "metadata": { "ownerReferences": ground.owner(0) } })),
        // What would read it, with a right to patch.
        ("merge-patch+json", json!({ "kind": "X" })),
        ("strategic-merge-patch+json", json!({})),
        ("strategic-merge-patch+json", json!({ "data": { "password": null } })),
        ("json-patch+json", json!([{ "op": "test", "path": "/data/password", "value": ENCODED }])),
        ("json-patch+json", json!([{ "op": "copy", "from": "/data/password", "path": "/type" }])),
        (apply, json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name } })),
        (
            apply,
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "uid": uid_of(ground, secret) } }),
        ),
        (apply, emptied(secret)),
    ];
    for (form, body) in patches {
        let queries: &[&str] = match form {
            "apply-patch+yaml" => &["fieldManager=test", "fieldManager=test&force=true"],
            _ => &["fieldManager=test"],
        };
        for query in queries {
            for dry in ["", "&dryRun=All"] {
                forbidden(&account.patch(&format!("{path}?{query}{dry}"), form, &body));
            }
        }
    }
    for who in ["system:admin", "system:kube-controller-manager", "system:serviceaccount:kube-system:default"] {
        let request = Request::builder().method("GET").uri(&path).header("impersonate-user", who);
        forbidden(&account.send(request.header("impersonate-group", "system:masters"), &nothing));
    }
}

fn uid_of(ground: &Ground, secret: &Value) -> Value {
    serde_json::from_str::<Value>(&ground.seen(secret)).unwrap()["metadata"]["uid"].take()
}

/// The operator may create and update; this is what comes of it where the Secret is not its own.
fn assert_not_overwritten(ground: &Ground, secret: &Value) {
    let account = &ground.account;
    let mut claims = vec![emptied(secret)];
    for (of_type, owners) in [(TYPE, ground.owner(0)), (secret["type"].as_str().unwrap(), json!(null))] {
        let mut claim = annotated(emptied(secret), "tenant-schema", "one");
        claim["type"] = json!(of_type);
        claim["metadata"]["ownerReferences"] = owners;
        claims.push(claim.clone());
        claims.push(annotated(claim.clone(), "compare", ""));
        claim["metadata"]["uid"] = uid_of(ground, secret);
        claims.push(claim);
    }
    // Even what would change nothing.
    claims.push(secret.clone());
    for claim in claims {
        for path in [collection(secret), dry(&collection(secret))] {
            let mut claim = claim.clone();
            claim["metadata"].as_object_mut().unwrap().remove("uid");
            let answer = account.request("POST", &path, &claim);
            assert!([409, 422].contains(&answer.code) && !answer.to_string().contains(ENCODED), "{answer}");
        }
        for path in [item(secret), dry(&item(secret))] {
            let answer = account.request("PUT", &path, &claim);
            if claim["type"] != secret["type"] {
                answer.is(422, "Invalid", "type: Invalid value: \"servicebinding.io/postgresql\": field is immutable");
            } else if secret["immutable"] == true && claim["data"] != secret["data"] {
                answer.is(422, "Invalid", "field is immutable when `immutable` is set");
            } else {
                answer.is_refused_by_policy("the one that is there does not");
            }
            assert!(!answer.to_string().contains(ENCODED), "{answer}");
        }
    }
}

#[test]
fn secrets_of_others_are_neither_read_nor_written() {
    Ground::run(
        |_| json!({}),
        |ground| {
            for secret in ground.foreign() {
                let before = ground.seen(&secret);
                assert!(before.contains(ENCODED));
                assert_closed(ground, &secret);
                assert_not_overwritten(ground, &secret);
                assert_eq!(ground.seen(&secret), before);
            }
            let all = ground.account.request("GET", "/api/v1/secrets", &json!({}));
            all.is(403, "Forbidden", "cannot list");
        },
    );
}

#[test]
fn new_secrets_that_belong_to_no_tenant_are_refused_everywhere() {
    Ground::run(
        |_| json!({}),
        |ground| {
            let Namespaces { own, tenants, .. } = ground.namespaces;
            let (account, ours) = (&ground.account, ground.owner(0));
            let mut token = secret(tenants, "new", "kubernetes.io/service-account-token", &ours);
            token["data"] = json!({});
            token["metadata"]["annotations"] = json!({ "kubernetes.io/service-account.name": "default" });
            let mut of_kube = token.clone();
            of_kube["metadata"]["namespace"] = json!("kube-system");
            let named = annotated(secret(tenants, "new", "Opaque", &json!(null)), "tenant-schema", "one");
            let mut generated = secret(tenants, "new", TYPE, &json!(null));
            generated["metadata"] = json!({ "namespace": tenants, "generateName": "new-" });
            let refused = [
                annotated(token, "tenant-schema", "one"),
                annotated(of_kube, "tenant-schema", "one"),
                named,
                generated,
                secret(tenants, "new", "Opaque", &ours),
                secret(tenants, "new", TYPE, &json!(null)),
                secret(tenants, "new", TYPE, &ours),
                secret(tenants, "new", TYPE, &owner(KINDS, "SchemaBackup", "copy", "1")),
                secret(tenants, "new", TYPE, &owner(KINDS, "TenantDatabase", "default", "1")),
                secret(own, "new", "Opaque", &json!(null)),
                secret(own, "new", TYPE, &json!(null)),
                secret("kube-system", "bootstrap-token-abcdef", "bootstrap.kubernetes.io/token", &ours),
            ];
            for secret in refused {
                account.create(&secret).is_refused_by_policy("this one would not");
                account.request("POST", &dry(&collection(&secret)), &secret).is_refused_by_policy("this one would not");
            }
            // Nor is there a way around: another account's token, or the policy out of the way.
            let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic";
            let name = format!("{}-tenant-schema-operator-secrets.{own}", ground.namespaces.id);
            ground.release.kubectl(&["get", &format!("validatingadmissionpolicy/{name}")]);
            let roles = "/apis/rbac.authorization.k8s.io/v1";
            for (method, path) in [
                ("POST", format!("/api/v1/namespaces/{own}/serviceaccounts/default/token")),
                ("DELETE", format!("{policies}ies/{name}")),
                ("PUT", format!("{policies}ies/{name}")),
                ("DELETE", format!("{policies}ybindings/{name}")),
                ("PUT", format!("{policies}ybindings/{name}")),
                ("POST", format!("{roles}/clusterrolebindings")),
                ("POST", format!("{roles}/namespaces/{tenants}/roles")),
                ("POST", format!("/api/v1/namespaces/{tenants}/pods")),
            ] {
                account.request(method, &path, &json!({})).is(403, "Forbidden", "cannot ");
            }
        },
    );
}

#[test]
fn secrets_of_tenants_are_written_replaced_and_stay() {
    let values = |namespaces: &Namespaces| {
        json!({ "credentials": { "namespaces": [namespaces.tenants, namespaces.databases] },
            "watchNamespaces": [namespaces.other] })
    };
    Ground::run(values, |ground| {
        let (account, secret) = (&ground.account, ground.ours("mine"));
        let version = |answer: &Answer| answer.is_taken()["metadata"]["resourceVersion"].clone();
        let created = account.create(&secret);
        let uid = created.is_taken()["metadata"]["uid"].clone();
        account.create(&secret).is(409, "AlreadyExists", "secrets \"mine\" already exists");
        assert_closed(ground, &secret);

        // Replaced by its UID, whatever it is at the time; and without, since only the API server knows it at first.
        let mut next = emptied(&secret);
        next["metadata"]["uid"] = uid.clone();
        let replaced = account.update(&next);
        assert_ne!(version(&replaced), version(&created));
        assert!(!replaced.to_string().contains(ENCODED), "the answer has nothing of what was there: {replaced}");
        assert_eq!(version(&account.update(&next)), version(&replaced), "the same again is not written");
        account.update(&secret).is_taken();
        // A dry run says that it is there, and writes nothing.
        let before = ground.seen(&secret);
        account.request("PUT", &dry(&item(&next)), &next).is_taken();
        assert_eq!(ground.seen(&secret), before);
        let mut stale = next.clone();
        stale["metadata"]["resourceVersion"] = version(&created);
        account.update(&stale).is(409, "Conflict", "the object has been modified");
        let mut another = next.clone();
        another["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
        account.update(&another).is(409, "Conflict", "Precondition failed: UID in precondition");

        // It does not become another tenant's, by UID or by name.
        let mut again = secret.clone();
        again["metadata"]["ownerReferences"] = ground.owner(1);
        account.update(&again).is_refused_by_policy("the one that is there belongs to another");
        let named = |secret: &Value| annotated(secret.clone(), "tenant-schema", "two");
        account.update(&named(&again)).is_refused_by_policy("the one that is there belongs to another");
        account.update(&named(&secret)).is_refused_by_policy("the one that is there belongs to another");
        // Without an owner it stays when that goes, and the next object of the name has it.
        let mut left = secret.clone();
        left["metadata"]["ownerReferences"] = json!(null);
        account.update(&named(&left)).is_refused_by_policy("the one that is there belongs to another");
        assert!(account.update(&left).is_taken()["metadata"].get("ownerReferences").is_none());
        account.update(&named(&again)).is_refused_by_policy("the one that is there belongs to another");
        account.update(&again).is_taken();
        assert_eq!(uid_of(ground, &secret), uid);
        // So has the object that is given the tenant, and no other; while it has an owner, no object has.
        let given = |secret: &Value| annotated(secret.clone(), "given-to", "two");
        account.update(&given(&again)).is_taken();
        account.update(&named(&left)).is_refused_by_policy("the one that is there belongs to another");
        account.update(&given(&left)).is_taken();
        let third = annotated(again.clone(), "tenant-schema", "three");
        account.update(&third).is_refused_by_policy("the one that is there belongs to another");
        account.update(&named(&again)).is_taken();
        account.update(&left).is_refused_by_policy("the one that is there belongs to another");
        account.update(&named(&left)).is_taken();

        ground.release.kubectl(&["delete", "secret/mine", "-n", &ground.namespaces.tenants]);
        account.update(&next).is(404, "NotFound", "secrets \"mine\" not found");
        account.update(&secret).is(404, "NotFound", "secrets \"mine\" not found");

        // The namespaces of `credentials` and no others, those that are watched included.
        let Namespaces { databases, other, own, .. } = ground.namespaces;
        for (namespace, may) in [(databases, true), (other, false), (own, false)] {
            let mut elsewhere = secret.clone();
            elsewhere["metadata"]["namespace"] = json!(namespace);
            let answer = account.request("POST", &dry(&collection(&elsewhere)), &elsewhere);
            if may { drop(answer.is_taken().clone()) } else { answer.is(403, "Forbidden", "cannot create resource") }
        }
    });
}

#[test]
fn what_is_in_the_way_of_a_secret_has_words_of_its_own() {
    Ground::run(
        |_| json!({}),
        |ground| {
            let Namespaces { databases: full, other: going, .. } = ground.namespaces;
            let (account, release) = (&ground.account, ground.release);
            let here =
                |namespace: &str| annotated(secret(namespace, "mine", TYPE, &ground.owner(0)), "tenant-schema", "one");
            let hard = json!({ "hard": { "secrets": "0" } });
            let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota",
                "metadata": { "namespace": full, "name": "none" }, "spec": hard });
            release.apply(&quota);
            // No controller counts here.
            let counted = json!({ "status": { "hard": hard["hard"], "used": { "secrets": "0" } } }).to_string();
            let quota = ["patch", "quota/none", "-n", full, "--subresource=status", "--type=merge", "-p", &counted];
            release.kubectl(&quota);
            let is_counted = || account.request("POST", &dry(&collection(&here(full))), &here(full)).code != 201;
            wait_until(DEADLINE, "the quota is counted", is_counted).unwrap();
            account.create(&here(full)).is(403, "Forbidden", "exceeded quota: none");
            account.create(&secret(full, "mine", "Opaque", &json!(null))).is_refused_by_policy("this one would not");

            release.apply(&json!({ "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "namespace": going, "name": "stays", "finalizers": ["example.org/stays"] } }));
            release.kubectl(&["delete", "namespace", going, "--wait=false"]);
            let answer = account.create(&here(going));
            answer.is(403, "Forbidden", "because it is being terminated");
            assert_eq!(answer.text("/details/causes/0/reason"), "NamespaceTerminating");
            let let_go = json!({ "metadata": { "finalizers": null } }).to_string();
            release.kubectl(&["patch", "configmap/stays", "-n", going, "--type=merge", "-p", &let_go]);

            account.create(&here("no-such-namespace")).is(
                404,
                "NotFound",
                "namespaces \"no-such-namespace\" not found",
            );
        },
    );
}

/// The operator asks the policy whether a Secret is as it wrote it, since it may not read it.
#[test]
fn a_secret_is_compared_without_being_read() {
    Ground::run(
        |_| json!({}),
        |ground| {
            let account = &ground.account;
            let differs = format!("{DIFFERS_WORDS}, or leads elsewhere");
            let with = |credential: &str, endpoint: &str| {
                annotated(annotated(ground.ours("mine"), "credential-id", credential), "endpoint", endpoint)
            };
            let created = account.create(&with("first", "here"));
            let uid = created.is_taken()["metadata"]["uid"].clone();
            let before = ground.seen(&ground.ours("mine"));
            let compare = |secret: Value| {
                let secret = emptied(&annotated(secret, "compare", ""));
                account.request("PUT", &dry(&item(&secret)), &secret)
            };
            let same = compare(with("first", "here"));
            assert_eq!(same.is_taken()["metadata"]["uid"], uid);
            assert!(!same.to_string().contains(ENCODED), "{same}");
            for other in [with("second", "here"), with("first", "there"), ground.ours("mine")] {
                compare(other).is(422, "Invalid", &differs);
            }
            let mut another = with("first", "here");
            another["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
            compare(another).is(409, "Conflict", "Precondition failed: UID in precondition");
            // A comparison is never written.
            let written = annotated(with("first", "here"), "compare", "");
            account.update(&written).is(422, "Invalid", &differs);
            assert_eq!(ground.seen(&ground.ours("mine")), before);
        },
    );
}

/// Why the operator has no right to patch Secrets: it would be one to read them all.
#[test]
fn a_right_to_patch_would_be_a_right_to_read() {
    Ground::run(
        |_| json!({}),
        |ground| {
            let other = &ground.namespaces.other;
            let private = secret(other, "private", "Opaque", &json!(null));
            ground.release.apply(&private);
            let account =
                format!("--serviceaccount={0}:{1}-tenant-schema-operator", ground.namespaces.own, ground.namespaces.id);
            ground.release.kubectl(&["create", "role", "patch", "--verb=patch", "--resource=secrets", "-n", other]);
            ground.release.kubectl(&["create", "rolebinding", "patch", "--role=patch", &account, "-n", other]);
            let patch = |body: Value| ground.account.patch(&item(&private), "merge-patch+json", &body);
            let policy_answers = || patch(json!({})).code == 422;
            wait_until(DEADLINE, "the role is known", policy_answers).unwrap();
            patch(json!({})).is_refused_by_policy("the one that is there does not");
            // The API server cannot decode the outcome, and says what it is before it asks any policy.
            patch(json!({ "kind": "X" })).is(422, "Invalid", ENCODED);
        },
    );
}
