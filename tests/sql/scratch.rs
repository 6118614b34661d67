//! The databases in which archives are restored to prove them: made by an operator that may, of this tenant's alone, and gone
//! with the job or with the operator that left them behind.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    backup_world::{Worker, World, with_world},
    support::{Tenant, expect},
};

impl Worker {
    /// Why a job may have no database.
    async fn refused(&self, job: Uuid) -> String {
        let extension = json!({ "name": "citext", "version": "1.6", "schema": "public" });
        let answer = self.of_job("begin_scratch", job, &json!({ "extensions": [extension] })).await;
        expect(&answer, "success");
        answer["detail"]["because"].as_str().unwrap().to_owned()
    }

    /// A database as the function would make it, of a server that lets it.
    async fn make(&self, world: &World, job: Uuid) -> String {
        let name = format!("edu_matrix_scratch_{}", Uuid::new_v4().simple());
        let known =
            format!("INSERT INTO edu_matrix_hub_schema.scratch_databases (name, job_id) VALUES ('{name}', '{job}')");
        world.run(&known).await;
        let made = world.text(&format!("SELECT edu_matrix_hub_schema._like_this_database('{name}')")).await;
        self.client.batch_execute(&made).await.unwrap();
        self.client.batch_execute(&format!("ALTER DATABASE {name} CONNECTION LIMIT 4")).await.unwrap();
        name
    }

    /// An archive that is being made and is to be restored, of a tenant that has a login for it.
    async fn proving(&self, world: &World) -> (Tenant, Uuid) {
        let tenant = world.tenant("school").await;
        let (sql, verifier) =
            ("SELECT edu_matrix_hub_schema.open_tenant_session($1, $2, $3)", world.database.verifier("secret").await);
        let options = json!({ "schema_id": tenant.id, "verifier": verifier, "seconds": 60, "purpose": "backup" });
        let opened: Value =
            self.client.query_one(sql, &[&self.epoch, &self.installation, &options]).await.unwrap().get(0);
        expect(&opened, "success");
        expect(&self.request_archive(&tenant, "one", &json!({ "verification": "Restore" })).await, "success");
        let job = self.next_of("archive").await;
        expect(&self.begin(job, Uuid::new_v4()).await, "success");
        (tenant, job)
    }

    /// Notes that a database stands.
    async fn note_scratch(&self, name: &str) -> Value {
        let sql = "SELECT edu_matrix_hub_schema.note_scratch($1, $2, $3)";
        self.client.query_one(sql, &[&self.epoch, &self.installation, &name]).await.unwrap().get(0)
    }

    /// What is to be removed.
    async fn left_scratch(&self, job: Option<Uuid>) -> Vec<Value> {
        let sql = "SELECT edu_matrix_hub_schema.left_scratch($1, $2, $3)";
        let options = json!({ "job_id": job });
        let answer: Value =
            self.client.query_one(sql, &[&self.epoch, &self.installation, &options]).await.unwrap().get(0);
        expect(&answer, "success");
        answer["detail"]["left"].as_array().unwrap().clone()
    }
}

/// Lets the operator's login make databases.
const CREATEDB: &str = "DO $$ BEGIN EXECUTE format('ALTER ROLE %I CREATEDB', current_database() || '_op'); END $$";

#[tokio::test(flavor = "multi_thread")]
async fn a_scratch_database_is_like_the_original_and_its_tenants_alone() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let (tenant, job) = worker.proving(&world).await;
        assert!(worker.refused(job).await.ends_with("_op CREATEDB"));
        world.run(CREATEDB).await;
        // The server of these tests lets transactions be prepared, and one that a tenant prepares keeps its database.
        assert!(worker.refused(job).await.contains("max_prepared_transactions"));
        let none = "SELECT count(*)::text FROM edu_matrix_hub_schema.scratch_databases";
        assert_eq!(world.text(none).await, "0");
        let name = worker.make(&world, job).await;
        let alike = "SELECT count(DISTINCT (encoding, datlocprovider, datcollate, datctype))::text FROM pg_database
                     WHERE datname IN (current_database(), ";
        assert_eq!(world.text(&format!("{alike}'{name}')")).await, "1");
        expect(&worker.note_scratch(&name).await, "success");
        assert_eq!(expect(&worker.note_scratch("another").await, "error"), "not_found");
        assert_eq!(worker.left_scratch(None).await, Vec::<Value>::new(), "while the job runs");

        // What the tenant owns in it does not make of our database a copy of another.
        let inside = world.database.operator_in(&name).await;
        world.run(&format!("GRANT \"{}\" TO {}_op", tenant.owner, world.database.name)).await;
        world.run(&format!("GRANT CREATE ON DATABASE {name} TO \"{}\"", tenant.owner)).await;
        let owned = format!("SET ROLE \"{}\"; CREATE SCHEMA school", tenant.owner);
        inside.batch_execute(&owned).await.unwrap();
        let shared = format!(
            "SELECT edu_matrix_hub_schema._other_databases(ARRAY['{}'])::text || edu_matrix_hub_schema._refuse_copy()::text",
            tenant.owner
        );
        assert_eq!(world.text(&shared).await, "{}");

        let left = worker.left_scratch(Some(job)).await;
        assert_eq!(left.len(), 1);
        // A session in it does not keep it.
        worker.client.batch_execute(left[0]["drop"].as_str().unwrap()).await.unwrap();
        assert_eq!(worker.left_scratch(Some(job)).await, Vec::<Value>::new());
        assert_eq!(world.text("SELECT count(*)::text FROM edu_matrix_hub_schema.scratch_databases").await, "0");
        drop(inside);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_operator_left_is_found_and_another_database_of_the_name_is_not() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let (_, job) = worker.proving(&world).await;
        world.run(CREATEDB).await;
        let name = worker.make(&world, job).await;

        // Killed before it noted which one it made: the next operator finds it by its name.
        let next = Worker::claim(world.session().await).await;
        let left = next.left_scratch(None).await;
        assert_eq!(left.iter().map(|one| one["name"].as_str().unwrap()).collect::<Vec<_>>(), [name.as_str()]);
        let stale = "SELECT edu_matrix_hub_schema.left_scratch($1, $2, '{}')";
        let answer: Value =
            worker.client.query_one(stale, &[&worker.epoch, &worker.installation]).await.unwrap().get(0);
        assert_eq!(expect(&answer, "error"), "stale_epoch");

        // One that was noted and is another by now is forgotten, and stays; 1 is the number of a database of every server.
        let note = "UPDATE edu_matrix_hub_schema.scratch_databases SET database_oid = 1";
        world.run(note).await;
        assert_eq!(next.left_scratch(None).await, Vec::<Value>::new());
        assert_eq!(world.text("SELECT count(*)::text FROM edu_matrix_hub_schema.scratch_databases").await, "0");
        next.client.batch_execute(left[0]["drop"].as_str().unwrap()).await.unwrap();

        // One that a server may just be making, for a client that is gone, is not forgotten before it can stand.
        let made =
            "INSERT INTO edu_matrix_hub_schema.scratch_databases (name, job_id) VALUES ('later', gen_random_uuid())";
        world.run(made).await;
        assert_eq!(next.left_scratch(None).await, Vec::<Value>::new());
        assert_eq!(world.text("SELECT count(*)::text FROM edu_matrix_hub_schema.scratch_databases").await, "1");
        world.run("UPDATE edu_matrix_hub_schema.scratch_databases SET begun_at = now() - interval '11 min'").await;
        assert_eq!(next.left_scratch(None).await, Vec::<Value>::new());
        assert_eq!(world.text("SELECT count(*)::text FROM edu_matrix_hub_schema.scratch_databases").await, "0");
    })
    .await;
}
