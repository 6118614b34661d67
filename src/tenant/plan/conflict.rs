//! Who holds what a tenant asks for, and what that means for it.

use crate::{
    postgres::answer::{Bearer, Claim, Owner},
    tenant::desired::Desired,
};

/// True when the row belonged to an object of the same namespace and name, which is gone: this one has its place.
fn is_earlier(holder: &Claim, asking: &Owner) -> bool {
    holder.cluster.as_deref() == Some(&asking.cluster)
        && holder.namespace.as_deref() == Some(&asking.namespace)
        && holder.name.as_deref() == Some(&asking.name)
}

/// The other name's holder is gone for this object: its namespace was another one.
pub(super) fn stranger(what: &str, desired: &Desired) -> String {
    let Owner { namespace, name, .. } = &desired.owner;
    format!(
        "{what} belonged to a TenantSchema {name} of a namespace {namespace} that was deleted; this namespace was made since and \
         may be another team's, so {} does nothing here. The platform team answers for it in spec.transfers of the \
         TenantDatabase; deleting this object drops nothing",
        crate::api::RECLAIM,
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
             spec.schemaName in a new TenantSchema, or let a DBA name it back",
        ),
    }
}

/// True when this object may have the row: its schema is the one that is wanted, and it is not just being dropped.
pub(super) fn is_left_behind(holder: &Claim, desired: &Desired) -> bool {
    is_earlier(holder, &desired.owner)
        && !holder.is_stranger_to(&desired.owner)
        && holder.schema_name == desired.schema_name.as_str()
        && holder.status != "dropping"
}

/// The holder is named only to those who may see it: within the same namespace.
pub(super) fn conflict(what: &str, value: &str, holder: &Claim, desired: &Desired) -> String {
    let asking = &desired.owner;
    let same_cluster = holder.cluster.as_deref() == Some(&asking.cluster);
    let holder_text = match (&holder.namespace, &holder.name) {
        (None, _) | (_, None) => "a tenant that was made by hand".to_owned(),
        (Some(namespace), Some(name)) if is_left_behind(holder, desired) => {
            return format!(
                "{what} {value} was left behind by an earlier TenantSchema {name} of this namespace; to take it back with \
                 all its data: kubectl -n {namespace} annotate tenantschema {name} {}={}; if it shall stay with nobody, \
                 delete this object, which drops nothing",
                crate::api::RECLAIM,
                holder.schema_name,
            );
        }
        (Some(_), Some(_)) if is_earlier(holder, asking) && holder.is_stranger_to(asking) => {
            return stranger(&format!("{what} {value}"), desired);
        }
        (Some(_), Some(name)) if is_earlier(holder, asking) && holder.status == "dropping" => {
            return format!(
                "{what} {value} belongs to an earlier TenantSchema {name} of this namespace, whose schema is being dropped; \
                 this object is looked at again until that has ended"
            );
        }
        (Some(_), Some(name)) if is_earlier(holder, asking) => {
            format!("schema {} of an earlier TenantSchema {name} of this namespace", holder.schema_name)
        }
        (Some(namespace), Some(name))
            if same_cluster && *namespace == asking.namespace && !holder.is_stranger_to(asking) =>
        {
            format!("TenantSchema {name} of this namespace")
        }
        _ => "a tenant of another namespace".to_owned(),
    };
    format!("{what} {value} belongs to {holder_text}; the first keeps it, and deleting this object drops nothing")
}
