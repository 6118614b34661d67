//! The objects of a test's world, and waiting for them.

use std::{fmt::Debug, fs, time::Duration};

use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{
    Api, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tenant_schema_operator::api::{ABANDON, CONFIRM_DROP, SchemaBackup, TenantDatabase, TenantSchema, bound, deletion};
use tokio::time::{Instant, sleep};

use super::{DEADLINE, World, merge};
use crate::tools::pooler::Pooler;

impl World {
    /// A tenant with this spec, applied as kubectl does.
    pub async fn apply_tenant(&self, name: &str, spec: Value) -> TenantSchema {
        self.try_tenant(name, spec).await.expect("a tenant that the API server accepts")
    }

    /// A tenant that the API server may refuse.
    pub async fn try_tenant(&self, name: &str, spec: Value) -> Result<TenantSchema, kube::Error> {
        self.try_tenant_in(&self.namespace, name, spec).await
    }

    /// A tenant in another namespace.
    pub async fn try_tenant_in(&self, namespace: &str, name: &str, spec: Value) -> Result<TenantSchema, kube::Error> {
        self.try_annotated_in(namespace, name, spec, json!({})).await
    }

    /// A tenant with this spec and these annotations, as it stands in Git.
    pub async fn apply_annotated(&self, name: &str, spec: Value, annotations: Value) -> TenantSchema {
        let applied = self.try_annotated_in(&self.namespace, name, spec, annotations).await;
        applied.expect("a tenant that the API server accepts")
    }

    /// The same in any namespace.
    pub async fn try_annotated_in(
        &self,
        namespace: &str,
        name: &str,
        mut spec: Value,
        annotations: Value,
    ) -> Result<TenantSchema, kube::Error> {
        merge(&mut spec, json!({ "databaseRef": { "name": self.database_ref() } }));
        let object = json!({
            "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
            "metadata": { "name": name, "namespace": namespace, "labels": { "e2e": self.id }, "annotations": annotations },
            "spec": spec,
        });
        let parameters = PatchParams {
            field_validation: Some(kube::api::ValidationDirective::Strict),
            ..PatchParams::apply("e2e").force()
        };
        Api::<TenantSchema>::namespaced(self.client.clone(), namespace)
            .patch(name, &parameters, &Patch::Apply(&object))
            .await
    }

    /// A backup with this spec.
    pub async fn apply_backup(&self, name: &str, spec: Value) -> SchemaBackup {
        let object = json!({
            "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "SchemaBackup",
            "metadata": { "name": name, "namespace": self.namespace, "labels": { "e2e": self.id } }, "spec": spec,
        });
        self.api::<SchemaBackup>()
            .patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(&object))
            .await
            .unwrap()
    }

    /// An annotation on an object of the test's namespace.
    pub async fn annotate<K>(&self, name: &str, key: &str, value: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let patch = json!({ "metadata": { "annotations": { key: value } } });
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Confirms something of just this tenant: that it may be dropped, or that this object is let go.
    pub async fn confirm(&self, name: &str, key: &str) {
        let tenant = self.api::<TenantSchema>().get(name).await.unwrap();
        let status = tenant.status.unwrap();
        let (id, uid) = (status.schema_id.unwrap_or_default(), tenant.metadata.uid.unwrap());
        // Before the deletion its time is not known, and what is written then confirms nothing.
        let deleted_at = tenant.metadata.deletion_timestamp.map_or_else(jiff::Timestamp::now, |at| at.0);
        let id = match key {
            ABANDON => uid,
            CONFIRM_DROP => deletion(id, uid, deleted_at),
            _ => id,
        };
        self.annotate::<TenantSchema>(name, key, &bound(&status.schema_name.unwrap(), id)).await;
    }

    /// Deletes a tenant of policy `Drop`, confirms that, and waits until it is gone.
    pub async fn drop_tenant(&self, name: &str) {
        self.api::<TenantSchema>().delete(name, &DeleteParams::default()).await.unwrap();
        self.confirm(name, CONFIRM_DROP).await;
        self.until_gone(&self.api::<TenantSchema>(), name).await;
    }

    /// The value of an annotation that a message tells to type.
    pub fn value_told(message: &str, key: &str) -> String {
        let value = message.split_once(&format!("{key}=")).unwrap_or_else(|| panic!("{key}: {message}")).1;
        value.split([';', ' ', ')']).next().unwrap().to_owned()
    }

    /// Takes an annotation from a tenant.
    pub async fn remove_annotation(&self, name: &str, key: &str) {
        let patch = json!({ "metadata": { "annotations": { key: null } } });
        self.api::<TenantSchema>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// An annotation on the test's TenantDatabase.
    pub async fn annotate_database(&self, key: &str, value: &str) {
        let patch = json!({ "metadata": { "annotations": { key: value } } });
        self.databases().patch(&self.database_ref(), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// The API of a kind in the test's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The API of databases.
    pub fn databases(&self) -> Api<TenantDatabase> {
        Api::all(self.client.clone())
    }

    /// The port of the operator's connection, which may lead to a pooler.
    pub fn operator_port(&self) -> u16 {
        Pooler::port_to(&self.postgres)
    }

    pub(super) fn has_pooler(&self) -> bool {
        self.operator_port() != self.postgres.port
    }

    /// The connection Secret, with keys changed.
    pub async fn write_secret(&self, change: Value) {
        let mut data = json!({
            "host": self.postgres.host, "port": self.operator_port().to_string(), "database": self.database,
            "username": self.login(), "password": "pw",
            "ca.crt": fs::read_to_string(&self.postgres.ca_path).unwrap(),
        });
        for (key, value) in change.as_object().unwrap() {
            data[key] = value.clone();
        }
        self.write_secret_of("postgres", &data).await;
        if self.has_pooler() {
            data["port"] = json!(self.postgres.port.to_string());
            self.write_secret_of("postgres-direct", &data).await;
        }
    }

    /// A Secret of the operator's namespace.
    pub async fn write_secret_of(&self, name: &str, data: &Value) {
        let secret: Secret = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data,
        }))
        .unwrap();
        let api = Api::<Secret>::namespaced(self.client.clone(), &self.operator_namespace);
        api.patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(&secret)).await.unwrap();
    }

    /// A kubeconfig of the user that this test's operators are, for one that is a process of its own.
    pub fn operators_kubeconfig(&self) -> tempfile::NamedTempFile {
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        let text = self.plane.kubeconfig_for(&self.operator_user(), &["system:masters"]).unwrap();
        fs::write(kubeconfig.path(), text).unwrap();
        kubeconfig
    }

    /// Waits until the object's Ready condition has this status and reason; returns it.
    pub async fn until_ready<K>(&self, api: &Api<K>, name: &str, status: &str, reason: &str) -> K
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Serialize,
    {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let object = api.get_opt(name).await.unwrap();
            let found = object.as_ref().and_then(|object| condition(object, "Ready"));
            let matches = found.as_ref().is_some_and(|(s, r, _)| s == status && r == reason);
            match object {
                Some(object) if matches && is_current(&object) => return object,
                other => assert!(
                    Instant::now() < deadline,
                    "{name} is not Ready={status}/{reason} but {found:?}: {}",
                    serde_json::to_string_pretty(&other.map(|o| serde_json::to_value(o).unwrap()["status"].clone()))
                        .unwrap()
                ),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// A tenant that is Ready/Succeeded.
    pub async fn ready_tenant(&self, name: &str) -> TenantSchema {
        self.until_ready(&self.api::<TenantSchema>(), name, "True", "Succeeded").await
    }

    /// A tenant that is Ready/Succeeded, after a survey has looked at its rights and what it found is written.
    pub async fn tenant_looked_at(&self, name: &str) -> TenantSchema {
        self.eventually(&format!("a survey looked at the rights of {name}"), async || {
            is_looked_at(&self.ready_tenant(name).await)
        })
        .await;
        self.ready_tenant(name).await
    }

    /// Waits until an object is gone.
    pub async fn until_gone<K>(&self, api: &Api<K>, name: &str)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        self.eventually(&format!("{name} is gone"), async || api.get_opt(name).await.unwrap().is_none()).await;
    }

    /// Deletes a tenant and waits until it is gone.
    pub async fn delete_tenant(&self, name: &str) {
        self.api::<TenantSchema>().delete(name, &DeleteParams::default()).await.unwrap();
        self.until_gone(&self.api::<TenantSchema>(), name).await;
    }

    /// Waits until a tenant of the test's namespace is Stalled with this reason; returns the message.
    pub async fn stalled_tenant(&self, name: &str, reason: &str) -> String {
        let tenant = self.until_ready(&self.api::<TenantSchema>(), name, "False", reason).await;
        let (status, found, message) = condition(&tenant, "Stalled").expect("a Stalled condition");
        assert_eq!((status.as_str(), found.as_str()), ("True", reason));
        message
    }

    /// The Events about the object of this name: reason, message, how often.
    pub async fn events_about(&self, name: &str) -> Vec<(String, String, i32)> {
        let events = self.api::<Event>().list(&ListParams::default()).await.unwrap();
        let about = events
            .items
            .into_iter()
            .filter(|event| event.regarding.as_ref().and_then(|regarding| regarding.name.as_deref()) == Some(name));
        about
            .map(|event| {
                let times = event.series.map_or(1, |series| series.count);
                (event.reason.unwrap_or_default(), event.note.unwrap_or_default(), times)
            })
            .collect()
    }

    /// Waits for an Event about the object whose reason and message are so; returns the message.
    pub async fn event(&self, name: &str, reason: &str, part: &str) -> String {
        let mut found = None;
        self.eventually(&format!("an Event {reason} with {part:?} about {name}"), async || {
            let events = self.events_about(name).await;
            found = events.into_iter().find(|(found, message, _)| found == reason && message.contains(part));
            found.is_some()
        })
        .await;
        found.expect("just found").1
    }

    /// Waits until a survey has ended that began after now.
    pub async fn next_survey(&self) {
        let now = self.sql("SELECT clock_timestamp()");
        let later = format!("SELECT surveyed_at > '{now}' FROM edu_matrix_hub_schema.installation");
        self.eventually("a survey begins and ends", async || self.sql(&later) == "t").await;
    }

    /// What a management function answers that a user calls by hand. One that a heartbeat or a survey is in the way of answers `busy`, and
    /// a user calls it again.
    pub async fn answered(&self, call: &str) -> String {
        let mut answer = String::new();
        self.eventually(&format!("an answer of {call}"), async || {
            answer = self.sql(call);
            !answer.starts_with("busy|")
        })
        .await;
        answer
    }

    /// Waits until a condition holds.
    pub async fn eventually(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds().await {
            assert!(Instant::now() < deadline, "not in time: {what}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The status, reason and message of an object's condition.
pub fn condition(object: &impl Serialize, type_: &str) -> Option<(String, String, String)> {
    let object = serde_json::to_value(object).unwrap();
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == type_)?;
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason"), text("message")))
}

fn is_current(object: &impl Serialize) -> bool {
    let object = serde_json::to_value(object).unwrap();
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

/// Whether a tenant that is ready shows how many tables it has, and what was found of its rights.
pub(super) fn shows(tenant: &TenantSchema, tables: i32) -> bool {
    let is_ready = condition(tenant, "Ready").is_some_and(|(status, ..)| status == "True");
    !is_ready || is_looked_at(tenant) && tenant.status.as_ref().is_some_and(|status| status.table_count == Some(tables))
}

fn is_looked_at(tenant: &TenantSchema) -> bool {
    condition(tenant, "Isolated").is_none_or(|(_, reason, _)| reason != "NotLookedAt")
}
