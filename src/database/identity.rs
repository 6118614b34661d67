//! Which schema is whose, after a restore or an upgrade of the server; and which namespace an object is in, for rows from
//! before that was kept.

use std::collections::BTreeMap;

use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::{caller, work::Work};
use crate::{
    api::{
        REBIND, TenantDatabase,
        command::Object,
        condition::{Reason, Verdict},
        event::EventReason,
    },
    contract::{CallStatus, Owner, Step, SurveyAnswer},
    frame::{Context, Notice},
    lane::Lane,
    postgres::{self},
};

/// How many rows are told their namespace at once.
const AT_ONCE: usize = 1000;

/// Binds what the survey found unbound, if a person asked for it, or says so; returns the Events to publish.
pub async fn bind(
    database: &TenantDatabase,
    work: &Work,
    survey: &SurveyAnswer,
) -> Result<Vec<Notice>, postgres::Error> {
    if survey.unbound_count == 0 {
        work.memory(|memory| memory.unbound = None);
        return Ok(Vec::new());
    }
    let (name, id) = (database.name_any(), work.lane.hold.installation_id.to_string());
    if database.annotations().get(REBIND).map(|value| value.trim()) != Some(&id) {
        let message = format!(
            "since a restore or an upgrade of the server it is not known which schema is whose ({} tenants); nothing of them is \
             touched. To bind them again, each to the schema that belongs to its owner role and carries its id: {}",
            survey.unbound_count,
            Object::database(name).annotate(REBIND, id)
        );
        let verdict = Verdict::of(Reason::IdentifiersChanged, message, true);
        work.memory(|memory| memory.unbound = Some(verdict));
        return Ok(Vec::new());
    }
    let results = work.lane.apply(&caller(&name), vec![Step::RebindTenants { installation_id: id }]).await?;
    let done = results.into_iter().filter(|result| result.status == CallStatus::Success);
    Ok(done.map(|result| Notice { reason: EventReason::Rebound, message: result.message }).collect())
}

/// Tells rows the namespaces of their living objects, where they do not know them: after an upgrade, and after a take-over.
pub async fn remember_namespaces(lane: &Lane, ctx: &Context) -> Result<(), postgres::Error> {
    let untold = |owner: &Owner| {
        let reference = ObjectRef::new(&owner.name).within(&owner.namespace);
        let object = ctx.stores.tenants.get(&reference)?;
        let namespace = ctx.stores.namespaces.get(&ObjectRef::new(&owner.namespace))?.uid()?;
        let news = owner.cluster == ctx.cluster && object.uid().as_deref() == Some(&owner.uid);
        (news && owner.namespace_uid.as_deref() != Some(&namespace)).then(|| (owner.uid.clone(), namespace))
    };
    let living = lane.living();
    let owners = living.iter().filter_map(|row| row.owner.as_ref());
    let namespaces: BTreeMap<_, _> = owners.filter_map(untold).take(AT_ONCE).collect();
    if !namespaces.is_empty() {
        lane.apply(&caller(&lane.database), vec![Step::RememberNamespaces { namespaces }]).await?;
    }
    Ok(())
}
