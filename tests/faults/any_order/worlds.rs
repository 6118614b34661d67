//! Worlds that are exchanged for others: older states of either side, dumps in which every schema has another identifier, copies on
//! the same server, and another cluster that claims the database.

use std::{collections::BTreeMap, path::Path, process::Command};

use devcluster::PostgresCopy;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tempfile::TempDir;
use tenant_schema_operator::api::{REBIND, TAKE_OVER};
use tokio::task::block_in_place;

use super::{Safety, model::Life};
use crate::agreement::prefix;

/// What the database was once.
pub enum Older {
    /// The server's whole directory, in which the tenants' database had this name.
    Server {
        copy: PostgresCopy,
        database: String,
        lives: BTreeMap<u64, Life>,
    },
    Dump(Dump),
}

/// The roles and the database as the tools write them.
pub struct Dump {
    files: TempDir,
    lives: BTreeMap<u64, Life>,
}

/// The database that the present one was copied of, as it was when the TenantDatabase left it.
pub struct Beside {
    database: String,
    lives: BTreeMap<u64, Life>,
}

/// The roles before and after the data was dumped, since tenants come and go meanwhile.
const ROLES: [&str; 2] = ["roles-before.sql", "roles-after.sql"];
/// The holder's last sign of life is a minute old, as when it is gone.
const SILENT: &str = "UPDATE edu_matrix_hub_schema.installation SET heartbeat_at = heartbeat_at - interval '60 s'";
/// What an operator of another cluster sends, with the words that the message of its condition tells.
const CLAIM: &str = "SELECT edu_matrix_hub_schema.claim_lane(jsonb_build_object(
    'cluster', 'elsewhere', 'tenant_database', 'drill', 'holder', 'a drill', 'lease', 'drill', 'claim_id', gen_random_uuid(),
    'take_over', i.cluster || '/' || i.epoch)) ->> 'status' FROM edu_matrix_hub_schema.installation AS i";
/// What has to be said to take the database back from there.
const TAKE_BACK: &str =
    "SELECT cluster || '/' || epoch FROM edu_matrix_hub_schema.installation WHERE cluster = 'elsewhere'";

impl Safety {
    /// Keeps what there is now, to go back to it: of both sides, or of one.
    pub fn remember(&mut self) {
        let which = self.chance.below(3);
        if which != 0 {
            let snapshot = block_in_place(|| self.stage.plane.snapshot()).unwrap();
            self.snapshots.push((snapshot, self.model.of_cluster()));
        }
        if which != 1 {
            let older = if self.chance.below(3) == 0 {
                self.dump().map(Older::Dump)
            } else {
                let copy = block_in_place(|| self.stage.server.copy()).unwrap();
                let database = self.stage.world.database.clone();
                Some(Older::Server { copy, database, lives: self.model.of_database() })
            };
            self.copies.extend(older);
        }
        // Only the last few, since each takes space.
        self.snapshots.drain(..self.snapshots.len().saturating_sub(3));
        self.copies.drain(..self.copies.len().saturating_sub(3));
    }

    pub async fn restore_cluster(&mut self) {
        let Some(chosen) = self.any_of(self.snapshots.len()) else { return };
        self.says(format!("restore etcd to snapshot {chosen}"));
        let (snapshot, objects) = &self.snapshots[chosen];
        block_in_place(|| self.stage.plane.restore(snapshot)).unwrap();
        self.model.cluster_went_back(objects);
        self.stage.answers().await;
        // The Secret of then may lead to a database that is gone.
        self.stage.write_secrets().await;
    }

    pub async fn restore_database(&mut self) {
        let Some(chosen) = self.any_of(self.copies.len()) else { return };
        let promoted = self.chance.below(2) == 0;
        if let Older::Server { copy, database, lives } = &self.copies[chosen] {
            let server = &mut self.stage.server;
            block_in_place(|| if promoted { server.fail_over(copy) } else { server.restore(copy) }).unwrap();
            self.model.database_went_back(lives.clone());
            self.stage.world.database.clone_from(database);
            self.stage.write_secrets().await;
            self.says(format!("restored PostgreSQL to copy {chosen}, on a new timeline: {promoted}"));
        } else {
            self.restore_dump(Some(chosen)).await;
        }
    }

    pub fn any_of(&mut self, length: usize) -> Option<usize> {
        (length > 0).then(|| usize::try_from(self.chance.below(length as u64)).unwrap())
    }

    /// Runs a client program on the server; says what went wrong.
    fn tool(&self, name: &str, arguments: &[&str]) -> Result<(), String> {
        let info = self.stage.server.info();
        let mut command = Command::new(info.tool(name).unwrap());
        let output = block_in_place(|| command.args(arguments).envs(info.env()).output()).unwrap();
        output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Dumps the roles and the database while the operators live on. One that drops something meanwhile may be in the way.
    fn dump(&mut self) -> Option<Dump> {
        let dump = Dump { files: TempDir::new().unwrap(), lives: self.model.of_database() };
        let database = self.stage.world.database.clone();
        let data = ["-Fc", "-f", &dump.file("data"), &database];
        let roles = |name: &str| self.tool("pg_dumpall", &["--roles-only", "-f", &dump.file(name)]);
        let done = roles(ROLES[0]).and_then(|()| self.tool("pg_dump", &data)).and_then(|()| roles(ROLES[1]));
        self.says(format!("dump the database: {done:?}"));
        done.is_ok().then_some(dump)
    }

    /// Restores a dump, the one of this number or one that is made now, under the database's own name. All identifiers change.
    pub async fn restore_dump(&mut self, chosen: Option<usize>) {
        let fresh = if chosen.is_none() { self.dump() } else { None };
        let dump = match chosen.map(|chosen| &self.copies[chosen]) {
            Some(Older::Dump(dump)) => dump,
            _ => match &fresh {
                Some(dump) => dump,
                None => return,
            },
        };
        let (files, lives) = (dump.files.path().to_owned(), dump.lives.clone());
        let (database, restored) = (self.stage.world.database.clone(), "restored");
        // What is there already is told as an error, and no other is expected.
        for roles in ROLES {
            drop(self.tool("psql", &["-X", "-q", "-d", "postgres", "-f", &path(&files, roles)]));
        }
        self.make_database(restored, "");
        self.tool("pg_restore", &["--exit-on-error", "-d", restored, &path(&files, "data")]).unwrap();
        self.server_sql(&format!("DROP DATABASE {database} WITH (FORCE)"));
        self.server_sql(&format!("ALTER DATABASE {restored} RENAME TO {database}"));
        self.model.database_went_back(lives);
        self.left_by_dumps.extend(self.roles_of_no_row());
        self.says(format!("restored the dump {chosen:?}"));
        if self.chance.below(2) == 0 {
            self.bind_again().await;
        }
    }

    /// Roles of tenants that the registry does not know, as a restored dump leaves them on the server.
    fn roles_of_no_row(&self) -> Vec<String> {
        let prefix = prefix(&self.stage.world);
        let sql = format!(
            "SELECT p.rolname FROM pg_roles AS p WHERE starts_with(p.rolname, '{prefix}') AND NOT EXISTS (
                SELECT FROM edu_matrix_hub_schema.tenant_schemas AS t
                WHERE p.rolname IN (t.owner_role, t.reader_role, t.writer_role))"
        );
        block_in_place(|| self.stage.world.sql(&sql)).lines().map(str::to_owned).collect()
    }

    fn server_sql(&self, sql: &str) -> String {
        block_in_place(|| self.stage.world.sql_in("postgres", sql))
    }

    fn make_database(&self, name: &str, template: &str) {
        let world = &self.stage.world;
        self.server_sql(&format!("CREATE DATABASE {name} OWNER {} {template}", world.login()));
        let owner = world.owner_role();
        self.server_sql(&format!("GRANT CREATE ON DATABASE {name} TO {owner}"));
        self.server_sql(&format!("GRANT CONNECT ON DATABASE {name} TO {owner} WITH GRANT OPTION"));
    }

    /// A person says that the schemas may be bound again. It stays in the repository.
    pub async fn bind_again(&mut self) {
        let id = "SELECT installation_id FROM edu_matrix_hub_schema.installation";
        if let Ok(id) = self.stage.world.postgres.psql(&self.stage.world.database, id) {
            self.annotate_database(REBIND, id).await;
        }
    }

    async fn annotate_database(&mut self, key: &str, value: String) {
        if key == TAKE_OVER {
            // The rows forget in which namespace, by its UID, their objects were.
            self.model.brings_back();
        }
        self.says(format!("annotate the database {key}={value}"));
        self.told_database.insert(key.to_owned(), value);
        self.repeat_annotations().await;
    }

    /// The pipeline applies what the repository has of the TenantDatabase's annotations.
    pub async fn repeat_annotations(&self) {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": self.told_database } }));
        let (api, name) = (self.stage.world.databases(), self.stage.world.database_ref());
        drop(api.patch(&name, &PatchParams::default(), &patch).await);
    }

    /// A person types what the TenantDatabase says.
    pub async fn follow_database(&mut self) {
        let Ok(database) = self.stage.world.databases().get(&self.stage.world.database_ref()).await else { return };
        if let Some((key, value)) = self.told(&database).filter(|(key, _)| [REBIND, TAKE_OVER].contains(&key.as_str()))
        {
            self.annotate_database(&key, value).await;
        }
    }

    /// The database is copied on its server, and the TenantDatabase leads to the copy from now on. The original stays for a while.
    pub async fn copy_database(&mut self) {
        if self.beside.is_some() {
            return self.leave_one_database().await;
        }
        let (original, number) = (self.stage.world.database.clone(), self.number());
        let copy = format!("copy{number}_{}", self.stage.world.id);
        // No session may be in it.
        self.server_sql(&format!("ALTER DATABASE {original} ALLOW_CONNECTIONS false"));
        self.server_sql(&format!(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = '{original}'"
        ));
        self.make_database(&copy, &format!("TEMPLATE {original}"));
        self.server_sql(&format!("ALTER DATABASE {original} ALLOW_CONNECTIONS true"));
        self.says(format!("lead to {copy}, a copy of {original}"));
        self.beside = Some(Beside { database: original, lives: self.model.of_database() });
        self.stage.world.database = copy;
        self.stage.write_secrets().await;
    }

    /// Copy or original goes, and all goes on in the other one.
    pub async fn leave_one_database(&mut self) {
        let Some(mut beside) = self.beside.take() else { return };
        if self.chance.below(3) == 0 {
            std::mem::swap(&mut beside.database, &mut self.stage.world.database);
            self.model.database_went_back(beside.lives);
            self.stage.write_secrets().await;
        }
        self.server_sql(&format!("DROP DATABASE {} WITH (FORCE)", beside.database));
        self.says(format!("drop the other database, {}", beside.database));
    }

    /// An operator of another cluster takes the database over, with the words that were told there. While one is at work here it
    /// is refused; later it does nothing, and says nothing of itself either.
    pub async fn claim_from_elsewhere(&mut self) {
        let silent = self.chance.below(3) > 0;
        if silent {
            self.stage.kill(0).await;
            self.stage.kill(1).await;
        }
        let world = &self.stage.world;
        let ask = |sql: &str| block_in_place(|| world.postgres.psql(&world.database, sql));
        if silent {
            drop(ask(SILENT));
        }
        let answer = ask(CLAIM);
        if answer.as_ref().is_ok_and(|status| status == "success") {
            self.model.brings_back();
        }
        self.says(format!("another cluster claims the database, the operators silent: {silent}: {answer:?}"));
        self.stage.start();
    }

    /// The drill elsewhere is over, and the database is taken back.
    pub async fn take_back(&mut self) {
        let world = &self.stage.world;
        let ask = |sql: &str| block_in_place(|| world.postgres.psql(&world.database, sql)).unwrap_or_default();
        let told = ask(TAKE_BACK);
        if !told.is_empty() {
            ask(SILENT);
            self.annotate_database(TAKE_OVER, told).await;
        }
    }
}

impl Dump {
    fn file(&self, name: &str) -> String {
        path(self.files.path(), name)
    }
}

fn path(directory: &Path, name: &str) -> String {
    directory.join(name).display().to_string()
}
