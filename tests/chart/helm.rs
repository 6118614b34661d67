//! Running Helm.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use devcluster::{KUBERNETES_VERSION, target_dir};
use serde_json::Value;
use support::tools::finalizer_policy::API_VERSION;
use tempfile::NamedTempFile;

/// Helm, and where it is pointed to.
pub struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
}

/// The chart's folder.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/tenant-schema-operator")
}

/// The documents of a file; empty ones are left out.
pub fn documents(text: &str) -> Vec<Value> {
    let parsed = text.split("\n---").map(|document| serde_saphyr::from_str(document).expect("a YAML document"));
    parsed.filter(|document: &Value| !document.is_null()).collect()
}

/// Values as a file.
pub fn file(values: &Value) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(values.to_string().as_bytes()).unwrap();
    file
}

impl Helm {
    /// Helm for this cluster. Nothing, with a message, where it cannot be had.
    pub fn find(kubeconfig: &Path) -> Option<Self> {
        let Some(program) = devcluster::helm().unwrap() else {
            eprintln!("skipped: neither helm 3 nor go is installed");
            return None;
        };
        Some(Self { program, kubeconfig: kubeconfig.to_owned() })
    }

    /// Helm for what needs no cluster.
    pub fn offline() -> Option<Self> {
        Self::find(Path::new("/dev/null"))
    }

    /// What it prints, or what it says is wrong.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let home = target_dir().join("helm");
        let output = Command::new(&self.program)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Runs a command on the chart with these values, as for a cluster that has the kinds already.
    pub fn render(&self, command: &[&str], values: &Value) -> Result<String, String> {
        let (chart, values) = (chart().display().to_string(), file(values));
        let mut arguments = command.to_vec();
        arguments.extend([
            chart.as_str(),
            "--kube-version",
            KUBERNETES_VERSION,
            "--values",
            values.path().to_str().unwrap(),
        ]);
        self.run(&arguments)
    }

    /// The objects that the chart makes of these values in namespace `own`, hooks too.
    pub fn objects(&self, own: &str, values: &Value) -> Vec<Value> {
        let mut command = vec!["template", "tso", "--namespace", own];
        command.extend(["--api-versions", "edumatrixhub.io/v1alpha1/TenantDatabase", "--api-versions", API_VERSION]);
        documents(&self.render(&command, values).unwrap_or_else(|error| panic!("{values}: {error}")))
    }
}
