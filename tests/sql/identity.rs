//! A name is no proof: a schema or a role that bears a tenant's name, and is another one, is never taken for it.

use serde_json::{Value, json};
use tenant_schema_operator::postgres::script::Form;

use crate::support::{Database, Lane, Tenant, call, expect, owner, surveyed, tenant_options, with_database};

/// The observation that a reconcile of the tenant's object makes.
async fn observed(database: &Database, tenant: &Tenant) -> Value {
    let mut request = owner(&tenant.schema);
    request["schema_name"] = json!(tenant.schema);
    call(&database.operator().await, "observe_tenant", &request).await["own"].clone()
}

/// Deletes the tenant as its object would.
async fn set_aside(database: &Database, tenant: &Tenant) -> Value {
    let options = tenant.options(&json!({ "owner_uid": format!("uid-{}", tenant.schema) }));
    call(&database.operator().await, "set_aside_tenant_schema", &options).await
}

/// Everything that acts on a tenant by its name refuses, with the same words.
async fn refused_everywhere(database: &Database, tenant: &Tenant, words: &str) {
    let client = database.operator().await;
    for (function, options) in [
        ("repair_tenant_schema", json!({})),
        ("recreate_tenant_schema", json!({})),
        ("set_tenant_access", json!({ "access": "Suspended" })),
    ] {
        let answer = call(&client, function, &tenant.options(&options)).await;
        assert_eq!(expect(&answer, "error"), "schema_missing", "{function}");
        assert!(answer["message"].as_str().unwrap().contains(words), "{function}: {answer}");
    }
    let create = call(&client, "create_tenant_schema", &tenant_options(&tenant.schema)).await;
    assert_eq!(expect(&create, "error"), "schema_missing");
    let backup: String = client
        .query_one("SELECT message FROM edu_matrix_hub_schema.backup_institution_schema($1)", &[&tenant.id])
        .await
        .unwrap()
        .get(0);
    assert!(backup.contains(words), "{backup}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_schema_of_its_name_is_not_the_tenants() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        lane.survey(true).await;
        let stranger = database.role("stranger", "NOLOGIN").await;
        database
            .admin
            .batch_execute(&format!(
                "DROP SCHEMA school; CREATE SCHEMA school AUTHORIZATION {stranger}; CREATE TABLE school.diary (a int); \
                 INSERT INTO school.diary VALUES (7); COMMENT ON SCHEMA school IS 'tenant {}'",
                tenant.id
            ))
            .await
            .unwrap();
        let survey = lane.survey(false).await;
        let row = surveyed(&survey, &tenant).unwrap();
        assert_eq!((&row["schema_exists"], &row["drift"]), (&json!(false), &json!([])));
        assert_eq!((&row["absence"]["kind"], &row["absence"]["owner"]), (&json!("replaced"), &json!(stranger)));
        assert_eq!((&row["storage_bytes"], &row["table_count"]), (&json!(0), &json!(0)), "it is not measured either");
        assert_eq!(observed(&database, &tenant).await["absence"], row["absence"]);
        let before = database.acl("school").await;
        refused_everywhere(&database, &tenant, "another one, of role").await;
        let rebind = json!({ "installation_id": lane.installation_id });
        expect(&call(&database.operator().await, "rebind_tenants", &rebind).await, "unchanged");

        // The tenant can end; what stands there stays, for any caller.
        let ended = set_aside(&database, &tenant).await;
        expect(&ended, "success");
        assert_eq!(ended["detail"]["schema_missing"], true);
        assert_eq!(database.acl("school").await, before);
        assert_eq!(database.one::<i32>("SELECT a FROM school.diary").await, 7);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_schema_is_named_and_its_tenant_does_not_end() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE books (a int); INSERT INTO books VALUES (7)").await;
        database.admin.batch_execute("ALTER SCHEMA school RENAME TO parked").await.unwrap();
        refused_everywhere(&database, &tenant, "ALTER SCHEMA parked RENAME TO school").await;
        for name_is_taken in [false, true] {
            if name_is_taken {
                database.admin.batch_execute("CREATE SCHEMA school").await.unwrap();
            }
            let row = observed(&database, &tenant).await;
            assert_eq!((&row["absence"]["kind"], &row["absence"]["now"]), (&json!("renamed"), &json!("parked")));
            let answer = set_aside(&database, &tenant).await;
            assert_eq!(expect(&answer, "error"), "schema_missing");
            assert!(answer["message"].as_str().unwrap().contains("ALTER SCHEMA parked RENAME TO school"), "{answer}");
        }
        // An object that asks for the name that it has now is told whose it is.
        let client = database.operator().await;
        let wanted = call(&client, "create_tenant_schema", &tenant_options("parked")).await;
        assert_eq!(expect(&wanted, "error"), "name_taken");
        assert_eq!(wanted["detail"]["holder"]["name"], "school");
        let mut request = owner("parked");
        request["schema_name"] = json!("parked");
        assert_eq!(call(&client, "observe_tenant", &request).await["bearer"]["schema_name"], "school");

        database.admin.batch_execute("DROP SCHEMA school; ALTER SCHEMA parked RENAME TO school").await.unwrap();
        assert_eq!(observed(&database, &tenant).await["schema_exists"], true);
        expect(&set_aside(&database, &tenant).await, "success");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_or_replaced_role_is_named_and_not_made_again() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        lane.survey(true).await;
        for role in [&tenant.owner, &tenant.reader, &tenant.writer] {
            let renamed = format!("{}_other", database.name);
            for taken in [false, true] {
                let take = if taken { format!("CREATE ROLE \"{role}\"") } else { String::new() };
                database
                    .admin
                    .batch_execute(&format!("ALTER ROLE \"{role}\" RENAME TO {renamed}; {take}"))
                    .await
                    .unwrap();
                let survey = lane.survey(false).await;
                let drift = surveyed(&survey, &tenant).unwrap()["drift"].clone();
                assert_eq!(drift.as_array().unwrap().len(), 1, "{drift}");
                let statement = drift[0]["statement"].as_str().unwrap().to_owned();
                assert!(statement.ends_with(&format!("ALTER ROLE {renamed} RENAME TO {role}")), "{drift}");
                assert_eq!(drift[0]["repairable"], false);
                let client = database.operator().await;
                let repair = call(&client, "repair_tenant_schema", &tenant.options(&json!({}))).await;
                assert_eq!(expect(&repair, "error"), "not_repairable");
                let access = tenant.options(&json!({ "access": "Suspended" }));
                assert_eq!(expect(&call(&client, "set_tenant_access", &access).await, "error"), "not_repairable");
                assert_eq!(expect(&set_aside(&database, &tenant).await, "error"), "not_repairable");
                // What it says is what helps.
                database.admin.batch_execute(&statement).await.unwrap();
                assert_eq!(lane.survey(true).await["tenants"][0]["drift"], json!([]));
                database
                    .admin
                    .batch_execute(&format!(
                        "DO $$ BEGIN EXECUTE coalesce((SELECT string_agg(format('DROP ROLE %I', rolname), '; ') FROM pg_roles \
                         WHERE rolname ~ '{}_[0-9]+$'), 'SELECT 1'); END $$",
                        &role[..role.len().min(50)]
                    ))
                    .await
                    .unwrap();
            }
        }
        assert_eq!(database.standing_memberships().await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_takes_what_belongs_to_the_owner_role_and_nothing_else() {
    with_database(async |database| {
        let kept = database.tenant("kept").await;
        let lost = database.tenant("lost").await;
        let gone = database.tenant("gone").await;
        let aside = database.tenant("aside").await;
        expect(&set_aside(&database, &aside).await, "success");
        let stranger = database.role("stranger", "NOLOGIN").await;
        let forget = "UPDATE edu_matrix_hub_schema.tenant_schemas SET schema_oid = NULL, owner_role_oid = NULL, reader_role_oid = NULL, \
                          writer_role_oid = NULL; UPDATE edu_matrix_hub_schema.schema_backups SET location_oid = NULL";
        let change = format!("ALTER SCHEMA lost OWNER TO {stranger}; DROP SCHEMA gone; {forget}");
        database.admin.batch_execute(&change).await.unwrap();
        let image = "SELECT jsonb_agg(jsonb_build_array(schema_name, schema_oid::regnamespace, num_nonnulls(owner_role_oid, \
                     reader_role_oid, writer_role_oid)) ORDER BY schema_name) FROM edu_matrix_hub_schema.tenant_schemas";
        for _ in 0..2 {
            database.install("postgres", Form::Managed).await.unwrap();
            let location: String = database.one("SELECT location FROM edu_matrix_hub_schema.schema_backups").await;
            let found: Value = database.one(image).await;
            assert_eq!(found, json!([["aside", location, 3], ["gone", null, 3], ["kept", "kept", 3], ["lost", null, 0]]));
        }
        assert_eq!(observed(&database, &kept).await["schema_exists"], true);
        assert_eq!(observed(&database, &gone).await["absence"]["kind"], "dropped");
        let unknown = observed(&database, &lost).await;
        assert_eq!((&unknown["absence"]["kind"], &unknown["absence"]["owner"]), (&json!("unknown"), &json!(stranger)));
        assert_eq!(expect(&set_aside(&database, &lost).await, "error"), "schema_missing");
        let recreate = call(&database.operator().await, "recreate_tenant_schema", &gone.options(&json!({}))).await;
        expect(&recreate, "success");
        let front = "SELECT status FROM edu_matrix_hub_schema.restore_set_aside((SELECT id FROM edu_matrix_hub_schema.schema_backups))";
        assert_eq!(database.one::<String>(front).await, "success");
        assert_eq!(observed(&database, &aside).await["schema_exists"], true);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_was_restored_by_hand_is_bound_when_a_person_says_so() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        let restore = format!(
            "DROP SCHEMA school; CREATE SCHEMA school AUTHORIZATION \"{}\"; COMMENT ON SCHEMA school IS 'tenant {}'",
            tenant.owner, tenant.id
        );
        database.admin.batch_execute(&restore).await.unwrap();
        assert_eq!(observed(&database, &tenant).await["absence"]["kind"], "unbound");
        let survey = lane.survey(false).await;
        assert_eq!(survey["unbound_count"], 1);
        assert_eq!(expect(&set_aside(&database, &tenant).await, "error"), "schema_missing");
        let client = database.operator().await;
        let options = json!({ "installation_id": lane.installation_id });
        let wrong = json!({ "installation_id": uuid::Uuid::new_v4() });
        assert_eq!(expect(&call(&client, "rebind_tenants", &wrong).await, "error"), "wrong_installation");
        expect(&call(&client, "rebind_tenants", &options).await, "success");
        expect(&call(&client, "rebind_tenants", &options).await, "unchanged");
        assert_eq!(observed(&database, &tenant).await["schema_exists"], true);
        let repair = call(&client, "repair_tenant_schema", &tenant.options(&json!({}))).await;
        expect(&repair, "success");
        // The same call does nothing later for a schema that is another user's.
        database.admin.batch_execute("DROP SCHEMA school; CREATE SCHEMA school").await.unwrap();
        expect(&call(&client, "rebind_tenants", &options).await, "unchanged");
        assert_eq!(observed(&database, &tenant).await["absence"]["kind"], "replaced");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_was_made_again_is_another_one() {
    with_database(async |database| {
        let client = database.operator().await;
        let at = |uid: &str, namespace: &str| {
            let mut object = owner("school");
            object["uid"] = json!(uid);
            object["namespace_uid"] = json!(namespace);
            object
        };
        let create = json!({ "schema_name": "school", "owner": at("first", "n1") });
        let tenant = database.tenant_of(&call(&client, "create_tenant_schema", &create).await).await;
        let reclaim = async |owner: Value| {
            call(&client, "reclaim_tenant_schema", &tenant.options(&json!({ "owner": owner }))).await
        };
        let refused = reclaim(at("second", "n2")).await;
        assert_eq!(expect(&refused, "error"), "not_owner");
        assert!(refused["message"].as_str().unwrap().contains("was deleted"), "{refused}");
        expect(&reclaim(at("third", "n1")).await, "success");
        // From before namespaces had UIDs, the name counts, and the UID is taken.
        let forget = "UPDATE edu_matrix_hub_schema.tenant_schemas SET owner_namespace_uid = NULL";
        database.admin.batch_execute(forget).await.unwrap();
        let told = json!({ "namespaces": { "third": "n3", "fourth": "n4" } });
        expect(&call(&client, "remember_namespaces", &told).await, "success");
        expect(&call(&client, "remember_namespaces", &told).await, "unchanged");
        assert_eq!(expect(&reclaim(at("fourth", "n1")).await, "error"), "not_owner");

        // The same holds for what was set aside, and what a SchemaBackup of the former namespace asked for.
        let options = tenant.options(&json!({ "owner_uid": "third" }));
        let aside = call(&client, "set_aside_tenant_schema", &options).await;
        expect(&aside, "success");
        let restore = json!({ "backup_id": aside["detail"]["backup_id"], "owner": at("fifth", "n5") });
        assert_eq!(expect(&call(&client, "restore_tenant_schema", &restore).await, "error"), "not_owner");
        let restore = json!({ "backup_id": aside["detail"]["backup_id"], "owner": at("fifth", "n3") });
        expect(&call(&client, "restore_tenant_schema", &restore).await, "success");
        let mut object = at("backup", "n3");
        object["name"] = json!("weekly");
        let asked = json!({ "schema_id": tenant.id, "object": object, "method": "Snapshot" });
        let backup = call(&client, "request_backup", &asked).await["detail"]["backup_id"].clone();
        for (namespace, found) in [("n3", true), ("n6", false)] {
            let mut question = at("again", namespace);
            question["name"] = json!("weekly");
            question["backup_id"] = backup.clone();
            let answer = call(&client, "observe_backup", &question).await;
            assert_eq!(answer["backup"].is_object(), found, "{namespace}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_neighbours_login_granted_or_a_tenant_left_elsewhere_does_not_keep_its_roles() {
    with_database(async |database| {
        let leaving = database.tenant("leaving").await;
        let staying = database.tenant("staying").await;
        let login = format!("{}_login", database.name);
        database.declare_login(&staying, &login, &staying.owner).await;
        let statements = format!(
            "SET ROLE {login}; CREATE TABLE staying.mine (a int); GRANT SELECT ON staying.mine TO \"{}\"; RESET ROLE",
            leaving.reader,
        );
        database.admin.batch_execute(&statements).await.unwrap();
        let elsewhere = format!(
            "CREATE TABLE public.left_behind (); ALTER TABLE public.left_behind OWNER TO \"{}\"",
            leaving.owner
        );
        database.admin.batch_execute(&elsewhere).await.unwrap();
        let aside = set_aside(&database, &leaving).await;
        expect(&aside, "success");
        let purge = format!(
            "SELECT jsonb_build_object('status', status, 'message', message) FROM \
             edu_matrix_hub_schema.purge_schema_backup({})",
            aside["detail"]["backup_id"].to_string().replace('"', "'")
        );
        let stopped: Value = database.one(&purge).await;
        expect(&stopped, "error");
        assert!(stopped["message"].as_str().unwrap().contains("DROP TABLE public.left_behind"), "{stopped}");
        database.admin.batch_execute("DROP TABLE public.left_behind").await.unwrap();
        expect(&database.one::<Value>(&purge).await, "success");
        assert_eq!(database.standing_memberships().await, 0);
    })
    .await;
}

/// Drops a login, and makes one of its name that belongs to another.
async fn replace_login(database: &Database, name: &str) {
    let statements = format!("DROP OWNED BY {name}; DROP ROLE {name}; CREATE ROLE {name} LOGIN");
    database.admin.batch_execute(&statements).await.unwrap();
    database.let_in(name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_of_a_former_logins_name_is_not_the_tenants() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        let (app, job) = (format!("{}_app", database.name), format!("{}_job", database.name));
        database.declare_login(&tenant, &app, &tenant.reader).await;
        database.declare_login(&tenant, &job, &tenant.reader).await;
        lane.survey(true).await;
        replace_login(&database, &app).await;
        // Declaring another one does not make it the tenant's either.
        let again = "UPDATE edu_matrix_hub_schema.tenant_schemas SET logins = array_append(logins, 'nobody')";
        database.admin.batch_execute(again).await.unwrap();
        let session = database.connect(&app).await;

        let survey = lane.survey(true).await;
        let drift = &surveyed(&survey, &tenant).unwrap()["drift"];
        assert_eq!(drift[0]["what"], format!("login \"{app}\" is gone, and another role has its name"), "{drift}");
        assert!(drift[0]["statement"].as_str().unwrap().starts_with(&format!("ALTER ROLE {app} RENAME TO")), "{drift}");
        assert_eq!(drift.as_array().unwrap().len(), 1, "{drift}");

        let client = database.operator().await;
        let declared =
            drift[0]["statement"].as_str().unwrap().split("if it is the tenant's: ").nth(1).unwrap().to_owned();
        let access = async |access: &str| {
            call(&client, "set_tenant_access", &tenant.options(&json!({ "access": access }))).await
        };
        let suspended = access("Suspended").await;
        expect(&suspended, "success");
        assert_eq!(suspended["detail"]["closed"], json!([job]));
        expect(&lane.beat().await, "success");
        session.batch_execute("SELECT 1").await.unwrap();
        let may_log_in = "SELECT string_agg(rolcanlogin::text, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname IN";
        let may_log_in = format!("{may_log_in} ('{app}', '{job}')");
        assert_eq!(database.one::<String>(&may_log_in).await, "true false");
        // One that was closed and belongs to another by now is not opened.
        database
            .admin
            .batch_execute(&format!("DROP OWNED BY {job}; DROP ROLE {job}; CREATE ROLE {job}"))
            .await
            .unwrap();
        expect(&access("ReadWrite").await, "success");
        assert_eq!(database.one::<String>(&may_log_in).await, "true false");

        // What the message says makes it the tenant's, and nothing else does.
        let own = "SELECT edu_matrix_hub_schema._own_logins(t)::text FROM edu_matrix_hub_schema.tenant_schemas AS t";
        assert_eq!(database.one::<String>(own).await, "{}");
        database.admin.batch_execute(&format!("BEGIN; {declared}")).await.unwrap();
        assert_eq!(database.one::<String>(own).await, format!("{{{app}}}"));
        database.admin.batch_execute("ROLLBACK").await.unwrap();

        // Nor does it go with the tenant.
        let aside = set_aside(&database, &tenant).await;
        expect(&aside, "success");
        let purge = format!(
            "SELECT status FROM edu_matrix_hub_schema.purge_schema_backup({})",
            aside["detail"]["backup_id"].to_string().replace('"', "'")
        );
        assert_eq!(database.one::<String>(&purge).await, "success");
        assert_eq!(database.one::<String>(&may_log_in).await, "true false");
        session.batch_execute("SELECT 1").await.unwrap();
        assert_eq!(database.standing_memberships().await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_found_again_by_its_name_and_its_membership() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        let (app, job) = (format!("{}_app", database.name), format!("{}_job", database.name));
        database.declare_login(&tenant, &app, &tenant.reader).await;
        database.declare_login(&tenant, &job, &tenant.reader).await;
        replace_login(&database, &job).await;
        let known = format!(
            "SELECT login_oids IS NOT DISTINCT FROM ARRAY['{app}'::regrole, NULL]::oid[] FROM edu_matrix_hub_schema.tenant_schemas"
        );
        assert!(!database.one::<bool>(&known).await, "the job's is the former one");
        // An installation from before logins had numbers.
        let former = "ALTER TABLE edu_matrix_hub_schema.tenant_schemas DROP COLUMN login_oids CASCADE";
        database.admin.batch_execute(&format!("DROP VIEW edu_matrix_hub_schema.tenant_rows; {former}")).await.unwrap();
        for _ in 0..2 {
            database.install("postgres", Form::Managed).await.unwrap();
            assert!(database.one::<bool>(&known).await);
        }
        // Another world: no number means what it meant.
        let moved = "UPDATE edu_matrix_hub_schema.installation SET registry_oid = 1; \
                     UPDATE edu_matrix_hub_schema.tenant_schemas SET schema_oid = 1, owner_role_oid = 2, login_oids = '{3, 4}'";
        database.admin.batch_execute(moved).await.unwrap();
        let options = json!({ "installation_id": lane.installation_id });
        expect(&call(&database.operator().await, "rebind_tenants", &options).await, "success");
        assert!(database.one::<bool>(&known).await);
    })
    .await;
}
