//! What becomes of grants when tenants are suspended, move, go and come back; and what a tenant can do about them.

use serde_json::{Value, json};

use crate::{
    grants::{give, grant, may, repair, rights, school_and_reporting, states},
    support::{Database, Lane, Tenant, call, expect, owner, surveyed, with_database},
};

const READ: &str = "SELECT * FROM school.pupils";

async fn set_access(database: &Database, tenant: &Tenant, access: &str) {
    let options = tenant.options(&json!({ "access": access }));
    expect(&call(&database.operator().await, "set_tenant_access", &options).await, "success");
}

async fn set_aside(database: &Database, tenant: &Tenant) -> Value {
    let options = tenant.options(&json!({ "owner_uid": format!("uid-{}", tenant.schema) }));
    let answer = call(&database.operator().await, "set_aside_tenant_schema", &options).await;
    expect(&answer, "success");
    answer["detail"]["backup_id"].clone()
}

async fn purge(database: &Database, backup: &Value) {
    let sql = format!("SELECT status FROM edu_matrix_hub_schema.purge_schema_backup('{}')", backup.as_str().unwrap());
    for _ in 0..50 {
        if database.one::<String>(&sql).await == "success" {
            return;
        }
    }
    panic!("the backup is not purged");
}

#[tokio::test]
async fn a_grant_that_ended_during_a_suspension_does_not_come_back() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let before = rights(&database, &school).await;
        let reader = &reporting.reader;
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "success");
        let given = rights(&database, &school).await;
        set_access(&database, &school, "Suspended").await;
        assert!(!may(&database, reader, READ).await);
        set_access(&database, &school, "ReadWrite").await;
        assert_eq!(rights(&database, &school).await, given);
        set_access(&database, &school, "Suspended").await;
        expect(&give(&database, &school, json!([])).await, "success");
        set_access(&database, &school, "ReadWrite").await;
        assert_eq!(rights(&database, &school).await, before);
        // And one that began meanwhile lets nobody in before.
        set_access(&database, &school, "Suspended").await;
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "success");
        assert!(!may(&database, reader, READ).await);
        set_access(&database, &school, "ReadWrite").await;
        assert!(may(&database, reader, READ).await);
        // A suspended grantee keeps its grants.
        set_access(&database, &reporting, "Suspended").await;
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "unchanged");
        assert_eq!(states(&database, &school).await[0]["state"], "given");
    })
    .await;
}

#[tokio::test]
async fn a_grantor_that_is_set_aside_gives_nothing_and_comes_back_with_its_grants() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let reader = &reporting.reader;
        expect(&give(&database, &school, json!([grant("reporting", &["Write"])])).await, "success");
        let given = rights(&database, &school).await;
        let backup = set_aside(&database, &school).await;
        let location: String = database.one("SELECT location FROM edu_matrix_hub_schema.schema_backups").await;
        assert!(!may(&database, reader, &format!("SELECT * FROM {location}.pupils")).await);
        let restore = json!({ "backup_id": backup, "owner": owner("school") });
        expect(&call(&database.operator().await, "restore_tenant_schema", &restore).await, "success");
        assert_eq!(rights(&database, &school).await, given);
        assert!(may(&database, reader, READ).await);

        // A grantee that is dropped while its grantor is set aside leaves nothing behind.
        let backup = set_aside(&database, &school).await;
        let other = set_aside(&database, &reporting).await;
        purge(&database, &other).await;
        let restore = json!({ "backup_id": backup, "owner": owner("school") });
        expect(&call(&database.operator().await, "restore_tenant_schema", &restore).await, "success");
        repair(&database, &school).await;
        assert_eq!(states(&database, &school).await[0]["state"], "waiting");
        assert!(!rights(&database, &school).await.contains("reporting"));
    })
    .await;
}

#[tokio::test]
async fn a_grant_stays_with_the_object_that_it_names() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "success");
        lane.survey(false).await;
        lane.survey(false).await;
        // The tenant goes to another object.
        let move_to = |namespace: &str, name: &str, uid: &str| {
            format!(
                "UPDATE edu_matrix_hub_schema.tenant_schemas SET owner_namespace = '{namespace}', owner_name = '{name}', \
                 owner_namespace_uid = '{uid}' WHERE id = '{}'",
                reporting.id
            )
        };
        database.admin.batch_execute(&move_to("team-b", "figures", "one")).await.unwrap();
        assert_ne!(surveyed(&lane.survey(false).await, &school).unwrap()["drift"], json!([]));
        expect(&repair(&database, &school).await, "success");
        assert!(!may(&database, &reporting.reader, READ).await);
        let told = states(&database, &school).await;
        assert_eq!(told[0]["moved_to"], json!({ "namespace": "team-b", "name": "figures" }));

        // The namespace is made again: what bears the names is another one, until a user says so.
        database.admin.batch_execute(&move_to("team-a", "reporting", "first")).await.unwrap();
        expect(&repair(&database, &school).await, "success");
        assert!(may(&database, &reporting.reader, READ).await);
        database.admin.batch_execute(&move_to("team-a", "reporting", "second")).await.unwrap();
        expect(&repair(&database, &school).await, "success");
        assert!(!may(&database, &reporting.reader, READ).await);
        assert_eq!(states(&database, &school).await[0]["other_namespace"], true);
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "unchanged");
        let asked = school.options(&json!({ "grants": [grant("reporting", &["Read"])], "request": "now" }));
        expect(&call(&database.operator().await, "set_tenant_grants", &asked).await, "success");
        assert!(may(&database, &reporting.reader, READ).await);
    })
    .await;
}

#[tokio::test]
async fn grants_go_with_both_tenants_and_their_roles() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        expect(&give(&database, &school, json!([grant("reporting", &["Write"])])).await, "success");
        expect(&give(&database, &reporting, json!([grant("school", &["Read"])])).await, "success");
        for tenant in [&school, &reporting] {
            let backup = set_aside(&database, tenant).await;
            purge(&database, &backup).await;
        }
        let roles = format!(
            "SELECT count(*) FROM pg_roles WHERE rolname IN ('{}', '{}', '{}', '{}')",
            school.owner, school.reader, reporting.owner, reporting.writer
        );
        assert_eq!(database.one::<i64>(&roles).await, 0);
        for table in ["tenant_grants", "tenant_grantees"] {
            assert_eq!(database.one::<i64>(&format!("SELECT count(*) FROM edu_matrix_hub_schema.{table}")).await, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_grantee_whose_roles_are_made_again_gets_its_grants_again() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "success");
        lane.survey(false).await;
        let reader = &reporting.reader;
        database
            .admin
            .batch_execute(&format!("DROP OWNED BY {reader}; DROP ROLE {reader}; CREATE ROLE {reader}"))
            .await
            .unwrap();
        // Another role of that name is nobody's.
        lane.survey(false).await;
        repair(&database, &school).await;
        assert!(!may(&database, reader, READ).await);
        database.admin.batch_execute(&format!("DROP ROLE {reader}")).await.unwrap();
        expect(&repair(&database, &reporting).await, "success");
        assert_ne!(surveyed(&lane.survey(false).await, &school).unwrap()["drift"], json!([]));
        expect(&repair(&database, &school).await, "success");
        assert!(may(&database, reader, READ).await);
    })
    .await;
}

#[tokio::test]
async fn thousands_of_tables_are_given_in_short_calls() {
    with_database(async |database| {
        let (school, reporting) = (database.tenant("school").await, database.tenant("reporting").await);
        let tables: Vec<_> = (0..2600).map(|n| format!("CREATE TABLE t{n} (id int)")).collect();
        for part in tables.chunks(500) {
            database.as_owner(&school, &part.join("; ")).await;
        }
        let given = format!(
            "SELECT count(*) FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.relnamespace = 'school'::regnamespace AND \
             a.grantee = '{}'::regrole",
            reporting.reader
        );
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "success");
        assert_eq!(database.one::<i64>(&given).await, 2000);
        expect(&repair(&database, &school).await, "success");
        assert_eq!(database.one::<i64>(&given).await, 2600);
        expect(&give(&database, &school, json!([])).await, "success");
        assert_eq!(database.one::<i64>(&given).await, 600);
        expect(&repair(&database, &school).await, "success");
        assert_eq!(database.one::<i64>(&given).await, 0);
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.tenant_grantees").await, 0);
    })
    .await;
}

#[tokio::test]
async fn what_a_grantor_calls_its_tables_becomes_no_statement() {
    with_database(async |database| {
        let (school, reporting) = (database.tenant("school").await, database.tenant("reporting").await);
        let names = ["a\"; DROP TABLE kept; --", "ünïcode", "with space", "select", &"x".repeat(63)];
        database.as_owner(&school, "CREATE TABLE kept (id int)").await;
        for name in names {
            let quoted = name.replace('"', "\"\"");
            database.as_owner(&school, &format!("CREATE TABLE \"{quoted}\" (id serial)")).await;
        }
        let mut one = grant("reporting", &["Write"]);
        one["tables"] = json!(names);
        expect(&give(&database, &school, json!([one, grant("reporting", &["Read"])])).await, "success");
        for name in names {
            let insert = format!("INSERT INTO school.\"{}\" DEFAULT VALUES", name.replace('"', "\"\""));
            assert!(may(&database, &reporting.writer, &insert).await, "{name}");
        }
        assert!(may(&database, &reporting.writer, "SELECT * FROM school.kept").await);
    })
    .await;
}

#[tokio::test]
async fn a_grantee_that_locks_a_table_keeps_that_one_waiting_and_nothing_else() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        expect(&give(&database, &school, json!([grant("reporting", &["Write"])])).await, "success");
        database.let_in(&reporting.writer).await;
        let grantee = database.connect(&reporting.writer).await;
        grantee.batch_execute("BEGIN; LOCK TABLE school.pupils IN ACCESS EXCLUSIVE MODE").await.unwrap();
        expect(&give(&database, &school, json!([])).await, "success");
        assert!(!rights(&database, &school).await.contains("best reporting"));
        for statement in [READ, "SELECT * FROM school.marks"] {
            assert!(!may(&database, &reporting.writer, statement).await);
        }
        let left = format!("SELECT has_table_privilege('{}', 'school.marks', 'SELECT')", reporting.writer);
        assert!(!database.one::<bool>(&left).await);
        // Where the lock is in the way of a grant, the session is named.
        let answer = repair(&database, &school).await;
        if answer["status"] == "busy" {
            assert!(answer["message"].as_str().unwrap().contains("pg_terminate_backend"), "{answer}");
        }
        grantee.batch_execute("ROLLBACK").await.unwrap();
        repair(&database, &school).await;
        assert!(!rights(&database, &school).await.contains("reporting"));
    })
    .await;
}
