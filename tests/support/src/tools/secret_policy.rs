//! The chart's policy on the Secrets that an operator may write, as `dist/install.yaml` has it, for the operator of one world.

use std::{fs, io::Write, time::Duration};

use devcluster::ControlPlaneInfo;
use tenant_schema_operator::kubernetes::secrets::GUARD_WORDS;

use crate::repository;

/// The operator's service account there.
const ACCOUNT: &str = "system:serviceaccount:tenant-schema-system:tenant-schema-operator";
/// The policy's name there.
const NAME: &str = "tenant-schema-operator-secrets.tenant-schema-system";

/// Installs it for this user, and waits until the API server follows it.
pub fn install(plane: &ControlPlaneInfo, user: &str) {
    let all = fs::read_to_string(repository().join("dist/install.yaml")).unwrap();
    let policy: Vec<_> = all.split("\n---\n").filter(|part| part.contains("kind: ValidatingAdmissionPolicy")).collect();
    assert_eq!(policy.len(), 2, "the policy and its binding");
    let policy = policy.join("\n---\n").replace(NAME, user);
    assert!(policy.contains(ACCOUNT), "it is for one user");
    apply(plane, &["apply", "--server-side"], &policy.replace(ACCOUNT, user)).unwrap();
    let probe = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"namespace":"default","name":"probe"}}"#;
    let try_it = ["create", "--dry-run=server", "--as", user, "--as-group", "system:masters"];
    let refuses = || apply(plane, &try_it, probe).is_err_and(|error| error.to_string().contains(GUARD_WORDS));
    devcluster::wait_until(Duration::from_mins(1), "the policy is in force", refuses).unwrap();
}

/// Takes it away.
pub fn remove(plane: &ControlPlaneInfo, user: &str) {
    for kind in ["validatingadmissionpolicy", "validatingadmissionpolicybinding"] {
        plane.kubectl(&["delete", kind, user, "--ignore-not-found"]).unwrap();
    }
}

fn apply(plane: &ControlPlaneInfo, command: &[&str], manifest: &str) -> Result<String, devcluster::Error> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(manifest.as_bytes()).unwrap();
    plane.kubectl(&[command, &["-f", &file.path().display().to_string()]].concat())
}
