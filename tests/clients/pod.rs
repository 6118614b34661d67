//! A manifest as the kubelet carries it out: Secrets as files and as variables of the environment, and the words of the command.

use std::{
    cell::Cell,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use support::repository;
use tempfile::TempDir;

use crate::{
    tenant::{Keys, Secrets},
    tools,
};

/// The first container of a manifest's pod, and the Secrets that it mounts.
pub struct Pod {
    container: Value,
    environment: Vec<(String, String)>,
    mounts: Vec<Mount>,
}

/// A Secret as files.
struct Mount {
    /// Where the manifest has it.
    path: String,
    secret: String,
    /// The keys that are files; none is all.
    items: Vec<String>,
    folder: TempDir,
    renewed: Cell<u32>,
}

impl Pod {
    /// As a pod of this manifest starts.
    pub fn start(manifest: &Value, secrets: &Secrets) -> Self {
        let pod = &manifest["spec"]["template"]["spec"];
        let container = pod["containers"][0].clone();
        let volume = |name: &Value| {
            let volumes = pod["volumes"].as_array().unwrap();
            &volumes.iter().find(|volume| volume["name"] == *name).unwrap()["secret"]
        };
        let mounts = container["volumeMounts"].as_array().into_iter().flatten().map(|mount| {
            let secret = volume(&mount["name"]);
            let items = secret["items"].as_array().into_iter().flatten();
            assert!(mount.get("subPath").is_none(), "what is mounted by subPath is never renewed");
            Mount {
                path: mount["mountPath"].as_str().unwrap().to_owned(),
                secret: secret["secretName"].as_str().unwrap().to_owned(),
                items: items.map(|item| item["key"].as_str().unwrap().to_owned()).collect(),
                folder: tempfile::tempdir().unwrap(),
                renewed: Cell::new(0),
            }
        });
        let mut this = Self { mounts: mounts.collect(), environment: Vec::new(), container };
        this.renew(secrets);
        for variable in this.container["env"].as_array().into_iter().flatten() {
            let from = &variable["valueFrom"]["secretKeyRef"];
            let value = match variable["value"].as_str() {
                Some(value) => this.here(&this.expanded(value)),
                None => secrets[from["name"].as_str().unwrap()][from["key"].as_str().unwrap()].clone(),
            };
            this.environment.push((variable["name"].as_str().unwrap().to_owned(), value));
        }
        this
    }

    /// The files are those of the Secrets now, as they are some time after these changed.
    pub fn renew(&self, secrets: &Secrets) {
        for mount in &self.mounts {
            mount.renew(&secrets[&mount.secret]);
        }
    }

    /// The words of the command, with the variables that are in them.
    pub fn words(&self) -> Vec<String> {
        let words = ["command", "args"].iter().flat_map(|key| self.container[key].as_array().into_iter().flatten());
        let text = |word: &Value| word.as_str().map_or_else(|| word.to_string(), str::to_owned);
        words.map(|word| self.here(&self.expanded(&text(word)))).collect()
    }

    /// A command with the container's environment, and without what leads libpq elsewhere here.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("PG")) {
            command.env_remove(variable);
        }
        command.envs(self.environment.iter().cloned());
        command
    }

    /// A text with the places where the Secrets are files here.
    pub fn here(&self, text: &str) -> String {
        let places = self.mounts.iter();
        places.fold(text.to_owned(), |text, mount| text.replace(&mount.path, mount.folder.path().to_str().unwrap()))
    }

    /// Copies the files of an example, with the places where the Secrets are files here.
    pub fn copy_here(&self, example: &str, into: &Path) {
        let from = repository().join("examples/applications").join(example);
        tools::copy(&from, into, None);
        for file in files(&from) {
            let text = self.here(&fs::read_to_string(&file).unwrap());
            fs::write(into.join(file.strip_prefix(&from).unwrap()), text).unwrap();
        }
    }

    /// `$(NAME)` is the value of a variable that comes before.
    fn expanded(&self, text: &str) -> String {
        let known = self.environment.iter();
        known.fold(text.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
    }
}

/// The files in a folder and in those in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

impl Mount {
    /// All files change in one step: they are links through one link to a folder, which comes to lead to another one.
    fn renew(&self, keys: &Keys) {
        self.renewed.set(self.renewed.get() + 1);
        let (root, name) = (self.folder.path(), format!("..{}", self.renewed.get()));
        fs::create_dir(root.join(&name)).unwrap();
        for (key, value) in keys.iter().filter(|(key, _)| self.items.is_empty() || self.items.contains(key)) {
            fs::write(root.join(&name).join(key), value).unwrap();
            if !root.join(key).is_symlink() {
                symlink(Path::new("..data").join(key), root.join(key)).unwrap();
            }
        }
        symlink(&name, root.join("..next")).unwrap();
        fs::rename(root.join("..next"), root.join("..data")).unwrap();
    }
}
