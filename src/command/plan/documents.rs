//! The manifests of files and folders, as they are written.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;
use thiserror::Error;

/// Why files cannot be read as manifests.
#[derive(Debug, Error)]
pub enum Error {
    /// The file or folder cannot be read.
    #[error("cannot read {0}")]
    File(String, #[source] io::Error),
    /// The file is no YAML.
    #[error("{0} is not valid YAML")]
    Yaml(String, #[source] Box<serde_saphyr::Error>),
    /// The document does not say which object it is.
    #[error("document {1} of {0} has no metadata.name")]
    Nameless(String, usize),
}

/// One manifest, with nothing left out.
#[derive(Debug)]
pub struct Document(Value);

impl Document {
    pub fn kind(&self) -> &str {
        self.0["kind"].as_str().unwrap_or("an object without a kind")
    }

    /// Whether it is of a kind that is planned.
    fn is_ours(&self) -> bool {
        ["TenantSchema", "TenantDatabase", "SchemaBackup"].contains(&self.kind())
    }

    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub fn namespace(&self) -> Option<&str> {
        self.0["metadata"]["namespace"].as_str()
    }

    pub fn json(&self) -> &Value {
        &self.0
    }
}

/// The documents of all files, in the order of their names in each folder; `-` is standard input.
pub fn read(files: &[PathBuf]) -> Result<Vec<Document>, Error> {
    let mut documents = Vec::new();
    for file in files {
        if file.as_os_str() == "-" {
            let text = io::read_to_string(io::stdin()).map_err(|source| Error::File("-".to_owned(), source))?;
            documents.extend(parse("-", &text)?);
        } else if file.is_dir() {
            documents.extend(folder(file)?);
        } else {
            documents.extend(one(file)?);
        }
    }
    Ok(documents)
}

/// Manifests of a folder and all folders in it.
fn folder(path: &Path) -> Result<Vec<Document>, Error> {
    let failed = |source| Error::File(path.display().to_string(), source);
    let entries = fs::read_dir(path).map_err(failed)?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    paths.sort();
    let mut documents = Vec::new();
    for path in paths {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if path.is_dir() {
            documents.extend(folder(&path)?);
        } else if ["yaml", "yml", "json"].contains(&ending) {
            documents.extend(one(&path)?);
        }
    }
    Ok(documents)
}

fn one(path: &Path) -> Result<Vec<Document>, Error> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| Error::File(name.clone(), source))?;
    parse(&name, &text)
}

fn parse(file: &str, text: &str) -> Result<Vec<Document>, Error> {
    let values: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|source| Error::Yaml(file.to_owned(), Box::new(source)))?;
    let mut documents = Vec::new();
    for (index, value) in values.into_iter().enumerate().filter(|(_, value)| !value.is_null()) {
        let mut document = Document(value);
        // What `kubectl get -o yaml` shows and no manifest may have.
        if let Some(metadata) = document.0["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        if document.is_ours() && document.name().is_empty() {
            return Err(Error::Nameless(file.to_owned(), index + 1));
        }
        documents.push(document);
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = match parse("file", text) {
            Ok(documents) => {
                let line = |document: &Document| format!("{} {}", document.kind(), document.name());
                documents.iter().map(line).collect::<Vec<_>>().join(", ")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn documents_are_read_as_they_are_written() {
        check("", "");
        check("---\n---\nkind: A\nmetadata: {name: b}\n---\nkind: C\nmetadata: {name: d}\n", "A b, C d");
        check("kind: TenantSchema\n", "document 1 of file has no metadata.name");
        check("name: x\n", "an object without a kind ");
        check("a: [", "file is not valid YAML");
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_names() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        fs::create_dir(folder.path().join("c")).unwrap();
        write("c/one.yml", "kind: C\nmetadata: {name: c}");
        write("b.yaml", "kind: B\nmetadata: {name: b}");
        write("a.json", r#"{"kind": "A", "metadata": {"name": "a"}}"#);
        write("README.md", "no manifest");
        let kinds: Vec<_> =
            read(&[folder.path().to_owned()]).unwrap().iter().map(|one| one.kind().to_owned()).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        assert!(read(&[folder.path().join("none.yaml")]).unwrap_err().to_string().starts_with("cannot read"));
    }
}
