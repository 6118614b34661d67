//! What a person reads of what applications and migrations connect with.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        REVOKE_CREDENTIALS,
        command::Object,
        condition::whole_seconds,
        credentials::{CredentialsStatus, SecretRetention},
        event::EventReason,
    },
    contract::{Call, CallResult, CredentialRow, TenantRow},
    frame::Notice,
    plan::{Applied, Published},
    tenant::{
        credential::{Credential, Logins, SecretSeen},
        desired::Desired,
        observe::Observed,
    },
    text::count,
};

/// What is published after a pass; nothing while no Secret has a login.
pub(super) fn credentials(
    logins: &Logins,
    row: Option<&TenantRow>,
    secret: &SecretSeen,
    applied: &Applied,
    now: Timestamp,
) -> Option<CredentialsStatus> {
    let found = row.and_then(|row| row.credential(&logins.purpose));
    let is_withdrawn = applied.success_for(&Call::WithdrawCredential, &logins.purpose).is_some();
    let Some(wanted) = &logins.wanted else {
        // Until the logins are closed, the status goes on to tell of them.
        return logins.told.clone().filter(|_| found.is_some() && !is_withdrawn);
    };
    let written = published(wanted, applied, now);
    // What was issued without a login before it came after a revocation, or is the first.
    let is_first = found.is_some_and(|found| found.previous_login.is_none());
    let adopted = written.is_none().then(|| adopted(logins.told.as_ref(), wanted, found?, secret)).flatten();
    // A Secret of an object before this one may have what has leaked.
    let came_after = if logins.told.is_some() { adopted.is_some() && is_first } else { adopted.is_none() };
    let told = written.or(adopted);
    let told = told.or_else(|| {
        let is_over = is_withdrawn || applied.success_for(&Call::EndPreviousLogin, &logins.purpose).is_some();
        logins.told.clone().map(|told| as_it_is(told, found, is_over, is_withdrawn))
    });
    let mut told = told?;
    told.next_rotation_time = told.published_time.as_ref().and_then(|time| rotation(time, wanted));
    let before = logins.told.as_ref().and_then(|before| before.revoked.as_ref());
    let is_followed = is_withdrawn || before.is_some() || came_after;
    told.revoked = wanted.revocation.clone().filter(|_| is_followed);
    Some(told)
}

/// What this pass wrote.
fn published(wanted: &Credential, applied: &Applied, now: Timestamp) -> Option<CredentialsStatus> {
    let written = applied.published.iter().find(|written| written.purpose == wanted.purpose)?;
    Some(CredentialsStatus {
        login: Some(written.login.clone()),
        credential_id: Some(written.credential_id.to_string()),
        secret_name: Some(wanted.secret.name.clone()),
        secret_uid: written.secret_uid.clone(),
        secret_retention: Some(wanted.retention()),
        published_time: Some(whole_seconds(now)),
        previous_until: written.previous_until.map(whole_seconds),
        rotated: wanted.request.clone(),
        ..CredentialsStatus::default()
    })
}

/// What an earlier pass wrote and could not tell, or an object that had the tenant before. Whether that one owns the Secret is not
/// known, so it is told to be other than it should be, until another password comes with the right owner.
fn adopted(
    told: Option<&CredentialsStatus>,
    wanted: &Credential,
    found: &CredentialRow,
    secret: &SecretSeen,
) -> Option<CredentialsStatus> {
    let SecretSeen::Same { uid } = secret else { return None };
    let retention = match (told, wanted.retention()) {
        (Some(_), retention) => retention,
        (None, SecretRetention::Owned) => SecretRetention::Retained,
        (None, SecretRetention::Retained) => SecretRetention::Owned,
    };
    let is_told = told.is_some_and(|told| wanted.is_told(told, found));
    (!is_told).then(|| CredentialsStatus {
        login: Some(found.login.clone()),
        credential_id: Some(found.credential_id.to_string()),
        secret_retention: Some(retention),
        secret_name: Some(wanted.secret.name.clone()),
        secret_uid: uid.clone(),
        published_time: Some(whole_seconds(found.issued_at)),
        previous_until: found.previous_until.map(whole_seconds),
        rotated: wanted.followed_at(found.issued_at).or(told.and_then(|told| told.rotated.as_ref())).cloned(),
        ..CredentialsStatus::default()
    })
}

/// What was told before, with what became of the logins.
fn as_it_is(
    told: CredentialsStatus,
    found: Option<&CredentialRow>,
    is_over: bool,
    is_withdrawn: bool,
) -> CredentialsStatus {
    let until = found.and_then(|found| found.previous_until).filter(|_| !is_over);
    CredentialsStatus {
        login: told.login.filter(|_| !is_withdrawn),
        credential_id: told.credential_id.filter(|_| !is_withdrawn),
        published_time: told.published_time.filter(|_| !is_withdrawn),
        previous_until: until.map(whole_seconds),
        ..told
    }
}

fn rotation(published: &Time, wanted: &Credential) -> Option<Time> {
    published.0.checked_add(wanted.period).ok().map(whole_seconds)
}

/// When the login of the former password is to be closed. The time is the database's and has whole seconds.
pub(super) fn due(told: &CredentialsStatus) -> Option<Timestamp> {
    told.previous_until.as_ref()?.0.checked_add(SignedDuration::from_secs(2)).ok()
}

/// What is told of what was done to logins of one purpose; `seen` is what there was before that.
pub(super) fn what_was_done(logins: &Logins, desired: &Desired, seen: &Observed, applied: &Applied) -> Vec<Notice> {
    let (row, secret) = (seen.answer.own.as_deref(), seen.secret(&logins.purpose));
    let Logins { purpose, wanted, told: before } = logins;
    let (before, wanted, owner) = (before.as_ref(), wanted.is_some(), &desired.owner);
    let namespace = &owner.namespace;
    let sessions = |result: &CallResult| count(i64::try_from(result.ended()).unwrap_or(i64::MAX), "session");
    let written = applied.published.iter().find(|written| written.purpose == *purpose);
    let former = before.and_then(|told| told.secret_name.as_deref());
    // The operator may not delete a Secret.
    let former = former.filter(|name| written.is_none_or(|written| written.secret_name != *name));
    let left = former.map_or_else(String::new, |name| {
        format!(
            "; Secret {name} is not renewed any more, and to remove it: kubectl -n {namespace} delete secret {name}"
        )
    });
    let mut notices = Vec::new();
    if let Some(result) = applied.success_for(&Call::WithdrawCredential, purpose) {
        let left = if wanted { "" } else { left.as_str() };
        let (users, ended) = (purpose.users(), sessions(result));
        let message = format!("the logins of the tenant's {users} were closed, {ended} ended{left}");
        notices.push(Notice { reason: EventReason::CredentialRevoked, message });
    }
    if let Some(result) = applied.success_for(&Call::EndPreviousLogin, purpose) {
        let login = result.text("closed").unwrap_or_default();
        let message = format!("login {login} of the former password was closed, {} ended", sessions(result));
        notices.push(Notice { reason: EventReason::LoginClosed, message });
    }
    let changed = row.and_then(|row| row.credential(purpose)).filter(|found| found.password_changed);
    if let Some((CredentialRow { login, .. }, written)) = changed.zip(written) {
        let revoke = Object::tenant(namespace, &owner.name).annotate(REVOKE_CREDENTIALS, desired.schema_name.as_str());
        let message = format!(
            "login {login} had another password than Secret {}, so another login has a new one; to close {login} at once, before its \
             grace is over: {revoke}",
            written.secret_name
        );
        notices.push(Notice { reason: EventReason::PasswordChanged, message });
    }
    // The first one comes with the tenant, and its status tells of it: an Event for each would be one more write for each.
    if let Some(written) = written.filter(|_| before.is_some()) {
        let Published { secret_name, login, credential_id, .. } = written;
        let until = written
            .previous_until
            .map(whole_seconds)
            .map_or_else(String::new, |until| format!("; the former login stays open until {}", until.0));
        // Of another name it is a new one.
        let is_same = before.is_some_and(|told| told.secret_name.as_ref() == Some(secret_name));
        let found = match secret {
            SecretSeen::Gone if is_same => " was gone, and was made again: it",
            SecretSeen::Other if is_same => " had another credential or address, and was written again: it",
            _ => "",
        };
        let message =
            format!("Secret {secret_name}{found} has login {login} with credential {credential_id}{until}{left}");
        notices.push(Notice { reason: EventReason::CredentialPublished, message });
    }
    notices
}
