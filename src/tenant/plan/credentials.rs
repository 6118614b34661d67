//! What a tenant logs in with: issued, published, renewed and closed, for its applications and for its migrations alike.

use super::absent::or_abandon;
use crate::{
    api::{condition::Reason, credentials::CredentialsStatus, transfer::ObjectName},
    contract::{CredentialRow, Purpose, Step, TenantRow, Withdrawal},
    plan::Effect,
    tenant::{
        access,
        credential::{Credential, Logins, SecretSeen, is_of},
        desired::{Desired, Removal},
        observe::Observed,
    },
};

/// What is to do about the logins of a tenant that is there, and what ends the pass when all else is done: what fails here
/// holds up nothing else of the tenant.
pub(super) fn credentials(desired: &Desired, row: &TenantRow, observed: &Observed) -> (Vec<Effect>, Option<Effect>) {
    let (mut effects, mut last) = (Vec::new(), None);
    for logins in &desired.logins {
        let (own, end) = for_purpose(desired, logins, row, observed.secret(&logins.purpose));
        effects.extend(own);
        last = last.or(end);
    }
    // What has leaked is closed before anything else is written.
    let closes = |effect: &Effect| matches!(effect, Effect::Try(steps) if steps.iter().any(withdraws));
    effects.sort_by_key(|effect| !closes(effect));
    (effects, last)
}

fn for_purpose(
    desired: &Desired,
    logins: &Logins,
    row: &TenantRow,
    secret: &SecretSeen,
) -> (Vec<Effect>, Option<Effect>) {
    let found = row.credential(&logins.purpose);
    let withdraw = |cause| withdraw(&desired.owner.uid, &logins.purpose, cause);
    let Some(wanted) = &logins.wanted else {
        return (found.map(|_| withdraw(Withdrawal::NotWanted)).into_iter().collect(), None);
    };
    let told = logins.told.as_ref();
    let is_closed = access::of(desired, row).is_closed();
    let cause = match found {
        Some(found) if found.withdrawn_at.is_some() => Some(Withdrawal::Begun),
        Some(_) if wanted.is_revoked && !is_untold(told, wanted, found, secret) => Some(Withdrawal::Revoked),
        _ => None,
    };
    let mut effects: Vec<_> = cause.map(withdraw).into_iter().collect();
    if is_closed {
        return (effects, None);
    }
    let found = found.filter(|_| cause.is_none());
    if let Some(held) = held(wanted) {
        effects.extend(found.map(|found| settle(desired, told, wanted, row, found)).into_iter().flatten());
        let is_told = told.zip(found).is_some_and(|(told, found)| wanted.is_told(told, found));
        let waits =
            !is_told || wanted.rotates || wanted.changes_owner || found.is_some_and(|found| found.password_changed);
        return (effects, Some(held).filter(|_| waits));
    }
    let last = match (found, secret) {
        (found, SecretSeen::Refused { reason, message }) => {
            effects.extend(found.map(|found| settle(desired, told, wanted, row, found)).into_iter().flatten());
            Some(Effect::refuse(*reason, message.clone()))
        }
        (None, _) => {
            effects.extend(issue(desired, wanted, false));
            None
        }
        (Some(found), _) => match keep(desired, told, wanted, row, found, secret) {
            Ok(further) => {
                effects.extend(further);
                None
            }
            Err(fact) => Some(Effect::wait(Reason::ProgressingWithRetry, fact)),
        },
    };
    (effects, last)
}

/// That no password is issued now, and why.
pub(super) fn held(wanted: &Credential) -> Option<Effect> {
    let (reason, why) = wanted.held.as_ref()?;
    Some(Effect::refuse(*reason, format!("Secret {} is not written: {why}", wanted.secret.full_name())))
}

/// Whether the Secret has the credential of the registry and the status does not tell it: an earlier pass could not. What a user
/// asked for was perhaps done by that pass, and is looked at again when the status tells of it.
fn is_untold(
    told: Option<&CredentialsStatus>,
    wanted: &Credential,
    found: Option<&CredentialRow>,
    secret: &SecretSeen,
) -> bool {
    let told = told.zip(found);
    matches!(secret, SecretSeen::Same { .. }) && told.is_some_and(|(told, found)| !wanted.is_told(told, found))
}

/// What is to do while there is a login in use; or what is waited for.
fn keep(
    desired: &Desired,
    told: Option<&CredentialsStatus>,
    wanted: &Credential,
    row: &TenantRow,
    found: &CredentialRow,
    secret: &SecretSeen,
) -> Result<Vec<Effect>, String> {
    let was_published = told.is_some_and(|told| is_of(told, found));
    let is_told = told.is_some_and(|told| wanted.is_told(told, found));
    if is_untold(told, wanted, Some(found), secret) {
        return Ok(Vec::new());
    }
    let is_right = match secret {
        // This object published it and could not tell, or one before it, whose Secret it may write.
        SecretSeen::Same { .. } => true,
        SecretSeen::Gone | SecretSeen::Other => false,
        SecretSeen::NotLooked | SecretSeen::Refused { .. } => is_told,
    };
    if !is_right && *secret == SecretSeen::NotLooked {
        return Err(format!("Secret {} cannot be looked at just now", wanted.secret.full_name()));
    }
    if matches!(secret, SecretSeen::Gone | SecretSeen::Other) && told.is_some() && !was_published {
        // It reached no Secret. Applications may use the login before, which stays.
        let half = found.previous_closed_at.map(|_| end_previous(wanted));
        return Ok(half.into_iter().chain(issue(desired, wanted, true)).collect());
    }
    let changes_owner = wanted.changes_owner && found.previous_login.is_none();
    if !is_right || wanted.rotates || changes_owner || found.password_changed {
        let former = found.previous_login.as_ref().map(|_| end_previous(wanted));
        return Ok(former.into_iter().chain(issue(desired, wanted, false)).collect());
    }
    Ok(settle(desired, told, wanted, row, found))
}

/// What is to do about logins without another password. Of a password that reached no Secret the login before it stays open, since
/// applications may use that.
fn settle(
    desired: &Desired,
    told: Option<&CredentialsStatus>,
    wanted: &Credential,
    row: &TenantRow,
    found: &CredentialRow,
) -> Vec<Effect> {
    let was_published = told.is_some_and(|told| is_of(told, found));
    let is_over = found.previous_closed_at.is_some() || found.previous_until.is_some_and(|until| until <= desired.now);
    let over = (is_over && was_published).then(|| end_previous(wanted));
    let limits = (found.limits != wanted.limits).then(|| {
        let (schema_id, purpose) = (row.schema_id, wanted.purpose.clone());
        Effect::Try(vec![Step::SetCredentialLimits { schema_id, purpose, limits: wanted.limits }])
    });
    over.into_iter().chain(limits).collect()
}

/// A password for the login that is not in use, in its Secret.
fn issue(desired: &Desired, wanted: &Credential, unpublished: bool) -> [Effect; 2] {
    [Effect::Try(vec![issue_step(wanted, unpublished)]), publish(wanted, desired.schema_name.as_str())]
}

/// The same for a deleted tenant that stays: its Secrets get no owner, and so do not go with the object, and another object of the
/// namespace that is given the tenant may write them. One that has no owner already is left as it is: what is not written cannot
/// fail. Once: a registry that has another credential than the status tells has it from an earlier try.
pub(super) fn leave_behind(removal: &Removal, row: Option<&TenantRow>, to: Option<&ObjectName>) -> Vec<Effect> {
    let schema = removal.schema_name.as_deref().unwrap_or_default();
    let given_to = to.filter(|to| to.namespace == removal.owner.namespace && to.name != removal.owner.name);
    let (mut effects, mut held) = (Vec::new(), Vec::new());
    for (wanted, told) in &removal.secrets {
        if told.secret_stays() {
            continue;
        }
        let found = row.and_then(|row| row.credential(&wanted.purpose));
        let Some(found) = found.filter(|found| is_of(told, found)) else { continue };
        if let Some((reason, why)) = &wanted.held {
            let (secret, way_out) = (wanted.secret.full_name(), or_abandon(&removal.owner, schema));
            let message =
                format!("Secret {secret} would go with this object, and is not written to stay: {why}{way_out}");
            held.extend((!removal.abandoned).then(|| Effect::refuse(*reason, message)));
            continue;
        }
        effects.extend(found.previous_login.as_ref().map(|_| end_previous(wanted)));
        let mut wanted = wanted.clone();
        wanted.secret.given_to = given_to.map(|to| to.name.clone());
        effects.extend([Effect::Try(vec![issue_step(&wanted, false)]), publish(&wanted, schema)]);
    }
    effects.append(&mut held);
    effects
}

/// The call that issues a password.
pub(super) fn issue_step(wanted: &Credential, unpublished: bool) -> Step {
    Step::IssueCredential {
        owner_uid: wanted.secret.owner_uid.clone(),
        purpose: wanted.purpose.clone(),
        new: None,
        limits: wanted.limits,
        grace_seconds: wanted.grace_seconds,
        unpublished,
    }
}

/// The Secret is written.
pub(super) fn publish(wanted: &Credential, schema: &str) -> Effect {
    Effect::Publish {
        purpose: wanted.purpose.clone(),
        secret: Box::new(wanted.secret.clone()),
        schema: schema.to_owned(),
        client: wanted.client.clone(),
        read: wanted.read.clone(),
    }
}

fn end_previous(wanted: &Credential) -> Effect {
    let (owner_uid, purpose) = (wanted.secret.owner_uid.clone(), wanted.purpose.clone());
    Effect::Try(vec![Step::EndPreviousLogin { owner_uid, purpose }])
}

const fn withdraws(step: &Step) -> bool {
    matches!(step, Step::WithdrawCredential { .. })
}

fn withdraw(owner_uid: &str, purpose: &Purpose, cause: Withdrawal) -> Effect {
    let (owner_uid, purpose) = (owner_uid.to_owned(), purpose.clone());
    Effect::Try(vec![Step::WithdrawCredential { owner_uid, purpose, cause }])
}
