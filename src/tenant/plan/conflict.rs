//! Who holds what a tenant asks for, and what that means for it.

use crate::{
    postgres::answer::{Claim, Owner},
    tenant::desired::Desired,
};

/// True when the row belonged to an object of the same namespace and name, which is gone: this one has its place.
fn is_earlier(holder: &Claim, asking: &Owner) -> bool {
    holder.cluster.as_deref() == Some(&asking.cluster)
        && holder.namespace.as_deref() == Some(&asking.namespace)
        && holder.name.as_deref() == Some(&asking.name)
}

/// True when this object may have the row: its schema is the one that is wanted, and it is not just being dropped.
pub(super) fn is_left_behind(holder: &Claim, desired: &Desired) -> bool {
    is_earlier(holder, &desired.owner)
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
        (Some(_), Some(name)) if is_earlier(holder, asking) && holder.status == "dropping" => {
            return format!(
                "{what} {value} belongs to an earlier TenantSchema {name} of this namespace, whose schema is being dropped; \
                 this object is looked at again until that has ended"
            );
        }
        (Some(_), Some(name)) if is_earlier(holder, asking) => {
            format!("schema {} of an earlier TenantSchema {name} of this namespace", holder.schema_name)
        }
        (Some(namespace), Some(name)) if same_cluster && *namespace == asking.namespace => {
            format!("TenantSchema {name} of this namespace")
        }
        _ => "a tenant of another namespace".to_owned(),
    };
    format!("{what} {value} belongs to {holder_text}; the first keeps it, and deleting this object drops nothing")
}
