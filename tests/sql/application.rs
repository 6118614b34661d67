//! An application of a tenant: what it is issued, and whether it comes in.

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::{Database, Lane, Tenant, call, expect, surveyed};

/// What the survey finds of this tenant.
pub async fn found(lane: &Lane, tenant: &Tenant) -> Vec<Value> {
    let survey = lane.survey(false).await;
    surveyed(&survey, tenant).map_or_else(Vec::new, |row| row["drift"].as_array().unwrap().clone())
}

/// What an application of a tenant is issued.
pub struct Application<'a> {
    pub database: &'a Database,
    pub operator: Client,
    pub tenant: &'a Tenant,
    /// What its logins are for.
    pub purpose: &'static str,
}

impl<'a> Application<'a> {
    pub async fn of(database: &'a Database, tenant: &'a Tenant) -> Self {
        Self { database, operator: database.operator().await, tenant, purpose: "connection" }
    }

    /// What the tenant's migrations are issued.
    pub async fn migrating(database: &'a Database, tenant: &'a Tenant) -> Self {
        Self { purpose: "migration", ..Self::of(database, tenant).await }
    }

    /// Issues a credential with this password; others of the options may be given.
    pub async fn issue(&self, password: &str, more: Value) -> Value {
        let mut options = self.tenant.options(&credential(self.database, password).await);
        options["purpose"] = json!(self.purpose);
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call(&self.operator, "issue_credential", &options).await
    }

    /// Issues one, which must succeed, and returns its login. As the operator does it: a session of the login runs what only that
    /// can.
    pub async fn issued(&self, password: &str) -> String {
        let answer = self.issue(password, json!({})).await;
        expect(&answer, "success");
        let login = answer["detail"]["login"].as_str().unwrap().to_owned();
        if let Some(statements) = answer["detail"]["own_statements"].as_str() {
            let own = self.database.log_in(&login, password).await.unwrap();
            let sent = OWN_STATEMENTS.replace(":milliseconds", "5000").replace(":statements", statements);
            own.batch_execute(&sent).await.unwrap();
        }
        login
    }

    /// Sets a connection limit and a statement timeout.
    pub async fn limit(&self, connections: i64, seconds: i64) -> Value {
        let options = self.tenant.options(&json!({
            "purpose": self.purpose, "connection_limit": connections, "statement_timeout_seconds": seconds,
            "idle_in_transaction_timeout_seconds": 300,
        }));
        call(&self.operator, "set_credential_limits", &options).await
    }

    pub async fn end_previous(&self) -> Value {
        call(&self.operator, "end_previous_login", &self.tenant.options(&json!({ "purpose": self.purpose }))).await
    }

    pub async fn withdraw(&self) -> Value {
        call(&self.operator, "withdraw_credential", &self.tenant.options(&json!({ "purpose": self.purpose }))).await
    }

    /// Puts right what differs.
    pub async fn repair(&self) -> Value {
        call(&self.operator, "repair_tenant_schema", &self.tenant.options(&json!({}))).await
    }

    /// Closes the former login for good, in its two calls.
    pub async fn closed_previous(&self) {
        expect(&self.end_previous().await, "partial");
        expect(&self.end_previous().await, "success");
    }

    pub async fn set_access(&self, access: &str) {
        let options = self.tenant.options(&json!({ "access": access }));
        expect(&call(&self.operator, "set_tenant_access", &options).await, "success");
    }

    /// Why a login with this password does not come in, or that it does.
    pub async fn door(&self, login: &str, password: &str) -> String {
        match self.database.log_in(login, password).await {
            Ok(_) => "open".to_owned(),
            Err(error) => error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()),
        }
    }
}

const OWN_STATEMENTS: &str = include_str!("../../sql/call/own_statements.sql");

/// Whether a session was ended.
pub async fn is_ended(session: &Client) -> bool {
    session.batch_execute("SELECT 1").await.is_err()
}

/// So many connections a login may have that is issued here.
pub const LIMIT: i64 = 3;

/// What is asked for with a new credential, of whichever tenant.
pub async fn credential(database: &Database, password: &str) -> Value {
    json!({
        "purpose": "connection", "credential_id": Uuid::new_v4(), "verifier": database.verifier(password).await,
        "connection_limit": LIMIT, "statement_timeout_seconds": 7, "idle_in_transaction_timeout_seconds": 300,
        "grace_seconds": 3600,
    })
}

/// The server's answer to a wrong password, and to any where a login has none.
pub const NO_PASSWORD: &str = "28P01";
/// Its answer when a login with a password may not come in.
pub const CLOSED: &str = "28000";
