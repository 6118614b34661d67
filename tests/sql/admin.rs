//! What a member of the admin role may do, as a person or an application may be one: call the functions for people and
//! observe. Nothing that it calls lets it in to a tenant, or speaks for an object of a cluster.

use serde_json::json;
use tokio_postgres::error::SqlState;

use crate::support::{Database, call, expect, try_call, with_database};

/// What the admin role may call.
const FOR_ADMINS: &[&str] = &[
    "accept_missing_tables",
    "adoption_statements",
    "backup_institution_schema",
    "create_institution_schema",
    "drop_institution_schema",
    "end_kept_role",
    "installation",
    "observe_backup",
    "observe_tenant",
    "purge_schema_backup",
    "restore_set_aside",
];

/// Everything by which a login could have been opened or a tenant have come to another owner: roles that may log in or
/// have a password, memberships, and whose each tenant is.
async fn who_may_enter(database: &Database) -> String {
    database
        .one(
            "SELECT concat_ws(chr(10),
                (SELECT string_agg(concat_ws(' ', a.rolname, a.rolcanlogin, a.rolpassword), ',' ORDER BY a.rolname)
                 FROM pg_authid AS a
                 WHERE starts_with(a.rolname::text, current_database()) AND (a.rolcanlogin OR a.rolpassword IS NOT NULL)),
                (SELECT string_agg(concat_ws(' ', m.roleid::regrole, m.member::regrole), ',' ORDER BY 1)
                 FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = m.member AND r.rolcanlogin
                 WHERE starts_with(r.rolname::text, current_database())),
                (SELECT string_agg(concat_ws(' ', t.id, t.owner_namespace, t.owner_name, t.owner_uid, t.status, t.logins),
                                   ',' ORDER BY t.id)
                 FROM edu_matrix_hub_schema.tenant_schemas AS t),
                (SELECT concat_ws(' ', i.epoch, i.cluster, i.tenant_database)
                 FROM edu_matrix_hub_schema.installation AS i))",
        )
        .await
}

#[tokio::test]
async fn a_member_of_the_admin_role_calls_what_is_for_people_and_nothing_else() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let client = database.member("person", &database.admin_role()).await;
        let before = who_may_enter(&database).await;

        // Every function there is, with nulls: which of them it gets into is decided before any argument is looked at.
        let calls = "SELECT p.proname::text, format('SELECT edu_matrix_hub_schema.%I(%s)', p.proname,
                         (SELECT string_agg(format('NULL::%s', a::regtype), ', ') FROM unnest(p.proargtypes) AS a))
                     FROM pg_proc AS p
                     WHERE p.pronamespace = 'edu_matrix_hub_schema'::regnamespace AND p.prorettype <> 'trigger'::regtype
                     ORDER BY 1";
        let mut open = Vec::new();
        for row in database.admin.query(calls, &[]).await.unwrap() {
            let (name, statement): (String, String) = (row.get(0), row.get(1));
            let refused = client.batch_execute(&statement).await.err();
            if refused.and_then(|error| error.code().cloned()) != Some(SqlState::INSUFFICIENT_PRIVILEGE) {
                open.push(name);
            }
        }
        assert_eq!(open, FOR_ADMINS);

        for statement in [
            format!("SET ROLE {}", database.operator_role()),
            format!("SET ROLE {}", database.owner_role),
            format!("SET ROLE \"{}\"", tenant.owner),
            format!("GRANT {} TO CURRENT_USER", database.operator_role()),
            format!("GRANT \"{}\" TO CURRENT_USER", tenant.reader),
            format!("ALTER ROLE \"{}\" LOGIN PASSWORD 'x'", tenant.owner),
            "SELECT FROM edu_matrix_hub_schema.tenant_schemas".to_owned(),
            "UPDATE edu_matrix_hub_schema.installation SET epoch = 9".to_owned(),
        ] {
            assert!(client.batch_execute(&statement).await.is_err(), "{statement}");
        }
        assert_eq!(who_may_enter(&database).await, before, "no login, no verifier and no tenant");
    })
    .await;
}

#[tokio::test]
async fn what_the_functions_for_people_are_for_they_do() {
    with_database(async |database| {
        let client = database.member("person", &database.admin_role()).await;
        let institution = database.institution().await;
        let made = client
            .query_one("SELECT * FROM edu_matrix_hub_schema.create_institution_schema($1, 'school')", &[&institution])
            .await
            .unwrap();
        assert_eq!(made.get::<_, String>("status"), "success");
        let id: uuid::Uuid = made.get("schema_id");
        for function in ["backup_institution_schema", "drop_institution_schema"] {
            let sql = format!("SELECT * FROM edu_matrix_hub_schema.{function}($1)");
            let answer = client.query_one(&sql, &[&id]).await.unwrap();
            assert_eq!(
                answer.get::<_, String>("status"),
                "success",
                "{function}: {}",
                answer.get::<_, String>("message")
            );
        }
        // A tenant that an object of a cluster has is told to a person, and not touched.
        let theirs = database.tenant("theirs").await;
        let sql = "SELECT * FROM edu_matrix_hub_schema.drop_institution_schema($1)";
        let answer = client.query_one(sql, &[&theirs.id]).await.unwrap();
        assert_eq!(answer.get::<_, String>("status"), "error");
        let observed = call(&client, "observe_tenant", &json!({ "schema_name": "theirs" })).await;
        assert!(observed.is_object(), "{observed}");
        let taken = try_call(&client, "reclaim_tenant_schema", &json!({ "schema_id": theirs.id })).await.unwrap_err();
        assert_eq!(taken.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
        expect(&call(&database.operator().await, "claim_lane", &json!({})).await, "error");
    })
    .await;
}
