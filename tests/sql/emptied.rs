//! What is set aside still belongs, table by table, to the tenant's owner role. A session that acts as that role is
//! ended or named, and what was dropped all the same does not come back looking whole.

use crate::backup_world::{World, drop_by_hand, front, succeed, with_world};
use crate::support::{Lane, has_keepers};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_emptied_after_it_was_set_aside_does_not_come_back_in_silence() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world
            .as_owner(
                &tenant,
                "CREATE TABLE school.pupils (a int); CREATE TABLE school.marks (a int) PARTITION BY LIST (a);
                 CREATE MATERIALIZED VIEW school.sums AS SELECT 1 AS a",
            )
            .await;
        let session = world.session().await;
        // Whole, it comes back as ever, and so does what has other numbers since a dump was restored.
        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        world.run(&format!("DROP TABLE {location}.pupils; CREATE TABLE {location}.pupils (a int); ALTER TABLE {location}.pupils OWNER TO {}", tenant.owner)).await;
        succeed(&session, "restore_set_aside", backup).await;

        // An owner needs no right on the schema to drop what is its own.
        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        world.as_owner(&tenant, &format!("DROP OWNED BY {}", tenant.owner)).await;
        let (status, message) = front(&session, "restore_set_aside", backup).await;
        assert_eq!(status, "error");
        let accept = format!("SELECT * FROM edu_matrix_hub_schema.accept_missing_tables('{backup}')");
        assert!(message.contains("3 of the 3 tables that were set aside were dropped since then (marks, pupils, sums)"), "{message}");
        assert!(message.contains(&format!("put them back into schema {location}")) && message.ends_with(&accept), "{message}");
        let reason = "SELECT metadata ->> 'reason' FROM edu_matrix_hub_schema.schema_operations WHERE type = 'restore' ORDER BY id DESC LIMIT 1";
        assert_eq!(world.text(reason).await, "tables_missing");
        assert_eq!(world.text("SELECT status FROM edu_matrix_hub_schema.tenant_schemas").await, "dropped");

        // What is put back is not missing any more; the rest a person accepts, once.
        world.run(&format!("CREATE TABLE {location}.pupils (a int)")).await;
        assert!(front(&session, "restore_set_aside", backup).await.1.contains("2 of the 3 tables"));
        assert!(succeed(&session, "accept_missing_tables", backup).await.contains("2 of 3 tables"));
        assert_eq!(front(&session, "accept_missing_tables", backup).await.0, "unchanged");
        world.run(&format!("DROP TABLE {location}.pupils")).await;
        assert!(front(&session, "restore_set_aside", backup).await.1.contains("1 of the 1 tables"));
        succeed(&session, "accept_missing_tables", backup).await;
        succeed(&session, "restore_set_aside", backup).await;
        assert_eq!(front(&session, "accept_missing_tables", backup).await.0, "error");
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_from_before_the_list_goes_by_its_count_or_by_nothing() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world
            .as_owner(
                &tenant,
                "CREATE TABLE school.a (a int); CREATE TABLE school.b (a int); CREATE VIEW school.v AS SELECT 1 AS a",
            )
            .await;
        let session = world.session().await;
        let forget =
            "UPDATE edu_matrix_hub_schema.schema_backups SET manifest = manifest - 'tables' WHERE state = 'complete'";
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        world.run(forget).await;
        succeed(&session, "restore_set_aside", backup).await;

        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        world.run(&format!("{forget}; DROP TABLE {location}.a")).await;
        let (status, message) = front(&session, "restore_set_aside", backup).await;
        assert_eq!(status, "error");
        assert!(message.contains("1 of the 2 tables that were set aside were dropped since then;"), "{message}");
        world.run("UPDATE edu_matrix_hub_schema.schema_backups SET table_count = NULL WHERE state = 'complete'").await;
        succeed(&session, "restore_set_aside", backup).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_still_act_as_the_owner_is_sent_away_or_named() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let owner = &tenant.owner;
        world.as_owner(&tenant, "CREATE TABLE school.pupils (a int)").await;
        let login = world.database.role("migrate", "LOGIN").await;
        let other = world.tenant("other").await;
        world
            .run(&format!(
                "GRANT USAGE, CREATE ON SCHEMA other TO {owner}; SET ROLE {owner};
                 CREATE FUNCTION other.bomb() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'SELECT'; RESET ROLE"
            ))
            .await;
        world.join(&tenant, &login).await;
        let migration = world.database.connect(&login).await;
        migration.batch_execute(&format!("SET ROLE {owner}")).await.unwrap();
        let pid: i32 = migration.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let session = world.session().await;
        // The operator may not end another login's session, unless a DBA allowed it.
        let set_aside = |id| {
            let session = &session;
            async move { succeed(session, "drop_institution_schema", id).await }
        };
        let message = set_aside(tenant.id).await;
        assert!(
            message.contains("these can still act as its owner and drop its tables, until a superuser runs: "),
            "{message}"
        );
        assert!(
            message.contains(&format!("SELECT pg_terminate_backend({pid}) (session {pid} of login \"{login}\")")),
            "{message}"
        );
        assert!(message.contains("DROP FUNCTION other.bomb() (function other.bomb())"), "{message}");
        migration.batch_execute("SELECT").await.unwrap();
        let backup = crate::backup_world::id(&world.newest_backup().await["id"]);
        succeed(&session, "restore_set_aside", backup).await;

        world
            .run(&format!("DROP FUNCTION other.bomb(); GRANT pg_signal_backend TO {}", world.database.owner_role))
            .await;
        let message = set_aside(tenant.id).await;
        assert!(!message.contains("still act"), "{message}");
        assert!(migration.batch_execute(&format!("DROP OWNED BY {owner}")).await.is_err());
        let backup = crate::backup_world::id(&world.newest_backup().await["id"]);
        succeed(&session, "restore_set_aside", backup).await;
        assert_eq!(world.text("SELECT count(*) FROM school.pupils").await, "0");

        // A membership that a superuser gave is ours to end on PostgreSQL 15 only.
        let guest = world.database.role("guest", "LOGIN").await;
        world.run(&format!("GRANT {owner} TO {guest} GRANTED BY postgres")).await;
        let message = set_aside(tenant.id).await;
        let revoke = format!("REVOKE {owner} FROM {guest} GRANTED BY postgres");
        assert_eq!(message.contains(&revoke), has_keepers(), "{message}");
        if has_keepers() {
            world.run(&revoke).await;
        }
        let left = format!("SELECT count(*) FROM pg_auth_members WHERE member = '{guest}'::regrole");
        assert_eq!(world.text(&left).await, "0");
        drop(other);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_after_the_functions_cannot_become_an_owner_and_stays() {
    with_world(|world: World| async move {
        let (tenant, functions) = (world.tenant("school").await, &world.database.owner_role);
        let login = world.database.role("dba", "LOGIN").await;
        world.run(&format!("GRANT {functions} TO {login}; GRANT pg_signal_backend TO {functions}")).await;
        let dba = world.database.connect(&login).await;
        assert!(dba.batch_execute(&format!("SET ROLE \"{}\"", tenant.owner)).await.is_err());
        let message = succeed(&world.session().await, "drop_institution_schema", tenant.id).await;
        assert!(!message.contains("still act"), "{message}");
        dba.batch_execute("SELECT").await.unwrap();
    })
    .await;
}

/// The latest row of the log about sessions that were ended.
const ROW: &str = "SELECT status || ' ' || coalesce(error, '') FROM edu_matrix_hub_schema.schema_operations WHERE type = 'end_sessions' ORDER BY id DESC LIMIT 1";

/// Heartbeats until no look is due.
async fn beat(world: &World, lane: &Lane) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while world.text("SELECT count(*) FROM edu_matrix_hub_schema.schema_backups WHERE sessions_due").await != "0" {
        crate::support::expect(&lane.beat().await, "success");
        assert!(std::time::Instant::now() < deadline, "a look is due a second after the schema was set aside");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_in_while_a_schema_is_set_aside_is_sent_away_once() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let other = world.tenant("other").await;
        let owner = &tenant.owner;
        world.as_owner(&tenant, "CREATE TABLE school.pupils (a int)").await;
        let lane = Lane::claim(world.session().await).await;
        // One is a member by way of another role, and of another tenant too; one of another tenant alone.
        let (team, login, stranger) = (
            world.database.role("team", "").await,
            world.database.role("migrate", "LOGIN").await,
            world.database.role("stranger", "LOGIN").await,
        );
        world.run(&format!("GRANT {team} TO {login}")).await;
        world.join(&tenant, &team).await;
        world.join(&other, &login).await;
        world.join(&other, &stranger).await;
        // Through it it cannot become the owner role: the keepers have ADMIN alone.
        world.run(&format!("GRANT {} TO {login}", world.database.owner_role)).await;
        let declared = format!("{}_own", world.database.name);
        world.database.declare_login(&tenant, &declared, owner).await;

        let session = world.session().await;
        // Sets the tenant aside, and lets sessions in before the commit.
        let set_aside = async || {
            session.batch_execute("BEGIN").await.unwrap();
            succeed(&session, "drop_institution_schema", tenant.id).await;
            let mut guests = Vec::new();
            for (name, role) in [(&login, owner), (&declared, owner), (&stranger, &other.owner)] {
                let client = world.database.connect(name).await;
                client.batch_execute(&format!("SET ROLE \"{role}\"")).await.unwrap();
                guests.push(client);
            }
            session.batch_execute("COMMIT").await.unwrap();
            guests
        };
        let is_there = async |client: &tokio_postgres::Client| client.batch_execute("SELECT").await.is_ok();

        // Without the right to end it, the session is named; the tenant's own login is the operator's to end in any case.
        let guests = set_aside().await;
        assert!(
            is_there(&guests[0]).await && is_there(&guests[1]).await,
            "the membership has ended, and they act as the owner"
        );
        beat(&world, &lane).await;
        let row = world.text(ROW).await;
        assert!(
            row.starts_with("error schema \"school\" is set aside as ") && row.contains("SELECT pg_terminate_backend("),
            "{row}"
        );
        assert_eq!(
            (is_there(&guests[0]).await, is_there(&guests[1]).await, is_there(&guests[2]).await),
            (true, false, true)
        );
        let backup = crate::backup_world::id(&world.newest_backup().await["id"]);
        succeed(&session, "restore_set_aside", backup).await;
        drop(guests);

        world.run(&format!("GRANT pg_signal_backend TO {}", world.database.owner_role)).await;
        let guests = set_aside().await;
        beat(&world, &lane).await;
        assert_eq!(world.text(ROW).await, "success ");
        assert_eq!(
            (is_there(&guests[0]).await, is_there(&guests[1]).await, is_there(&guests[2]).await),
            (false, false, true)
        );
        // Once: a login that comes in afterwards is no member any more, and stays.
        let next = world.database.connect(&login).await;
        assert!(next.batch_execute(&format!("SET ROLE \"{owner}\"")).await.is_err());
        for _ in 0..2 {
            lane.beat().await;
        }
        assert!(is_there(&next).await);
        let backup = crate::backup_world::id(&world.newest_backup().await["id"]);
        succeed(&session, "restore_set_aside", backup).await;
        assert_eq!(world.text("SELECT count(*) FROM school.pupils").await, "0");

        // The first heartbeat only notes it, however late the commit was. What cannot be ended now is told and tried again, and does
        // not keep the other sessions.
        let guests = set_aside().await;
        world.run("UPDATE edu_matrix_hub_schema.schema_backups SET completed_at = completed_at - interval '10 seconds' WHERE sessions_due").await;
        lane.beat().await;
        assert_eq!(world.text("SELECT count(*) FROM edu_matrix_hub_schema.schema_backups WHERE sessions_due").await, "1");
        assert!(is_there(&guests[0]).await);
        let held = world.superuser().await;
        held.batch_execute(&format!("BEGIN; GRANT \"{declared}\" TO {}", world.database.owner_role)).await.unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while is_there(&guests[0]).await {
            crate::support::expect(&lane.beat().await, "success");
            assert!(std::time::Instant::now() < deadline, "the sessions of others end all the same");
        }
        let row = world.text(ROW).await;
        assert!(row.starts_with("error ") && row.contains("could not be ended: canceling statement due to lock timeout; "), "{row}");
        assert!(is_there(&guests[1]).await);
        held.batch_execute("ROLLBACK").await.unwrap();
        beat(&world, &lane).await;
        assert!(!is_there(&guests[1]).await);
        assert_eq!(world.text(ROW).await, "success ");
        let backup = crate::backup_world::id(&world.newest_backup().await["id"]);
        succeed(&session, "restore_set_aside", backup).await;

        // A tenant that is back by then keeps its sessions.
        let guests = set_aside().await;
        let backup = crate::backup_world::id(&world.newest_backup().await["id"]);
        succeed(&session, "restore_set_aside", backup).await;
        beat(&world, &lane).await;
        assert!(is_there(&guests[0]).await && is_there(&guests[1]).await);
    })
    .await;
}
