//! Rows that policies hide from the owner of their table are in a snapshot, or there is none: nothing is left out in silence.

use crate::backup_world::{Worker, World, front, succeed, wait_for_a_waiter, with_world};
use crate::support::{Tenant, expect};

/// Tables of which a policy hides half the rows: a plain one, a partition, and a child that is read by itself.
const TABLES: &str = "
    CREATE TABLE school.pupils AS SELECT generate_series(1, 10) AS id;
    CREATE TABLE school.marks (id int) PARTITION BY RANGE (id);
    CREATE TABLE school.marks_1 PARTITION OF school.marks FOR VALUES FROM (0) TO (100);
    CREATE TABLE school.parent (id int);
    CREATE TABLE school.child () INHERITS (school.parent);
    INSERT INTO school.marks SELECT generate_series(1, 10);
    INSERT INTO school.child SELECT generate_series(1, 10);
    CREATE POLICY half ON school.pupils USING (id > 5);
    CREATE POLICY half ON school.marks_1 USING (id > 5);
    CREATE POLICY half ON school.child USING (id > 5);
    ALTER TABLE school.pupils ENABLE ROW LEVEL SECURITY;
    ALTER TABLE school.marks_1 ENABLE ROW LEVEL SECURITY;
    ALTER TABLE school.child ENABLE ROW LEVEL SECURITY";

async fn tenant(world: &World) -> Tenant {
    let tenant = world.tenant("school").await;
    world.as_owner(&tenant, TABLES).await;
    tenant
}

#[tokio::test(flavor = "multi_thread")]
async fn what_binds_the_owner_is_refused_with_table_and_statement_and_is_whole_without_it() {
    with_world(|world: World| async move {
        let tenant = tenant(&world).await;
        let session = world.session().await;
        // Policies that do not bind the owner hide nothing from it.
        succeed(&session, "backup_institution_schema", tenant.id).await;
        assert_eq!(world.newest_backup().await["row_count"], 30);
        for table in ["pupils", "marks_1", "child"] {
            world.as_owner(&tenant, &format!("ALTER TABLE school.{table} FORCE ROW LEVEL SECURITY")).await;
            let (status, message) = front(&session, "backup_institution_schema", tenant.id).await;
            assert_eq!(status, "error");
            let statement = format!("ALTER TABLE school.{table} NO FORCE ROW LEVEL SECURITY");
            assert!(message.contains(&statement), "{message}");
            world.as_owner(&tenant, &statement).await;
        }
        // What binds the owner of a partitioned table binds who reads by that, and not who reads the partition.
        let parent = "ALTER TABLE school.marks ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY";
        world.as_owner(&tenant, parent).await;
        succeed(&session, "backup_institution_schema", tenant.id).await;
        assert_eq!(world.newest_backup().await["row_count"], 30);
    })
    .await;
}

/// The owner is bound between the look at the tables and the copy, and its code turns row security on again.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_to_bind_the_owner_meanwhile_ends_the_snapshot() {
    with_world(|world: World| async move {
        let tenant = tenant(&world).await;
        world
            .as_owner(
                &tenant,
                "CREATE FUNCTION school.on() RETURNS int LANGUAGE plpgsql IMMUTABLE AS
                 $$ BEGIN PERFORM set_config('row_security', 'on', false); RETURN 1; END $$;
                 CREATE TABLE school.a (id int);
                 CREATE INDEX ON school.a ((id + school.on()))",
            )
            .await;
        let worker = Worker::claim(world.session().await).await;
        worker.request(&tenant, "b1").await;
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "partial");
        let migration = world.superuser().await;
        migration.batch_execute("BEGIN; ALTER TABLE school.pupils FORCE ROW LEVEL SECURITY").await.unwrap();
        let other = worker.over(world.session().await);
        let copying = tokio::spawn(async move { other.run(job).await });
        wait_for_a_waiter(&world).await;
        migration.batch_execute("COMMIT").await.unwrap();
        let answer = copying.await.unwrap();
        assert!(answer["status"] != "success" && answer["status"] != "partial", "{answer}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains("row-level security") && message.contains("pupils"), "{message}");
        let kept = "SELECT count(*) FROM edu_matrix_hub_schema.schema_backups WHERE state = 'complete'";
        assert_eq!(world.text(kept).await, "0");
        assert_eq!(world.text("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'school_bak%'").await, "0");
        // By hand it is told with the table; without FORCE all rows are there.
        let session = world.session().await;
        let (_, message) = front(&session, "backup_institution_schema", tenant.id).await;
        let statement = "ALTER TABLE school.pupils NO FORCE ROW LEVEL SECURITY";
        assert!(message.contains(statement), "{message}");
        world.as_owner(&tenant, statement).await;
        succeed(&session, "backup_institution_schema", tenant.id).await;
        assert_eq!(world.newest_backup().await["row_count"], 30);
        world.assert_clean().await;
    })
    .await;
}
