//! Letting every tenant go with its schema left as it is: what remains is plain PostgreSQL. The objects are not
//! deleted, they are made ready for it. An object that this release cannot read is changed like the others and holds up
//! none of them.

use std::{collections::BTreeSet, fmt::Write};

use kube::{
    Api, Client,
    api::{ListParams, ObjectMeta, Patch, PatchParams},
};
use serde_json::json;

use crate::controller::watches::apis;
use crate::{
    api::{
        TenantDatabase, TenantSchema,
        command::{Object, Verb},
        policy::DeletionPolicy,
    },
    config::Selection,
    kubernetes::{self, reading::Read},
};

/// A tenant as far as releasing it needs to know it.
struct Tenant {
    metadata: ObjectMeta,
    /// Its TenantDatabase, if that could be read.
    database: Option<String>,
    is_retained: bool,
    /// One of its Secrets would go with its object.
    owns_secret: bool,
}

impl From<Read<TenantSchema>> for Tenant {
    fn from(tenant: Read<TenantSchema>) -> Self {
        match tenant {
            Read::Whole(tenant) => Self {
                database: Some(tenant.spec.database().to_owned()),
                is_retained: tenant.spec.deletion_policy == Some(DeletionPolicy::Retain),
                owns_secret: tenant.status.iter().any(|status| {
                    let told = [&status.credentials, &status.migration_credentials];
                    told.into_iter().flatten().any(|told| told.secret_uid.is_some() && !told.secret_stays())
                }),
                metadata: tenant.metadata,
            },
            Read::Unreadable(unread) => {
                Self { metadata: unread.metadata, database: unread.database, is_retained: false, owns_secret: false }
            }
        }
    }
}

/// Sets `deletionPolicy: Retain` on every selected tenant and says what it did. A database of theirs that does not allow
/// `Retain` is named first, and nothing is changed: its tenants would be set aside all the same.
pub async fn release_all(client: &Client, selection: &Selection) -> Result<Result<String, String>, kubernetes::Error> {
    let selected = ListParams { label_selector: selection.watch_selector.clone(), ..ListParams::default() };
    let mut tenants: Vec<Tenant> = Vec::new();
    for api in apis::<Read<TenantSchema>>(client, &selection.watch_namespaces) {
        let list = kubernetes::within(|| "list TenantSchemas".to_owned(), api.list(&selected)).await?;
        tenants.extend(list.items.into_iter().map(Tenant::from));
    }
    let mut doubts = String::new();
    for name in tenants.iter().filter_map(|tenant| tenant.database.as_deref()).collect::<BTreeSet<_>>() {
        let databases: Api<Read<TenantDatabase>> = Api::all(client.clone());
        match kubernetes::read(&databases, name).await {
            Ok(Some(Read::Whole(database))) => {
                let limits = database.spec.limits.as_ref();
                if limits.is_some_and(|limits| !limits.allows(DeletionPolicy::Retain)) {
                    return Ok(Err(forbids(name)));
                }
            }
            Ok(Some(Read::Unreadable(unread))) => {
                let why = &unread.why;
                let _ = writeln!(doubts, "whether TenantDatabase {name} allows Retain is not known: {why}");
            }
            // Without its TenantDatabase nothing is done to a schema, and no object has a name that cannot be one.
            Ok(None) | Err(kubernetes::Error::NoName(_)) => {}
            Err(error) => return Err(error),
        }
    }
    if tenants.is_empty() {
        return Ok(Err(format!("there are no TenantSchemas{}, and nothing was changed", selection.in_words())));
    }
    if tenants.iter().any(|tenant| tenant.database.is_none()) {
        doubts.push_str(
            "of TenantSchemas that cannot be read it is not known whether their TenantDatabase allows Retain\n",
        );
    }
    let (mut changed, mut failed) = (0, Vec::new());
    for tenant in tenants.iter().filter(|tenant| !tenant.is_retained) {
        match retain(client, &tenant.metadata).await {
            Ok(()) => changed += 1,
            Err(error) => failed.push(error.to_string()),
        }
    }
    if let Some(first) = failed.first() {
        return Ok(Err(format!(
            "{changed} of {} TenantSchemas{} changed to deletionPolicy: Retain, and {} could not be changed, so delete none of these yet; the \
             first: {first}",
            tenants.len(),
            selection.in_words(),
            failed.len()
        )));
    }
    let are_deleted = tenants.iter().all(|tenant| tenant.metadata.deletion_timestamp.is_some());
    Ok(Ok(format!(
        "{changed} of {} TenantSchemas{} changed to deletionPolicy: Retain, all of these have it now; if they come from a \
         repository, change it there too. {}{}\n{doubts}",
        tenants.len(),
        selection.in_words(),
        secrets(tenants.iter().filter(|tenant| tenant.owns_secret).count(), selection),
        if are_deleted {
            "Those that wait for their deletion go by themselves, and their schemas stay.".to_owned()
        } else {
            let commands: Vec<_> =
                selection.for_kubectl().iter().map(|flags| format!("kubectl delete tenantschemas {flags}")).collect();
            format!("When they are deleted, their schemas stay: {}", commands.join("; "))
        }
    )))
}

/// What to wait for before the objects are deleted.
fn secrets(count: usize, selection: &Selection) -> String {
    if count == 0 {
        return String::new();
    }
    // kubectl's filters know no "or".
    let owned = ["credentials", "migrationCredentials"].map(|which| {
        format!(r#"{{range .items[?(@.status.{which}.secretRetention=="Owned")]}}{{.metadata.name}}{{"\n"}}{{end}}"#)
    });
    let owned = owned.concat();
    let commands: Vec<_> = selection
        .for_kubectl()
        .iter()
        .map(|flags| format!("kubectl get tenantschemas {flags} -o jsonpath='{owned}'"))
        .collect();
    format!(
        "Secrets of {count} of them would go with their objects. The operator writes them again so that they stay, with another password; \
         wait until this prints nothing but suspended tenants, which have to be resumed for it: {}. ",
        commands.join("; ")
    )
}

fn forbids(database: &str) -> String {
    format!(
        "TenantDatabase {database} does not allow the deletion policy Retain and nothing was changed; allow it: {}",
        Object::database(database).to(Verb::AllowDeletionPolicy(DeletionPolicy::Retain))
    )
}

async fn retain(client: &Client, tenant: &ObjectMeta) -> Result<(), kubernetes::Error> {
    let (namespace, name) =
        (tenant.namespace.as_deref().unwrap_or_default(), tenant.name.as_deref().unwrap_or_default());
    let api: Api<Read<TenantSchema>> = Api::namespaced(client.clone(), namespace);
    let patch = json!({ "metadata": { "uid": tenant.uid }, "spec": { "deletionPolicy": DeletionPolicy::Retain } });
    let attempt = || format!("set the deletion policy of {namespace}/{name}");
    match kubernetes::within(attempt, api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}
