//! A tenant with row-level security, and sessions of its applications.

use serde_json::{Value, json};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::{Database, Lane, Tenant, call, expect, surveyed};

/// Two users.
pub const ANN: &str = "11111111-1111-1111-1111-111111111111";
pub const BOB: &str = "22222222-2222-2222-2222-222222222222";

/// A tenant's row-level security.
pub struct Policies<'a> {
    pub database: &'a Database,
    pub tenant: &'a Tenant,
    pub lane: Lane,
    pub login: String,
}

impl<'a> Policies<'a> {
    /// The tenant, with an application's login that may read and write.
    pub async fn of(database: &'a Database, tenant: &'a Tenant) -> Self {
        let login = database.role("app", "LOGIN").await;
        let grant = format!("GRANT {}, {} TO {login}", tenant.reader, tenant.writer);
        database.admin.batch_execute(&grant).await.unwrap();
        Self { database, tenant, lane: Lane::claim(database.operator().await).await, login }
    }

    /// Asks for policies.
    pub async fn set(&self, mode: &str, policies: Value) -> Value {
        let digest = format!("{mode} {policies}");
        self.step(json!({ "mode": mode, "policies": policies, "digest": digest })).await
    }

    /// Asks for nothing any more.
    pub async fn unset(&self) -> Value {
        self.step(json!({ "mode": null, "policies": [], "digest": "" })).await
    }

    async fn step(&self, options: Value) -> Value {
        loop {
            let answer = call(&self.lane.client, "set_row_security", &self.tenant.options(&options)).await;
            if answer["status"] != "partial" {
                return answer;
            }
        }
    }

    /// Asks for policies, which must succeed; its detail.
    pub async fn covered(&self, mode: &str, policies: Value) -> Value {
        let answer = self.set(mode, policies).await;
        expect(&answer, "success");
        answer["detail"].clone()
    }

    /// What the survey finds.
    pub async fn drift(&self) -> Vec<String> {
        let survey = self.lane.survey(false).await;
        assert!(survey["tenants"].is_array(), "{survey}");
        let rows = surveyed(&survey, self.tenant).map_or_else(Vec::new, |row| row["drift"].as_array().unwrap().clone());
        rows.iter().map(|row| row["what"].as_str().unwrap().to_owned()).collect()
    }

    /// What the survey tells of it.
    pub async fn told(&self) -> Value {
        let survey = self.lane.survey(true).await;
        assert!(survey["tenants"].is_array(), "{survey}");
        surveyed(&survey, self.tenant).unwrap()["row_security"].clone()
    }

    pub async fn repair(&self) -> Value {
        call(&self.lane.client, "repair_tenant_schema", &self.tenant.options(&json!({}))).await
    }

    /// Puts right what a survey finds, which must be something; after that it finds nothing.
    pub async fn repaired(&self) -> Value {
        assert_ne!(self.drift().await, [] as [&str; 0]);
        let answer = self.repair().await;
        expect(&answer, "success");
        assert_eq!(self.drift().await, [] as [&str; 0], "{answer}");
        assert_eq!(self.database.standing_memberships().await, 0);
        answer
    }

    /// A session of the application, for one user or without one.
    pub async fn session(&self, user: Option<&str>) -> Client {
        let client = self.database.connect(&self.login).await;
        client.batch_execute(&format!("SET search_path = {}", self.tenant.schema)).await.unwrap();
        if let Some(user) = user {
            client.batch_execute(&format!("SET app.user_id = '{user}'")).await.unwrap();
        }
        client
    }

    /// What the application reads as this user, as one text; or the code of the error.
    pub async fn reads(&self, user: Option<&str>, query: &str) -> String {
        read(&self.session(user).await, query).await
    }

    /// What the owner reads.
    pub async fn owner_reads(&self, query: &str) -> String {
        let client = self.database.member("owner_login", &self.tenant.owner).await;
        let role = format!("SET ROLE \"{}\"; SET search_path = {}", self.tenant.owner, self.tenant.schema);
        client.batch_execute(&role).await.unwrap();
        read(&client, query).await
    }
}

/// The first column of the rows, or the code of the error.
pub async fn read(client: &Client, query: &str) -> String {
    match client.simple_query(query).await {
        Ok(messages) => {
            let rows = messages.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("null").to_owned()),
                _ => None,
            });
            rows.collect::<Vec<_>>().join(",")
        }
        Err(error) => error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()),
    }
}

/// The policy that most tests have.
pub fn own_rows() -> Value {
    json!([{ "name": "own-rows", "column": "user_id", "setting": "app.user_id" }])
}
