//! The one-file manifest for clusters without Helm: what the chart makes of its defaults.

use std::{fs, path::Path};

use serde_json::json;

use super::helm::Helm;

const HEAD: &str = "# The operator with its kinds, in namespace tenant-schema-system: what the chart makes of its defaults. Written by `make crds`.
#
#   kubectl apply --server-side -f install.yaml
apiVersion: v1
kind: Namespace
metadata:
  name: tenant-schema-system
";

#[test]
fn the_one_file_manifest_is_fresh() {
    let Some(helm) = Helm::offline() else { return };
    let command = ["template", "tenant-schema-operator", "--namespace", "tenant-schema-system", "--no-hooks"];
    let rendered = helm.render(&command, &json!({})).unwrap();
    let wanted = format!("{HEAD}{}", rendered.trim_start_matches('\n'));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/install.yaml");
    if fs::read_to_string(&file).ok().as_deref() != Some(&wanted) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, wanted).unwrap();
        panic!("{} was stale and has been written again; commit it", file.display());
    }
}
