//! Stage 3: what is, as the database says. One question, or none when the latest survey has the answer; and what only the API
//! server knows, asked where something is given or taken away.

use kube::Api;

use super::{
    access,
    credential::{Credential, Logins, SecretSeen},
    desired::{Desired, Removal, given_to},
    plan::awaited,
};
use crate::{
    api::{TenantDatabase, TenantSchema, policy::DeletionPolicy, transfer::ObjectName},
    contract::{Claim, Owner, Purpose, TenantAnswer, TenantQuestion, TenantRow},
    frame::{Context, Doors, Leave, Living, StageError as Error},
    kubernetes::{
        self,
        secrets::{Content, Found, Refusal},
    },
    lane::Lane,
    plan::{End, refused},
};

/// What is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// What the database says.
    pub answer: TenantAnswer,
    /// The object that the owners of the database give a deleted tenant to, as the API server says; nothing where it
    /// was not asked.
    pub given_to: Option<Option<ObjectName>>,
    /// What was seen of the tenant's Secrets; nothing of one that was not looked at.
    pub secrets: Vec<(Purpose, SecretSeen)>,
    /// The object is deleted or gone, which the caches do not know yet: what it let go is not given back to it.
    pub gone: bool,
}

impl Observed {
    /// What was seen of the Secret for this purpose.
    #[must_use]
    pub fn secret(&self, purpose: &Purpose) -> &SecretSeen {
        let of_it = |(seen_for, _): &&(Purpose, SecretSeen)| seen_for == purpose;
        self.secrets.iter().find(of_it).map_or(&SecretSeen::NotLooked, |(_, seen)| seen)
    }
}

impl From<TenantAnswer> for Observed {
    fn from(answer: TenantAnswer) -> Self {
        Self { answer, ..Self::default() }
    }
}

/// Observes a living tenant.
pub async fn observe(desired: &Desired, doors: Doors<'_>) -> Result<Observed, Error> {
    let mut observed = answer(desired, doors).await?;
    let Doors::Lane(lane, ctx) = doors else { return Ok(observed) };
    // Nothing is done to a tenant that is paused, and to be closed does not wait for the API server.
    let Some(row) = observed.answer.own.clone().filter(|row| !desired.paused && is_as_open_as_wanted(desired, row))
    else {
        return Ok(observed);
    };
    let mut due = None;
    for Logins { purpose, wanted, told } in &desired.logins {
        let Some(wanted) = wanted.as_ref().filter(|wanted| wanted.held.is_none()) else { continue };
        let is_told =
            told.as_ref().zip(row.credential(purpose)).is_some_and(|(told, found)| wanted.is_told(told, found));
        // The turn of a tenant is that of all its Secrets.
        let is_due = !is_told || *due.get_or_insert_with(|| ctx.secrets.is_due(&desired.owner.uid));
        let seen = look_at_secret(desired, wanted, &row, is_told, is_due, lane, ctx).await;
        observed.secrets.push((purpose.clone(), seen));
    }
    Ok(observed)
}

/// What the database says of a living tenant, and what only the API server knows of those in its way.
async fn answer(desired: &Desired, doors: Doors<'_>) -> Result<Observed, Error> {
    let surveyed = doors.surveyed(&desired.owner.uid);
    let measure = surveyed.as_deref().is_some_and(|row| access::is_watched(desired, row));
    if let Some(row) = surveyed.filter(|_| !measure) {
        let schema_exists = row.schema_exists;
        return Ok(TenantAnswer { own: Some(row), schema_exists, ..TenantAnswer::default() }.into());
    }
    let mut observed = Observed::from(
        doors.observe_tenant(&TenantQuestion { measure, ..question(desired) }).await.map_err(Error::Observe)?,
    );
    let Some(ctx) = doors.context() else { return Ok(observed) };
    if let Some(holder) = awaited(desired, &observed.answer) {
        let gone = is_gone(holder, ctx).await;
        if let Some(holder) = &mut observed.answer.name_holder {
            holder.gone = gone;
        }
    }
    if observed.answer.tombstone.is_some() {
        let Owner { namespace, name, uid, .. } = &desired.owner;
        observed.gone = !matches!(ctx.living(&tenants(ctx, namespace), name, uid).await?, Living::Here(_));
    }
    Ok(observed)
}

fn is_as_open_as_wanted(desired: &Desired, row: &TenantRow) -> bool {
    row.access == access::of(desired, row).access
}

/// The Secret is looked at now and then; at once if the status tells of another credential than the registry has, since a
/// database or an API server went back, or an answer was lost; and before it is tried again if it was refused.
async fn look_at_secret(
    desired: &Desired,
    wanted: &Credential,
    row: &TenantRow,
    is_told: bool,
    is_due: bool,
    lane: &Lane,
    ctx: &Context,
) -> SecretSeen {
    let refused =
        |refusal: &Refusal| match refused(refusal, &wanted.secret, &wanted.purpose, desired.schema_name.as_str()) {
            End::Refused { reason, message } => SecretSeen::Refused { reason, message },
            _ => SecretSeen::NotLooked,
        };
    let rehearsed = async || ctx.secrets.rehearse(&wanted.secret).await;
    if desired.was_refused
        && let Err(refusal) = rehearsed().await
    {
        return refused(&refusal);
    }
    let Some(found) = row.credential(&wanted.purpose).filter(|_| is_due) else { return SecretSeen::NotLooked };
    let Ok(endpoint) = lane.endpoint.for_clients(wanted.client.as_ref(), wanted.read.as_ref()) else {
        return SecretSeen::NotLooked;
    };
    let content = Content { credential_id: found.credential_id, endpoint: endpoint.digest() };
    let known = wanted.secret.uid.as_deref().filter(|_| is_told);
    let seen = ctx.secrets.look(&wanted.secret, known, &content).await;
    if !matches!(seen, Ok(Some(Found::Same(_)))) {
        // Until it is put right, each pass looks.
        ctx.secrets.forget(&desired.owner.uid);
    }
    match seen {
        Ok(Some(Found::Same(uid))) => SecretSeen::Same { uid },
        // A password is not issued again and again for a Secret that is refused.
        Ok(Some(found)) => {
            let seen = if found == Found::Gone { SecretSeen::Gone } else { SecretSeen::Other };
            let refusal = if is_told { Ok(()) } else { rehearsed().await };
            refusal.map_or_else(|refusal| refused(&refusal), |()| seen)
        }
        Ok(None) => SecretSeen::NotLooked,
        Err(refusal) => refused(&refusal),
    }
}

/// Observes a tenant that is to go. Always asks, unless the schema stays as it is: nothing is removed because a cache
/// says so.
pub async fn observe_removal(leave: &Leave<Removal>, doors: Doors<'_>) -> Result<Observed, Error> {
    let removal = leave.removal();
    if !matches!(leave, Leave::Asked(_)) {
        let own = doors.surveyed(&removal.owner.uid);
        if own.is_some() || removal.secrets.is_empty() {
            return Ok(TenantAnswer { own, ..TenantAnswer::default() }.into());
        }
        // What its applications log in with is to stay.
        return Ok(doors.observe_tenant(&removal_question(removal)).await.map_err(Error::Observe)?.into());
    }
    let question = removal_question(removal);
    let Some(ctx) = doors.context() else {
        return Ok(doors.observe_tenant(&question).await.map_err(Error::Observe)?.into());
    };
    // Its database may give the tenant to another object since a moment.
    let databases = Api::<TenantDatabase>::all(ctx.client.clone());
    let database = kubernetes::read(&databases, &removal.database);
    let (answer, database) = futures::join!(doors.observe_tenant(&question), database);
    let given_to = database?.and_then(|database| given_to(removal, &database));
    Ok(Observed { given_to: Some(given_to), ..answer.map_err(Error::Observe)?.into() })
}

/// What is asked about a living tenant.
#[must_use]
pub fn question(desired: &Desired) -> TenantQuestion<'_> {
    TenantQuestion {
        owner: &desired.owner,
        schema_id: desired.known,
        institution_id: desired.institution.map(crate::ident::InstitutionId::uuid),
        schema_name: desired.schema_name.as_str(),
        institution_source: desired.institution_source.as_ref(),
        measure: false,
        adopts: desired.adopts.as_ref().is_some_and(|adopts| adopts.is_offered),
    }
}

/// What is asked about a tenant that is to go.
#[must_use]
pub fn removal_question(removal: &Removal) -> TenantQuestion<'_> {
    TenantQuestion {
        owner: &removal.owner,
        schema_id: None,
        institution_id: None,
        schema_name: removal.schema_name.as_deref().unwrap_or_default(),
        institution_source: None,
        // The question before a drop, and what is told of one, are about what is there now.
        measure: removal.policy == DeletionPolicy::Drop && !removal.stays(),
        adopts: false,
    }
}

/// Whether the API server, asked now, does not have the object that holds a tenant. No answer proves nothing.
async fn is_gone(holder: &Claim, ctx: &Context) -> bool {
    let (Some(namespace), Some(name), Some(uid)) = (&holder.namespace, &holder.name, &holder.uid) else { return false };
    ctx.living(&tenants(ctx, namespace), name, uid).await.is_ok_and(|living| living.is_gone())
}

fn tenants(ctx: &Context, namespace: &str) -> Api<TenantSchema> {
    Api::namespaced(ctx.client.clone(), namespace)
}
