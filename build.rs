//! Lists the SQL files that make an installation, in the order in which they are run, so that a new file is installed
//! without an entry in a list.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// The folders of `sql/` that an installation consists of, in order; within a folder files are in order of their names.
const FOLDERS: [&str; 3] = ["registry", "schema_management", "observe"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("sql");
    let mut list = String::from("&[\n");
    for folder in FOLDERS {
        for file in sql_files(&root.join(folder))? {
            let name = file.file_name().and_then(|name| name.to_str()).ok_or("a file name that is not text")?;
            // A plain query that needs no installation, and so is not part of one.
            if (folder, name) != ("observe", "database.sql") {
                let path = file.display().to_string();
                writeln!(list, "    (\"{folder}/{name}\", include_str!({path:?})),")?;
            }
        }
        println!("cargo::rerun-if-changed={}", root.join(folder).display());
    }
    list.push(']');
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("sql_files.rs"), list)?;
    Ok(())
}

fn sql_files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
