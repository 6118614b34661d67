//! Passwords, which are made when a plan is applied and live until they are in their Secret.

use jiff::Timestamp;
use postgres_protocol::password::scram_sha_256;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    api::condition::Reason,
    contract::{Call, CallResult, Caller, NewCredential, Purpose, Step, Verifier},
    kubernetes::secrets::{Content, Refusal, Secrets, Target},
    lane::{Endpoint, Lane},
    plan::End,
    postgres::random_password,
    text::DOCS,
};

/// A password. It is printed nowhere.
pub struct Password(String);

/// A password that the database has and no Secret yet.
pub struct Issued {
    /// Who logs in with it.
    pub purpose: Purpose,
    login: String,
    credential_id: Uuid,
    previous_until: Option<Timestamp>,
    own_statements: Option<OwnStatements>,
    password: Password,
}

/// What only a session of the login itself can do before others have its password.
struct OwnStatements {
    statements: String,
    /// A role that every tenant's login is a member of, by which the server can let them in.
    group: String,
}

/// A password that is in its Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Who logs in with it.
    pub purpose: Purpose,
    /// The name of the Secret.
    pub secret_name: String,
    /// Its UID.
    pub secret_uid: Option<String>,
    /// The login in it.
    pub login: String,
    /// Which password it is.
    pub credential_id: Uuid,
    /// Until when the login before it stays open.
    pub previous_until: Option<Timestamp>,
}

/// Makes a password for each step that issues one.
///
/// The verifier has as many iterations as PostgreSQL's own, because drivers refuse fewer.
pub fn make(steps: &mut [Step]) -> Vec<(Purpose, Password)> {
    let make = |(purpose, new): (Purpose, &mut Option<NewCredential>)| {
        let password = random_password();
        let verifier = Verifier::new(scram_sha_256(password.as_bytes()));
        *new = Some(NewCredential { credential_id: Uuid::new_v4(), verifier });
        (purpose, Password(password))
    };
    steps.iter_mut().filter_map(Step::new_credential).map(make).collect()
}

/// What the database answered to the steps that issue passwords, where it did.
pub fn issued(results: &[CallResult], passwords: Vec<(Purpose, Password)>) -> Vec<Issued> {
    #[derive(Deserialize)]
    struct Answer {
        login: String,
        credential_id: Uuid,
        previous_until: Option<Timestamp>,
        own_statements: Option<String>,
        #[serde(default)]
        group: String,
    }
    let answered = |(purpose, password): (Purpose, Password)| {
        let result = results.iter().find(|result| result.succeeded_for(&Call::IssueCredential, &purpose))?;
        let Answer { login, credential_id, previous_until, own_statements, group } =
            serde_json::from_value(result.detail.clone()).ok()?;
        let own_statements = own_statements.map(|statements| OwnStatements { statements, group });
        Some(Issued { purpose, login, credential_id, previous_until, own_statements, password })
    };
    passwords.into_iter().filter_map(answered).collect()
}

/// Has a session of the login do what only that can, if there is anything.
pub async fn prepare(lane: &Lane, caller: &Caller, target: &Target, schema: &str, issued: &Issued) -> Result<(), End> {
    let Issued { login, own_statements, password: Password(password), .. } = issued;
    let Some(OwnStatements { statements, group }) = own_statements else { return Ok(()) };
    let failed = match lane.run_as(caller, login, password, statements).await {
        Ok(()) => return Ok(()),
        Err(failed) => failed,
    };
    let secret = target.full_name();
    if !failed.refuses_login() {
        let message = format!("Secret {secret} is written when login {login} has its defaults: {failed}");
        return Err(End::Waits { reason: Reason::ProgressingWithRetry, message, until: None });
    }
    let database = &lane.place.database;
    Err(End::Refused {
        reason: Reason::LoginRefused,
        message: format!(
            "schema {schema} is there, but Secret {secret} is not written: the operator has to log in as {login} once, since only that \
             login can set its defaults, and {failed}; a line of pg_hba.conf that lets it: host \"{database}\" +{group} \
             OPERATOR_ADDRESS scram-sha-256; then: SELECT pg_reload_conf()"
        ),
    })
}

/// Writes the Secret.
pub async fn publish(
    secrets: &Secrets,
    endpoint: &Endpoint,
    target: &Target,
    schema: &str,
    issued: Issued,
) -> Result<Published, Refusal> {
    let Issued { purpose, login, credential_id, previous_until, password: Password(password), .. } = issued;
    let content = Content { credential_id, endpoint: endpoint.digest() };
    let values = endpoint.values(&login, &password, schema);
    let secret_uid = secrets.publish(target, &values, &content).await?;
    Ok(Published { purpose, secret_name: target.name.clone(), secret_uid, login, credential_id, previous_until })
}

/// What it means that a Secret cannot be written, for people.
#[must_use]
pub fn refused(refusal: &Refusal, target: &Target, purpose: &Purpose, schema: &str) -> End {
    let secret = target.full_name();
    let Target { namespace, name, .. } = target;
    let message = match refusal {
        Refusal::Unguarded => format!(
            "schema {schema} is there, but Secret {secret} is not written: no policy keeps this operator from writing other Secrets; \
             install the ValidatingAdmissionPolicy of the chart for the operator's service account: \
             {DOCS}/operations.md#no-secret-is-written"
        ),
        Refusal::Foreign => format!(
            "schema {schema} is there, but a Secret {secret} is there as well that is not this tenant's, and it was not touched: choose \
             another spec.{}.name, or, if it is not needed: kubectl -n {namespace} delete secret {name}",
            purpose.field()
        ),
        Refusal::Forbidden(words) => format!(
            "schema {schema} is there, but Secret {secret} cannot be written: {words}{}",
            way_out(words, target)
        ),
        Refusal::Differs => format!("Secret {secret} has another content"),
        Refusal::MayPass(words) => words.clone(),
    };
    match refusal.reason() {
        Some(reason) => End::Refused { reason, message },
        None => End::Waits { reason: Reason::ProgressingWithRetry, message, until: None },
    }
}

/// The next command, by the words of the API server: what gives a right that is missing, or where it is written.
fn way_out(words: &str, target: &Target) -> String {
    let Target { namespace, name, .. } = target;
    if words.contains("immutable") {
        return format!(
            "; it was made immutable, so to let it be written again: kubectl -n {namespace} delete secret {name}"
        );
    }
    let is_missing = words.contains("cannot create resource") || words.contains("cannot update resource");
    let account = words.split_once("system:serviceaccount:").and_then(|(_, rest)| rest.split('"').next());
    let Some(account) = account.filter(|_| is_missing) else {
        return format!("; what to look for: {DOCS}/operations.md#no-secret-is-written");
    };
    format!(
        "; a cluster administrator can run: kubectl -n {namespace} create role tenant-secrets --verb=create,update --resource=secrets && \
         kubectl -n {namespace} create rolebinding tenant-secrets --role=tenant-secrets --serviceaccount={account}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::LoginLimits;

    fn issue(purpose: Purpose) -> Step {
        Step::IssueCredential {
            owner_uid: "uid".to_owned(),
            purpose,
            new: None,
            limits: LoginLimits {
                connection_limit: 20,
                statement_timeout_seconds: 0,
                idle_in_transaction_timeout_seconds: 300,
            },
            grace_seconds: 3600,
            unpublished: false,
        }
    }

    #[test]
    fn a_password_is_made_for_the_step_that_issues_one_and_is_another_each_time() {
        assert!(make(&mut [Step::CancelTenantJobs { schema_id: Uuid::nil() }]).is_empty());
        let mut steps = [issue(Purpose::Connection), issue(Purpose::Migration)];
        let made = make(&mut steps);
        let [(Purpose::Connection, Password(one)), (Purpose::Migration, Password(other))] = &made[..] else {
            panic!("one for each purpose")
        };
        assert_eq!((one.len(), other.len()), (64, 64));
        assert!(one != other && steps[0] != steps[1]);
        let sent = serde_json::to_string(&steps).unwrap();
        assert!(sent.contains("SCRAM-SHA-256$4096:") && !sent.contains(one));
        assert!(!format!("{steps:?}").contains("SCRAM"), "a verifier is not printed");
    }

    #[test]
    fn what_the_api_server_refuses_is_told_with_the_next_command() {
        let target = Target::example();
        let check = |refusal: Refusal, expected: &str| match refused(&refusal, &target, &Purpose::Connection, "school")
        {
            End::Refused { message, .. } | End::Waits { message, .. } => {
                assert!(message.contains(expected), "{message}");
            }
            end => panic!("{end:?}"),
        };
        let rbac =
            "secrets is forbidden: User \"system:serviceaccount:tso:operator\" cannot create resource \"secrets\"";
        check(Refusal::Forbidden(rbac.to_owned()), "--role=tenant-secrets --serviceaccount=tso:operator");
        let quota = "cannot be written: exceeded quota: none; what to look for: ";
        check(Refusal::Forbidden("exceeded quota: none".to_owned()), quota);
        let immutable = "data: Forbidden: field is immutable when `immutable` is set";
        check(Refusal::Forbidden(immutable.to_owned()), "kubectl -n team-a delete secret school-db");
        check(Refusal::Foreign, "kubectl -n team-a delete secret school-db");
        check(Refusal::Unguarded, "operations.md#no-secret-is-written");
        check(Refusal::MayPass("no route".to_owned()), "no route");
    }
}
