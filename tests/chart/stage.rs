//! What a test of an installed chart stands on: namespaces, a release, and the operator as its pod would run it: with the
//! arguments, the environment and the token of the Deployment. There is no kubelet here, so the test runs the program.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use devcluster::{ControlPlaneInfo, PostgresServer, free_port, wait_until};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::helm::{Helm, chart, documents, file};

/// How long a test waits for anything; this is for machines that are busy.
pub const DEADLINE: Duration = Duration::from_mins(1);
/// The level at which the operator logs what it was refused.
pub const DEBUG: &str = "info,tenant_schema_operator=debug";
const PROGRAM: &str = env!("CARGO_BIN_EXE_tenant-schema-operator");

/// Namespaces of one test, which go with the value.
pub struct Namespaces<'a> {
    plane: &'a ControlPlaneInfo,
    /// What is this test's own in every name.
    pub id: String,
    /// The operator's.
    pub own: String,
    /// With tenants that it works for.
    pub tenants: String,
    /// With a server's Secrets.
    pub databases: String,
    /// That it has nothing to do with.
    pub other: String,
}

impl<'a> Namespaces<'a> {
    /// Makes them.
    pub fn new(plane: &'a ControlPlaneInfo, prefix: &str) -> Self {
        let id = format!("{prefix}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let name = |what: &str| format!("{id}-{what}");
        let made = Self {
            plane,
            own: name("own"),
            tenants: name("tenants"),
            databases: name("databases"),
            other: name("other"),
            id,
        };
        for name in made.all() {
            plane.kubectl(&["create", "namespace", name]).unwrap();
        }
        made
    }

    fn all(&self) -> [&str; 4] {
        [&self.own, &self.tenants, &self.databases, &self.other]
    }
}

impl Drop for Namespaces<'_> {
    fn drop(&mut self) {
        // They empty themselves; the test does not wait for that.
        let _ = self.plane.kubectl(&[&["delete", "namespace", "--wait=false"], &self.all()[..]].concat());
    }
}

/// A database that belongs to a login which may make roles, and the text of a Secret that leads to it.
pub fn make_database(server: &PostgresServer, database: &str, login: &str) -> Value {
    let info = server.info();
    info.psql("postgres", &format!("CREATE ROLE {login} LOGIN CREATEROLE PASSWORD 'pw'")).unwrap();
    info.psql("postgres", &format!("CREATE DATABASE {database} OWNER {login}")).unwrap();
    json!({
        "host": info.host, "port": info.port.to_string(), "database": database, "username": login, "password": "pw",
        "ca.crt": fs::read_to_string(&info.ca_path).unwrap(),
    })
}

/// A Secret with these keys.
pub fn secret(namespace: &str, name: &str, data: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "namespace": namespace, "name": name }, "stringData": data })
}

/// A kubeconfig of a user in these groups.
pub fn kubeconfig_of(plane: &ControlPlaneInfo, user: &str, groups: &[&str]) -> NamedTempFile {
    let kubeconfig = NamedTempFile::new().unwrap();
    fs::write(kubeconfig.path(), plane.kubeconfig_for(user, groups).unwrap()).unwrap();
    kubeconfig
}

/// Whether the user of this kubeconfig may do so.
pub fn may(plane: &ControlPlaneInfo, kubeconfig: &NamedTempFile, what: &[&str]) -> bool {
    let mut command = Command::new(plane.kubectl_path());
    command.args(["auth", "can-i"]).args(what).env("KUBECONFIG", kubeconfig.path());
    let output = command.output().unwrap();
    match String::from_utf8_lossy(&output.stdout).trim() {
        "yes" => true,
        "no" => false,
        other => panic!("can-i {what:?}: {other:?} {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// A release of the chart.
pub struct Release<'a> {
    /// Helm for the cluster.
    pub helm: Helm,
    /// The cluster.
    pub plane: &'a ControlPlaneInfo,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl Release<'_> {
    /// Runs a command of Helm on the release.
    pub fn helm(&self, command: &[&str], arguments: &[&str]) -> Result<String, String> {
        self.helm.run(&[command, &[self.name], arguments, &["--namespace", self.namespace]].concat())
    }

    /// Installs the chart with these values, or upgrades to them.
    pub fn install(&self, values: &Value) -> Result<String, String> {
        let (chart, values) = (chart().display().to_string(), file(values));
        self.helm(&["upgrade", "--install"], &[&chart, "--values", values.path().to_str().unwrap()])
    }

    /// The number of its last revision.
    pub fn revision(&self) -> String {
        let status: Value = serde_json::from_str(&self.helm(&["status"], &["-o", "json"]).unwrap()).unwrap();
        status["version"].to_string()
    }

    /// What the release consists of, hooks apart.
    pub fn objects(&self) -> Vec<Value> {
        documents(&self.helm(&["get", "manifest"], &[]).unwrap())
    }

    /// The hook before the release goes.
    pub fn check_job(&self) -> Value {
        documents(&self.helm(&["get", "hooks"], &[]).unwrap()).into_iter().find(|hook| hook["kind"] == "Job").unwrap()
    }

    /// The Deployment of the release.
    pub fn deployment(&self) -> Value {
        self.objects().into_iter().find(|object| object["kind"] == "Deployment").unwrap()
    }

    /// Applies an object as administrator.
    pub fn apply(&self, object: &Value) {
        self.plane.kubectl(&["apply", "--server-side", "-f", file(object).path().to_str().unwrap()]).unwrap();
    }

    /// Runs kubectl as administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.plane.kubectl(arguments).unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// Waits for what `kubectl wait` can wait for.
    pub fn wait(&self, condition: &str, object: &str, namespace: &str, operator: &Operator) {
        let arguments = ["wait", "--for", condition, object, "--namespace", namespace, "--timeout=60s"];
        self.plane.kubectl(&arguments).unwrap_or_else(|error| {
            let found = self.kubectl(&["get", object, "--namespace", namespace, "-o", "yaml", "--ignore-not-found"]);
            panic!("{error}\n{found}\n{}", operator.log())
        });
    }

    /// A kubeconfig with a token of the release's service account.
    pub fn kubeconfig(&self) -> NamedTempFile {
        let account = self.deployment()["spec"]["template"]["spec"]["serviceAccountName"].as_str().unwrap().to_owned();
        let token = self.kubectl(&["create", "token", &account, "--namespace", self.namespace]);
        file(&json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "pod",
            "contexts": [{ "name": "pod", "context": { "cluster": "here", "user": "account" } }],
            "clusters": [{ "name": "here", "cluster":
                { "server": self.plane.url, "certificate-authority": self.plane.pki_dir.join("ca.crt") } }],
            "users": [{ "name": "account", "user": { "token": token.trim() } }],
        }))
    }

    /// The container of a Deployment or Job as a command.
    fn command(&self, workload: &Value, kubeconfig: &NamedTempFile) -> Command {
        let container = &workload["spec"]["template"]["spec"]["containers"][0];
        let mut command = Command::new(PROGRAM);
        command.args(container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()));
        command.env("KUBECONFIG", kubeconfig.path()).stdin(Stdio::null()).stdout(Stdio::null());
        for variable in container["env"].as_array().into_iter().flatten() {
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.namespace") => self.namespace,
                Some(other) => panic!("a pod has {other}"),
                None => variable["value"].as_str().unwrap(),
            };
            command.env(variable["name"].as_str().unwrap(), value);
        }
        command
    }

    /// Runs the operator.
    pub fn start(&self) -> Operator {
        let (kubeconfig, log) = (self.kubeconfig(), NamedTempFile::new().unwrap());
        let port = free_port().unwrap();
        let child = self
            .command(&self.deployment(), &kubeconfig)
            .env("TSO_HTTP_ADDR", format!("127.0.0.1:{port}"))
            .stderr(File::create(log.path()).unwrap())
            .spawn()
            .unwrap();
        let operator = Operator { child, log, _kubeconfig: kubeconfig };
        let probe = &self.deployment()["spec"]["template"]["spec"]["containers"][0]["readinessProbe"];
        let path = probe["httpGet"]["path"].as_str().unwrap();
        wait_until(DEADLINE, "the operator is ready", || get(port, path).as_deref() == Some("ok"))
            .unwrap_or_else(|error| panic!("{error}:\n{}", operator.log()));
        operator
    }

    /// Runs what the check before uninstalling runs: whether it agrees, and what it says.
    pub fn check(&self) -> (bool, String) {
        self.judged(&self.check_job())
    }

    /// Runs what the pod of `helm test` runs: whether it agrees, and what it says.
    pub fn test(&self) -> (bool, String) {
        let hooks = documents(&self.helm(&["get", "hooks"], &[]).unwrap());
        self.judged(&json!({ "spec": { "template": hooks.into_iter().find(|hook| hook["kind"] == "Pod").unwrap() } }))
    }

    fn judged(&self, workload: &Value) -> (bool, String) {
        let kubeconfig = self.kubeconfig();
        let output = self.command(workload, &kubeconfig).stdout(Stdio::piped()).output().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    }

    /// Uninstalls the release, running the Job of the hook as a cluster would; what Helm says, and what the check said.
    pub fn uninstall(&self) -> (Result<String, String>, String) {
        let job = self.check_job()["metadata"]["name"].as_str().unwrap().to_owned();
        thread::scope(|scope| {
            let helm = scope.spawn(|| self.helm(&["uninstall"], &["--timeout", "60s"]));
            let conditions = ["get", "job", &job, "--namespace", self.namespace, "-o", "jsonpath={.status.conditions}"];
            wait_until(DEADLINE, "Helm makes the Job of the hook", || {
                self.plane.kubectl(&conditions).is_ok_and(|conditions| conditions.is_empty())
            })
            .unwrap();
            let (agrees, said) = self.check();
            let now = "2026-01-01T00:00:00Z";
            let condition = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": now });
            let status = if agrees {
                json!({ "startTime": now, "completionTime": now, "succeeded": 1,
                    "conditions": [condition("SuccessCriteriaMet"), condition("Complete")] })
            } else {
                json!({ "startTime": now, "failed": 1, "conditions": [condition("FailureTarget"), condition("Failed")] })
            };
            let patch = json!({ "status": status }).to_string();
            self.kubectl(&[
                "patch",
                "job",
                &job,
                "--namespace",
                self.namespace,
                "--subresource=status",
                "--type=merge",
                "-p",
                &patch,
            ]);
            (helm.join().unwrap(), said)
        })
    }
}

/// A running operator; it ends with its value.
pub struct Operator {
    child: Child,
    log: NamedTempFile,
    _kubeconfig: NamedTempFile,
}

impl Operator {
    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap()
    }

    /// Ends it as Kubernetes does. The API server refused it nothing, Events included, which it could do without.
    pub fn stop_unrefused(mut self) {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
        let log = self.log();
        let refused: Vec<_> = log.lines().filter(|line| line.contains("forbidden")).collect();
        assert!(refused.is_empty() && log.contains("\"DEBUG\""), "{refused:#?}");
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // Both fail if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of an HTTP answer.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}
