//! What holds the name or the institution that a tenant asks for, and what that means for it.

use uuid::Uuid;

use crate::{
    api::{
        RECLAIM, RECREATE, bound,
        command::{Command, Object, Verb},
    },
    contract::{BackupState, Bearer, Claim, Owner, RowStatus, SetAside, TenantAnswer},
    tenant::desired::Desired,
    text::count,
};

/// True when the row belonged to an object of the same namespace and name, which is gone: this one has its place.
fn is_earlier(holder: &Claim, asking: &Owner) -> bool {
    holder.cluster.as_deref() == Some(&asking.cluster)
        && holder.namespace.as_deref() == Some(&asking.namespace)
        && holder.name.as_deref() == Some(&asking.name)
}

/// True when the row is of no object of this namespace, as it is now.
fn is_foreign(holder: &Claim, asking: &Owner) -> bool {
    holder.is_stranger_to(asking)
        || holder.cluster.as_deref() != Some(&asking.cluster)
        || holder.namespace.as_deref() != Some(&asking.namespace)
}

/// The other name's holder is gone for this object: its namespace was another one.
pub(super) fn stranger(what: &str, desired: &Desired) -> String {
    let Owner { namespace, name, .. } = &desired.owner;
    format!(
        "{what} belonged to a TenantSchema {name} of a namespace {namespace} that was deleted; this namespace was made since and \
         may be another team's, so {RECLAIM} does nothing here. The platform team can confirm it in spec.transfers of the \
         TenantDatabase; deleting this object drops nothing"
    )
}

/// A schema of the wanted name is another tenant's, renamed by hand.
pub(super) fn borne(schema: &str, bearer: &Bearer, desired: &Desired) -> String {
    let asking = &desired.owner;
    let Bearer { claim: bearer, statement } = bearer;
    let is_neighbour = bearer.cluster.as_deref() == Some(&asking.cluster)
        && bearer.namespace.as_deref() == Some(&asking.namespace)
        && !bearer.is_stranger_to(asking);
    match &bearer.name {
        Some(name) if is_neighbour => format!(
            "the schema that is called {schema} now is schema {} of TenantSchema {name} of this namespace, renamed by hand; a DBA \
             can run: {statement}; this object goes on by itself then",
            bearer.schema_name,
        ),
        _ => format!(
            "the schema that is called {schema} now belongs to another tenant, and was renamed by hand; choose another \
             spec.schemaName in a new TenantSchema, or let a DBA rename it back",
        ),
    }
}

/// True when this object may have the row: its schema is the one that is wanted, and it is not being dropped at this
/// moment.
pub(super) fn is_left_behind(holder: &Claim, desired: &Desired) -> bool {
    is_earlier(holder, &desired.owner)
        && !holder.is_stranger_to(&desired.owner)
        && holder.schema_name == desired.schema_name.as_str()
        && holder.status != RowStatus::Dropping
}

/// True when the owners of the database give this object the row of another one, or of one of a namespace that had its
/// namespace's name.
pub(super) fn is_given(holder: &Claim, desired: &Desired) -> bool {
    desired.given_by.as_ref().is_some_and(|from| {
        holder.cluster.as_deref() == Some(&desired.owner.cluster)
            && holder.namespace.as_deref() == Some(&from.namespace)
            && holder.name.as_deref() == Some(&from.name)
            && holder.schema_name == desired.schema_name.as_str()
    })
}

/// True when the row is given to this object and its own is gone.
pub(super) fn is_free(holder: &Claim, desired: &Desired) -> bool {
    is_given(holder, desired)
        && (holder.status == RowStatus::Released || holder.gone)
        && holder.status != RowStatus::Dropping
}

/// The object that must be gone before this one has the row, if nothing else is missing.
#[must_use]
pub fn awaited<'a>(desired: &Desired, observed: &'a TenantAnswer) -> Option<&'a Claim> {
    let holder = observed.name_holder.as_ref()?;
    (desired.reclaim && is_given(holder, desired) && holder.status != RowStatus::Released).then_some(holder)
}

/// True when this object may have what was set aside: it was its own or is given to it, under the name that it has now, and is
/// whole.
pub(super) fn comes_back(left: &SetAside, desired: &Desired) -> bool {
    (is_left_behind(&left.holder, desired) || is_given(&left.holder, desired)) && left.state == BackupState::Complete
}

/// True when the object whose tenant was set aside says of just this backup that it stays where it is.
pub(super) fn is_left_beside(left: &SetAside, desired: &Desired) -> bool {
    is_earlier(&left.holder, &desired.owner)
        && !left.holder.is_stranger_to(&desired.owner)
        && desired.recreate.as_deref() == Some(&beside(left, desired))
}

/// What an annotation says to begin with an empty schema and leave this backup where it is. If the object had another
/// tenant since, by its status, the value names that one too: the value from before was about this backup alone, and
/// may be left in Git.
fn beside(left: &SetAside, desired: &Desired) -> String {
    let (schema, backup) = (desired.schema_name.as_str(), left.backup_id);
    match desired.known.filter(|known| *known != left.holder.schema_id) {
        Some(known) => bound(schema, format!("{backup}.{known}")),
        None => bound(schema, backup),
    }
}

/// The holder as the user of the asking object may see it: another namespace and its objects are not named.
pub(super) fn holder_text(holder: &Claim, desired: &Desired) -> String {
    let asking = &desired.owner;
    match (&holder.namespace, &holder.name) {
        (None, _) | (_, None) => "a tenant that was made by hand".to_owned(),
        _ if holder.is_stranger_to(asking) => "a tenant of another namespace".to_owned(),
        (Some(_), Some(name)) if is_earlier(holder, asking) => {
            format!("an earlier TenantSchema {name} of this namespace")
        }
        (Some(namespace), Some(name))
            if holder.cluster.as_deref() == Some(&asking.cluster) && *namespace == asking.namespace =>
        {
            format!("TenantSchema {name} of this namespace")
        }
        _ => "a tenant of another namespace".to_owned(),
    }
}

/// Why the object cannot have a name or an institution.
pub(super) fn conflict(what: &str, value: &str, holder: &Claim, desired: &Desired) -> String {
    let database = desired.effective.database_ref.as_deref().unwrap_or_default();
    let holder_text = match &holder.name {
        Some(name) if is_given(holder, desired) => {
            let from = former(desired);
            let missing = if desired.reclaim {
                format!(
                    "it comes with all its data when that object is deleted, which sets nothing aside and ends no session: \
                     {}",
                    Object::tenant(holder.namespace.as_deref().unwrap_or_default(), name).to(Verb::Delete),
                )
            } else {
                format!("to take it: {}", annotate(desired, RECLAIM, &holder.schema_name))
            };
            return format!(
                "{what} {value} belongs to {from}, and spec.transfers of TenantDatabase {database} gives it to this \
                 object; {missing}"
            );
        }
        Some(name) if is_left_behind(holder, desired) => {
            return format!(
                "{what} {value} was left behind by an earlier TenantSchema {name} of this namespace; to take it back with \
                 all its data: {}; if no object is to have it, delete this object, which drops nothing",
                annotate(desired, RECLAIM, &holder.schema_name),
            );
        }
        Some(_) if is_earlier(holder, &desired.owner) && holder.is_stranger_to(&desired.owner) => {
            return stranger(&format!("{what} {value}"), desired);
        }
        Some(name) if is_earlier(holder, &desired.owner) && holder.status == RowStatus::Dropping => {
            return format!(
                "{what} {value} belongs to an earlier TenantSchema {name} of this namespace, whose schema is being dropped; \
                 this object is looked at again until that has ended"
            );
        }
        Some(_) if is_earlier(holder, &desired.owner) => {
            format!("schema {} of {}", holder.schema_name, holder_text(holder, desired))
        }
        _ => holder_text(holder, desired),
    };
    let renamed = if holder.schema_name == desired.schema_name.as_str() {
        format!(
            ". If it is the same tenant under a new name, the platform team gives it to this object in spec.transfers of \
             TenantDatabase {database}"
        )
    } else {
        String::new()
    };
    format!(
        "{what} {value} belongs to {holder_text}; the first keeps it, and deleting this object drops nothing{renamed}"
    )
}

/// What is set aside is not brought back by a guess, and its name is kept for the object that it belonged to.
pub(super) fn set_aside(left: &SetAside, desired: &Desired) -> String {
    let SetAside { backup_id, location, holder, .. } = left;
    let theirs = holder.schema_name.as_str();
    let at = left.dropped_at.strftime("%Y-%m-%dT%H:%M:%SZ");
    if let Some(institution) = desired.institution
        && theirs != desired.schema_name.as_str()
        && is_foreign(holder, &desired.owner)
    {
        return institution_aside(institution.uuid(), left, desired);
    }
    if left.state != BackupState::Complete {
        return format!(
            "schema {theirs} of {} is being removed, with its name and institution; this object goes on by itself when that \
             has ended",
            holder_text(holder, desired)
        );
    }
    if is_given(holder, desired) {
        return format!(
            "schema {theirs} of {} was deleted at {at} and is set aside, and spec.transfers of TenantDatabase {} gives it to \
             this object; to take it: {}",
            former(desired),
            desired.effective.database_ref.as_deref().unwrap_or_default(),
            annotate(desired, RECLAIM, theirs),
        );
    }
    if is_earlier(holder, &desired.owner) && holder.is_stranger_to(&desired.owner) {
        return stranger(&format!("schema {theirs}, which is set aside as {location},"), desired);
    }
    if !is_earlier(holder, &desired.owner) {
        return format!(
            "schema {theirs} belonged to {}, which was deleted at {at}, and is set aside; its name and institution are kept \
             for it. The platform team can give it to this object (spec.transfers of TenantDatabase {}), bring it back: SELECT \
             edu_matrix_hub_schema.restore_set_aside('{backup_id}'), or destroy it for good by purge_schema_backup(id); then this object \
             goes on by itself",
            holder_text(holder, desired),
            desired.effective.database_ref.as_deref().unwrap_or_default(),
        );
    }
    let take_back = if theirs == desired.schema_name.as_str() {
        format!("to take it back: {}", annotate(desired, RECLAIM, theirs))
    } else {
        format!("it comes back to a TenantSchema {} with spec.schemaName {theirs}", desired.owner.name)
    };
    format!(
        "an earlier TenantSchema {} of this namespace was deleted at {at} and its schema {theirs}, {}, is set aside as \
         {location}; {take_back}; to begin with an empty schema and leave it there: {}",
        desired.owner.name,
        count(i64::from(left.table_count.unwrap_or_default()), "table"),
        annotate(desired, RECREATE, &beside(left, desired)),
    )
}

/// What is said of an institution whose tenant of another namespace was deleted. Only the institution was asked for: what another
/// namespace calls its schema, and what became of it when, is not for this one to know.
fn institution_aside(id: Uuid, left: &SetAside, desired: &Desired) -> String {
    let holder = holder_text(&left.holder, desired);
    if left.state != BackupState::Complete {
        return format!(
            "institution {id} belonged to {holder}, which is being removed; this object goes on by itself when that has ended"
        );
    }
    format!(
        "institution {id} belonged to {holder}, which was deleted, and is kept for what was set aside of it. The platform team \
         finds it by institution_id in edu_matrix_hub_schema.schema_backups, and can bring it back: SELECT \
         edu_matrix_hub_schema.restore_set_aside(id), or destroy it for good by purge_schema_backup(id); then this object goes on by itself"
    )
}

fn former(desired: &Desired) -> String {
    desired.given_by.as_ref().map_or_else(String::new, |from| format!("TenantSchema {from}"))
}

fn annotate(desired: &Desired, key: &str, value: &str) -> Command {
    Object::tenant(&desired.owner.namespace, &desired.owner.name).annotate(key, value)
}
