//! What keeps a database that is deleted: its tenants and some of its backups need its lane for their own end.

use std::fmt::Debug;

use kube::{Api, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;

use super::work::Work;
use crate::{
    api::{
        SchemaBackup, TenantDatabase, TenantSchema,
        command::{Kind, List},
    },
    frame::Context,
    kubernetes::{self, reading::Read},
};

/// How many objects are read at once.
const PAGE: u32 = 500;

/// Why a database that is deleted cannot go yet. This operator's own tenants are asked first, then the API server about those
/// of all namespaces and labels. Where that is not allowed, the registry says whose schemas it has.
pub async fn in_use(database: &TenantDatabase, work: Option<&Work>, ctx: &Context) -> Option<String> {
    let name = database.name_any();
    let tenants = ctx.stores.tenants.state();
    let mut users = tenants.iter().filter(|tenant| tenant.spec.database() == name);
    if let Some(first) = users.next() {
        let of = format!("{}/{}", first.namespace().unwrap_or_default(), first.name_any());
        return Some(told(&format!("{} TenantSchemas", users.count() + 1), Kind::TenantSchema, &of));
    }
    let backups = ctx.stores.backups.state();
    let mut users = backups.iter().filter(|backup| backup.needs_database(&name));
    if let Some(first) = users.next() {
        let of = format!("{}/{}", first.namespace().unwrap_or_default(), first.name_any());
        return Some(told(&format!("{} SchemaBackups", users.count() + 1), Kind::SchemaBackup, &of));
    }
    let installed = database.status.as_ref().is_some_and(|status| status.installation_id.is_some());
    if !installed {
        return None;
    }
    let refers = |tenant: &Read<TenantSchema>| match tenant {
        Read::Whole(tenant) => tenant.spec.database() == name,
        // A tenant that cannot be read may be meant for any database.
        Read::Unreadable(tenant) => tenant.database.as_deref().is_none_or(|named| named == name),
    };
    match unseen_user("TenantSchemas", refers, ctx).await {
        Ok(Some(of)) => Some(told("TenantSchemas that this operator does not watch", Kind::TenantSchema, &of)),
        Ok(None) => {
            let needs =
                |backup: &Read<SchemaBackup>| matches!(backup, Read::Whole(backup) if backup.needs_database(&name));
            match unseen_user("SchemaBackups", needs, ctx).await {
                Ok(found) => {
                    found.map(|of| told("SchemaBackups that this operator does not watch", Kind::SchemaBackup, &of))
                }
                // A backup that this operator may not ask about waits with its own object, whose message has the way
                // out: nothing is lost.
                Err(error) if error.is_forbidden() || error.is_not_found() => None,
                Err(error) => Some(format!(
                    "whether SchemaBackups outside of this operator's view need this database is not known: {error}; it waits until they \
                     can be asked"
                )),
            }
        }
        Err(error) => match work {
            Some(work) => in_registry(work, ctx),
            None => Some(format!(
                "whether TenantSchemas outside of this operator's view refer to this database is not known: {error}; it waits \
                 until they, or the database, can be asked"
            )),
        },
    }
}

/// An object of any namespace, with any label, that uses the database.
async fn unseen_user<K>(
    kind: &str,
    uses: impl Fn(&Read<K>) -> bool,
    ctx: &Context,
) -> Result<Option<String>, kubernetes::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<Read<K>> = Api::all(ctx.client.clone());
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = kubernetes::within(|| format!("list {kind} of all namespaces"), api.list(&page)).await?;
        if let Some(user) = list.items.iter().find(|object| uses(object)) {
            return Ok(Some(format!("{}/{}", user.namespace().unwrap_or_default(), user.name_any())));
        }
        match list.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => page = page.continue_token(&next),
            None => return Ok(None),
        }
    }
}

/// The tenants of this cluster that the registry has as living. Those whose object is gone are released by a survey.
fn in_registry(work: &Work, ctx: &Context) -> Option<String> {
    let rows = work.lane.living();
    let mut users = rows.iter().filter_map(|row| row.owner.as_ref()).filter(|owner| owner.cluster == ctx.cluster);
    let first = users.next()?;
    let of = format!("{}/{}", first.namespace, first.name);
    Some(told(
        &format!("{} schemas of TenantSchemas that this operator may not see", users.count() + 1),
        Kind::TenantSchema,
        &of,
    ))
}

fn told(who: &str, kind: Kind, first: &str) -> String {
    format!(
        "{who} still need this database, {first} for one; it goes by itself when they have gone; to see them: {}",
        List(kind)
    )
}
