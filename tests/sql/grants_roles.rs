//! What the owner of a tenant gives to a role of the server that is no tenant's: while it is that role, and one that may
//! have it.

use serde_json::{Value, json};

use crate::{
    grants::{give, may, repair, rights, school_and_reporting, states},
    interplay::{is_settled, set},
    support::{Database, Lane, Tenant, call, expect, has_keepers, owner, surveyed, with_database},
};

const READ: &str = "SELECT * FROM school.pupils";
const WRITE: &str = "INSERT INTO school.pupils (name) VALUES ('Bea')";

/// A grant to a role.
fn to_role(role: &str, privileges: &[&str]) -> Value {
    json!({ "role": role, "privileges": privileges })
}

/// What the survey finds of a tenant, and that a repair is content with it afterwards.
async fn followed(database: &Database, lane: &Lane, tenant: &Tenant) -> Value {
    let row = surveyed(&lane.survey(false).await, tenant).cloned().unwrap();
    assert_ne!(row["drift"], json!([]));
    expect(&repair(database, tenant).await, "success");
    row["grants"].clone()
}

#[tokio::test]
async fn a_role_may_do_what_the_grant_says_and_nothing_else() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        let service = database.role("service", "LOGIN").await;
        let before = rights(&database, &school).await;
        for (privileges, writes) in [(&["Read"][..], false), (&["Write"], true), (&["Read", "Write"], true)] {
            expect(&give(&database, &school, json!([to_role(&service, privileges)])).await, "success");
            database.as_owner(&school, "CREATE TABLE later (id serial)").await;
            for read in [
                READ,
                "SELECT * FROM school.best",
                "SELECT last_value FROM school.pupils_id_seq",
                "SELECT * FROM school.later",
            ] {
                assert!(may(&database, &service, read).await, "{privileges:?}: {read}");
            }
            for write in [WRITE, "DELETE FROM school.marks", "INSERT INTO school.later (id) VALUES (DEFAULT)"] {
                assert_eq!(may(&database, &service, write).await, writes, "{privileges:?}: {write}");
            }
            for never in ["CREATE TABLE school.own ()", "TRUNCATE school.pupils", "SELECT school.secret()"] {
                assert!(!may(&database, &service, never).await, "{privileges:?}: {never}");
            }
            assert!(!may(&database, &reporting.owner, READ).await);
            let told = states(&database, &school).await;
            assert_eq!((&told[0]["role"], &told[0]["state"]), (&json!(service), &json!("given")));
            expect(&give(&database, &school, json!([to_role(&service, privileges)])).await, "unchanged");
            assert_eq!(database.standing_memberships().await, 0);
            database.as_owner(&school, "DROP TABLE later").await;
            is_settled(&database, &lane, &[&school, &reporting], "given").await;
        }
        // What a user changes by hand is put right.
        let given = rights(&database, &school).await;
        for change in [
            format!("REVOKE SELECT ON school.pupils FROM {service}"),
            format!("GRANT TRUNCATE ON school.pupils TO {service}"),
            format!("GRANT CREATE ON SCHEMA school TO {service}"),
            format!("REVOKE USAGE ON SCHEMA school FROM {service}"),
        ] {
            database.admin.batch_execute(&change).await.unwrap();
            followed(&database, &lane, &school).await;
            assert_eq!(rights(&database, &school).await, given, "{change}");
        }
        // It is no hole, neither of the tenant that gives nor of a neighbour.
        database
            .admin
            .batch_execute("UPDATE edu_matrix_hub_schema.tenant_schemas SET fingerprint = NULL")
            .await
            .unwrap();
        let holes = "SELECT count(*) FROM edu_matrix_hub_schema._isolation_holes(ARRAY(SELECT id FROM \
                     edu_matrix_hub_schema.tenant_schemas))";
        assert_eq!(database.one::<i64>(holes).await, 0);
        // On named tables, and to none.
        let mut named = to_role(&service, &["Read"]);
        named["tables"] = json!(["marks"]);
        expect(&give(&database, &school, json!([named])).await, "success");
        assert!(may(&database, &service, "SELECT * FROM school.marks").await && !may(&database, &service, READ).await);
        expect(&give(&database, &school, json!([])).await, "success");
        assert_eq!(rights(&database, &school).await, before);
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.tenant_grantees").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_role_that_is_dropped_and_made_again_gets_nothing_until_a_user_says_so() {
    with_database(async |database| {
        let (school, _) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        let service = format!("{}_service", database.name);
        let (grants, before) = (json!([to_role(&service, &["Read"])]), rights(&database, &school).await);
        expect(&give(&database, &school, grants.clone()).await, "success");
        assert_eq!(states(&database, &school).await[0]["state"], "waiting");
        assert_eq!(rights(&database, &school).await, before);
        is_settled(&database, &lane, &[&school], "waiting").await;

        // It appears.
        database.role("service", "NOLOGIN").await;
        assert_eq!(followed(&database, &lane, &school).await[0]["state"], "due");
        assert!(may(&database, &service, READ).await);
        is_settled(&database, &lane, &[&school], "given").await;

        // It is another one.
        let again = format!("DROP OWNED BY {service}; DROP ROLE {service}; CREATE ROLE {service}");
        database.admin.batch_execute(&again).await.unwrap();
        lane.survey(false).await;
        repair(&database, &school).await;
        assert_eq!(rights(&database, &school).await, before);
        let told = states(&database, &school).await;
        assert_eq!((&told[0]["state"], &told[0]["other_role"]), (&json!("waiting"), &json!(true)));
        // Neither the same once more nor a change of another grant is a word about this one.
        expect(&give(&database, &school, grants.clone()).await, "unchanged");
        let more = json!([to_role("absent", &["Read"]), grants[0]]);
        give(&database, &school, more).await;
        assert!(!may(&database, &service, READ).await);
        is_settled(&database, &lane, &[&school], "another").await;
        let asked = school.options(&json!({ "grants": grants, "request": "now" }));
        expect(&call(&database.operator().await, "set_tenant_grants", &asked).await, "success");
        assert!(may(&database, &service, READ).await);

        // And so it is when the entry changes.
        database.admin.batch_execute(&again).await.unwrap();
        let changed = json!({ "grants": [to_role(&service, &["Write"])], "request": "now" });
        expect(&call(&database.operator().await, "set_tenant_grants", &school.options(&changed)).await, "success");
        assert!(may(&database, &service, WRITE).await);

        // A role that is called otherwise is not what is offered.
        database.admin.batch_execute(&format!("ALTER ROLE {service} RENAME TO {service}_x")).await.unwrap();
        followed(&database, &lane, &school).await;
        assert_eq!(rights(&database, &school).await, before);
        assert_eq!(states(&database, &school).await[0]["other_role"], Value::Null);
        database.admin.batch_execute(&format!("ALTER ROLE {service}_x RENAME TO {service}")).await.unwrap();
        followed(&database, &lane, &school).await;
        assert!(may(&database, &service, WRITE).await);
    })
    .await;
}

#[tokio::test]
async fn a_role_that_could_take_more_or_is_ours_gets_nothing_and_reads_as_one_that_is_not_there() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        let before = rights(&database, &school).await;
        let login = format!("{}_login", reporting.schema);
        database.declare_login(&reporting, &login, &reporting.reader).await;
        // What a DBA of a provider has; the names of the test's roles begin with that of its database.
        let rds = format!("rds_{}", database.name);
        database.admin.batch_execute(&format!("CREATE ROLE {rds}")).await.unwrap();
        let mut refused = vec![
            "public".to_owned(),
            "PUBLIC".to_owned(),
            "postgres".to_owned(),
            "pg_read_all_data".to_owned(),
            "pg_monitor".to_owned(),
            rds.clone(),
            database.owner_role.clone(),
            database.operator_role(),
            database.admin_role(),
            school.reader.clone(),
            reporting.owner.clone(),
            reporting.reader.clone(),
            reporting.writer.clone(),
            login.clone(),
        ];
        for (suffix, attributes) in [("super", "SUPERUSER"), ("maker", "CREATEROLE"), ("passer", "BYPASSRLS")] {
            refused.push(database.role(suffix, attributes).await);
        }
        for above in [&rds, &format!("{}_maker", database.name), &database.operator_role()] {
            let member = database.role(&format!("m{}", refused.len()), "NOLOGIN").await;
            let indirect = database.role(&format!("i{}", refused.len()), "NOLOGIN").await;
            let statements = format!("GRANT {above} TO {member}; GRANT {member} TO {indirect}");
            database.admin.batch_execute(&statements).await.unwrap();
            refused.extend([member, indirect]);
        }
        if has_keepers() {
            refused.push(database.one("SELECT min(role_name) FROM edu_matrix_hub_schema.role_keepers").await);
        }
        refused.push("absent".to_owned());
        let grants: Vec<_> = refused.iter().map(|role| to_role(role, &["Write"])).collect();
        expect(&give(&database, &school, json!(grants)).await, "success");
        assert_eq!(rights(&database, &school).await, before);
        for told in states(&database, &school).await.as_array().unwrap() {
            let expected = json!({ "role": told["role"], "privileges": ["Write"], "state": "waiting" });
            assert_eq!(*told, expected);
        }
        is_settled(&database, &lane, &[&school, &reporting], "refused").await;

        // One that becomes so loses it, and has it again afterwards. A member of a predefined role is no such.
        let service = database.role("service", "NOLOGIN").await;
        database.admin.batch_execute(&format!("GRANT pg_monitor TO {service}")).await.unwrap();
        expect(&give(&database, &school, json!([to_role(&service, &["Read"])])).await, "success");
        is_settled(&database, &lane, &[&school], "given").await;
        let given = rights(&database, &school).await;
        assert_ne!(given, before);
        for (more, less) in [
            (format!("ALTER ROLE {service} BYPASSRLS"), format!("ALTER ROLE {service} NOBYPASSRLS")),
            (format!("ALTER ROLE {service} SUPERUSER"), format!("ALTER ROLE {service} NOSUPERUSER")),
            (format!("GRANT {rds} TO {service}"), format!("REVOKE {rds} FROM {service}")),
        ] {
            database.admin.batch_execute(&more).await.unwrap();
            followed(&database, &lane, &school).await;
            assert_eq!(rights(&database, &school).await, before, "{more}");
            is_settled(&database, &lane, &[&school], &more).await;
            database.admin.batch_execute(&less).await.unwrap();
            followed(&database, &lane, &school).await;
            assert_eq!(rights(&database, &school).await, given, "{less}");
        }
        database.admin.batch_execute(&format!("DROP ROLE {rds}")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_block_a_suspension_and_a_deletion_take_from_a_role_and_give_back() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        let service = database.role("service", "NOLOGIN").await;
        database.as_owner(&school, "CREATE VIEW names AS SELECT name FROM pupils").await;
        expect(&give(&database, &school, json!([to_role(&service, &["Write"])])).await, "success");
        let given = rights(&database, &school).await;
        for access in ["ReadOnly", "WriteBlocked", "Suspended", "ReadOnly"] {
            set(&database, &school, access).await;
            assert_eq!(may(&database, &service, READ).await, access != "Suspended", "{access}");
            for write in [WRITE, "DELETE FROM school.marks", "SELECT nextval('school.pupils_id_seq')"] {
                assert!(!may(&database, &service, write).await, "{access}: {write}");
            }
            assert_eq!(states(&database, &school).await[0]["state"], "given", "{access}");
            is_settled(&database, &lane, &[&school, &reporting], access).await;
        }
        set(&database, &school, "ReadWrite").await;
        assert!(may(&database, &service, WRITE).await);
        is_settled(&database, &lane, &[&school, &reporting], "open").await;

        // With required policies it has what passes none of them, and the rows of its setting.
        let policies = json!([{ "name": "own-rows", "column": "name", "setting": "app.name" }]);
        let options = school.options(&json!({ "mode": "Required", "policies": policies, "digest": "one" }));
        for _ in 0..3 {
            let answer = call(&database.operator().await, "set_row_security", &options).await;
            assert!(answer["status"] == "success" || answer["status"] == "unchanged", "{answer}");
        }
        let rows = async |setting: &str| -> i64 {
            let text = format!("BEGIN; SET LOCAL ROLE {service}; SELECT set_config('app.name', '{setting}', true)");
            database.admin.batch_execute(&text).await.unwrap();
            let rows = database.one("SELECT count(*) FROM school.pupils").await;
            database.admin.batch_execute("ROLLBACK").await.unwrap();
            rows
        };
        assert_eq!((rows("Ann").await, rows("").await), (1, 0));
        assert!(!may(&database, &service, "SELECT * FROM school.names").await);
        is_settled(&database, &lane, &[&school], "policies").await;
        let none = school.options(&json!({ "mode": null }));
        expect(&call(&database.operator().await, "set_row_security", &none).await, "success");
        assert!(may(&database, &service, "SELECT * FROM school.names").await);

        // Set aside and brought back; and a role that was made again meanwhile gets nothing by that.
        for remade in [false, true] {
            let aside = school.options(&json!({ "owner_uid": "uid-school" }));
            let answer = call(&database.operator().await, "set_aside_tenant_schema", &aside).await;
            expect(&answer, "success");
            let location: String = database
                .one("SELECT location FROM edu_matrix_hub_schema.schema_backups WHERE state = 'complete'")
                .await;
            assert!(!may(&database, &service, &format!("SELECT * FROM {location}.pupils")).await);
            if remade {
                let again = format!("DROP OWNED BY {service}; DROP ROLE {service}; CREATE ROLE {service}");
                database.admin.batch_execute(&again).await.unwrap();
            }
            let restore = json!({ "backup_id": answer["detail"]["backup_id"], "owner": owner("school") });
            expect(&call(&database.operator().await, "restore_tenant_schema", &restore).await, "success");
            assert_eq!(may(&database, &service, READ).await, !remade);
            if !remade {
                let now = rights(&database, &school).await;
                let kept: Vec<_> = now.split(' ').filter(|right| !right.contains("_delete=")).collect();
                assert_eq!(kept.join(" "), given);
            }
        }
        repair(&database, &school).await;
        assert_eq!(states(&database, &school).await[0]["other_role"], true);
        assert!(!rights(&database, &school).await.contains(&service));
    })
    .await;
}
