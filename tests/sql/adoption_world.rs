//! A schema that stands already, made by roles that know nothing of us, and its way to a tenant.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{Database, call, expect, has_keepers, owner};

/// The roles of an application that was there before.
pub struct Before {
    /// What it migrates and runs with: it owns nearly everything.
    pub app: String,
    /// What has rights on some of it.
    pub web: String,
}

impl Before {
    /// The roles, and a schema `shared` in which the first may make what it likes.
    pub async fn of(database: &Database) -> Self {
        let (app, web) = (database.role("app", "LOGIN").await, database.role("web", "LOGIN").await);
        let statements = format!(
            "GRANT CREATE ON DATABASE {} TO {app}; CREATE SCHEMA shared AUTHORIZATION {app}; GRANT USAGE ON SCHEMA shared TO {web}",
            database.name
        );
        database.admin.batch_execute(&statements).await.unwrap();
        Self { app, web }
    }

    /// Runs statements as the first role.
    pub async fn make(&self, database: &Database, statements: &str) {
        let text =
            format!("SET ROLE {}; SET search_path = shared; {statements}; RESET ROLE; RESET search_path", self.app);
        database.admin.batch_execute(&text).await.unwrap();
    }
}

/// What is there to adopt for the TenantSchema of this name.
pub async fn look(database: &Database, schema: &str, name: &str) -> Value {
    let mut request = json!({ "schema_name": schema, "adopts": true });
    request.as_object_mut().unwrap().extend(owner(name).as_object().unwrap().clone());
    call(&database.admin, "observe_tenant", &request).await["adoption"].clone()
}

/// One call of the function.
pub async fn adopt(client: &Client, schema: &str, name: &str, digest: &Value) -> Value {
    call(client, "adopt_tenant_schema", &json!({ "schema_name": schema, "owner": owner(name), "digest": digest })).await
}

/// Calls it until it is done or cannot go on, and returns the last answer.
pub async fn adopt_whole(database: &Database, schema: &str, name: &str) -> Value {
    let digest = look(database, schema, name).await["digest"].clone();
    for _ in 0..100 {
        let answer = adopt(&database.admin, schema, name, &digest).await;
        if answer["status"] != "partial" {
            return answer;
        }
    }
    panic!("it has no end");
}

/// Does what the plan asks of a DBA.
pub async fn help(database: &Database, schema: &str, name: &str) {
    let plan = look(database, schema, name).await;
    for statement in plan["statements"].as_array().unwrap() {
        match statement.as_str().unwrap().strip_suffix(" \\gexec") {
            Some(query) => {
                for row in database.admin.query(query, &[]).await.unwrap() {
                    database.admin.batch_execute(row.get(0)).await.unwrap();
                }
            }
            None => database.admin.batch_execute(statement.as_str().unwrap()).await.unwrap(),
        }
    }
    let left = look(database, schema, name).await;
    assert_eq!((&left["is_left"], &left["digest"]), (&json!(false), &plan["digest"]), "{left}");
    assert!(!has_keepers() || plan["is_left"] == json!(true), "{plan}");
}

/// What of the schema does not belong to its tenant's owner role.
pub async fn foreign(database: &Database, schema: &str) -> i64 {
    database
        .one(&format!(
            "SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas AS t \
             CROSS JOIN edu_matrix_hub_schema._adoptable_objects(t.schema_oid) AS o \
             WHERE t.schema_name = '{schema}' AND o.owner <> t.owner_role_oid"
        ))
        .await
}

/// Adopts a schema after a DBA has helped, and brings it to rest.
pub async fn adopted(database: &Database, schema: &str) -> crate::support::Tenant {
    help(database, schema, "school").await;
    let answer = adopt_whole(database, schema, "school").await;
    expect(&answer, "success");
    assert_eq!(foreign(database, schema).await, 0);
    let tenant = database.tenant_of(&answer).await;
    call(&database.admin, "repair_tenant_schema", &tenant.options(&json!({}))).await;
    expect(&call(&database.admin, "repair_tenant_schema", &tenant.options(&json!({}))).await, "unchanged");
    assert_eq!(database.standing_memberships().await, 0);
    tenant
}
