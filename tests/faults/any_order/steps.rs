//! What happens, one thing at a time: what people and pipelines do, and what breaks.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::Serialize;
use serde_json::{Value, json};
use tenant_schema_operator::api::{
    ABANDON, BRING_BACK, CONFIRM_DELETIONS, CONFIRM_DROP, PAUSED, RECLAIM, RECREATE, SchemaBackup, TenantSchema,
};
use tokio::task::block_in_place;

use super::{
    Safety,
    model::Place,
    stage::{LABELS, Manner},
};
use crate::{agreement::prefix, wire::Mood, world::condition};

/// Applications, each with a schema of its own.
const APPLICATIONS: u64 = 6;

/// Where an application's object may stand: in one namespace or the other, under its name or under a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tenant {
    namespace: usize,
    application: u64,
    renamed: bool,
}

/// The namespace in which an application begins.
fn home(application: u64) -> usize {
    usize::from(application % 2 == 1)
}

/// What the repository has of an object.
#[derive(Clone, Debug)]
pub struct Manifest {
    label: &'static str,
    annotations: BTreeMap<String, String>,
    spec: Value,
}

/// What is broken for a while.
#[derive(Clone, Copy, Debug)]
pub enum Broken {
    Operator(usize),
    Database(usize),
    Network(usize),
    Api,
}

impl Tenant {
    fn name(self) -> String {
        format!("t{}{}", self.application, if self.renamed { "-new" } else { "" })
    }
}

impl Safety {
    /// Something that people or pipelines do.
    pub async fn act(&mut self) {
        let tenant = self.any_tenant();
        match self.chance.below(100) {
            0..17 => self.apply(tenant).await,
            17..19 => self.back_up(tenant).await,
            19..22 => self.transfer(tenant).await,
            22..39 => self.write(tenant).await,
            39..49 => self.delete(tenant).await,
            49..51 => self.copy_database().await,
            51..53 => self.claim_from_elsewhere().await,
            53..56 => self.follow_database().await,
            56..66 => self.annotate(tenant).await,
            66..72 => self.follow(tenant).await,
            72..76 => self.forget(tenant).await,
            76..79 => self.label(tenant).await,
            79..81 => self.label_database().await,
            81..84 => self.change_database().await,
            84..86 => self.force_database_away().await,
            86..88 => self.confirm_deletions().await,
            88 => self.bring_back().await,
            89..92 => self.take_finalizer(tenant).await,
            92..95 => self.forge(tenant).await,
            95..97 => self.delete_namespace().await,
            97 => self.apply_all().await,
            _ => self.stage.make_namespaces().await,
        }
    }

    fn any_tenant(&mut self) -> Tenant {
        let application = self.chance.below(APPLICATIONS);
        // Most objects stand where the application began.
        let away = self.chance.below(8);
        let home = home(application);
        Tenant { namespace: if away == 0 { 1 - home } else { home }, application, renamed: away == 1 }
    }

    pub fn schema(&self, tenant: Tenant) -> String {
        format!("{}_t{}", prefix(&self.stage.world), tenant.application)
    }

    fn namespace(&self, tenant: Tenant) -> String {
        self.stage.namespaces[tenant.namespace].clone()
    }

    pub fn says(&mut self, what: impl Into<String>) {
        self.steps.push(format!("{} {}", Timestamp::now().strftime("%T%.3f"), what.into()));
    }

    async fn get(&self, tenant: Tenant) -> Option<TenantSchema> {
        let api = self.stage.tenants(&self.stage.namespaces[tenant.namespace]);
        api.get_opt(&tenant.name()).await.ok().flatten()
    }

    /// The manifest of the repository, in which the pipeline has changed something.
    async fn apply(&mut self, tenant: Tenant) {
        let number = self.number();
        let spec = self.spec(tenant, number);
        let fresh = || Manifest { label: LABELS[0], annotations: BTreeMap::new(), spec: Value::Null };
        let manifest = self.repository.entry(tenant).or_insert_with(fresh);
        manifest.spec = spec;
        self.apply_manifest(tenant).await;
    }

    /// Every application where it began.
    fn at_home() -> impl Iterator<Item = Tenant> {
        (0..APPLICATIONS).map(|application| Tenant { namespace: home(application), application, renamed: false })
    }

    /// The pipeline applies the whole repository, in which every application is at home.
    pub async fn apply_all(&mut self) {
        for tenant in Self::at_home() {
            if self.repository.contains_key(&tenant) {
                self.apply_manifest(tenant).await;
            } else {
                self.apply(tenant).await;
            }
        }
    }

    fn spec(&mut self, tenant: Tenant, number: u64) -> Value {
        let mut spec = json!({
            "databaseRef": { "name": self.stage.world.database_ref() }, "schemaName": self.schema(tenant),
            "config": { "number": number },
            "access": self.chance.one_of(&["ReadWrite", "ReadWrite", "ReadWrite", "Suspended"]),
        });
        let policies = [None, None, Some("BackupThenDrop"), Some("BackupThenDrop"), Some("Drop"), Some("Retain")];
        if let Some(policy) = self.chance.one_of(&policies) {
            spec["deletionPolicy"] = json!(policy);
        }
        if tenant.application.is_multiple_of(3) {
            spec["institutionId"] = json!(format!("{:08x}-0000-4000-8000-000000000000", tenant.application));
        }
        spec
    }

    async fn apply_manifest(&mut self, tenant: Tenant) {
        let Some(manifest) = self.repository.get(&tenant).cloned() else { return };
        let (namespace, name) = (self.namespace(tenant), tenant.name());
        let object = json!({
            "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
            "metadata": {
                "name": name, "namespace": namespace, "annotations": manifest.annotations,
                "labels": { "e2e": self.stage.world.id, "op": manifest.label },
            },
            "spec": manifest.spec,
        });
        let Some(namespace_uid) = self.stage.namespace_uid(&namespace).await else { return };
        let parameters = PatchParams::apply("repository").force();
        let outcome = self.stage.tenants(&namespace).patch(&name, &parameters, &Patch::Apply(&object)).await;
        let said = format!("apply {namespace}/{name} {} {:?}", manifest.spec, manifest.annotations);
        match outcome {
            Ok(object) => {
                let uid = object.uid().unwrap();
                self.model.saw(&uid, &Place { namespace, namespace_uid, name });
                let deleted_at = object.metadata.deletion_timestamp.as_ref().map(|at| at.0.to_string());
                self.model.annotated(&uid, object.annotations(), deleted_at.as_deref());
                self.says(format!("{said}: {uid}"));
            }
            Err(error) => self.says(format!("{said}: {error}")),
        }
    }

    async fn delete(&mut self, tenant: Tenant) {
        let Some(object) = self.get(tenant).await else { return };
        let (namespace, name) = (self.namespace(tenant), tenant.name());
        self.model.deletes(&object.uid().unwrap());
        self.statuses.extend(object.status.clone().map(|status| (tenant, status)));
        drop(self.stage.tenants(&namespace).delete(&name, &DeleteParams::default()).await);
        self.says(format!("delete {namespace}/{name}: {}", object.uid().unwrap()));
    }

    /// An annotation comes into the repository, and stays there.
    async fn annotate(&mut self, tenant: Tenant) {
        let schema = self.schema(tenant);
        let ids: Vec<_> =
            self.model.lives.values().filter(|life| life.schema == schema).flat_map(|life| &life.ids).collect();
        let id = (!ids.is_empty()).then(|| {
            let chosen = self.chance.below(ids.len() as u64);
            ids[usize::try_from(chosen).unwrap()].clone()
        });
        let key = self.chance.one_of(&[RECLAIM, RECLAIM, RECREATE, CONFIRM_DROP, CONFIRM_DROP, ABANDON, PAUSED]);
        let value = match id {
            Some(id) if self.chance.below(2) == 0 => {
                let deleted_at = self.get(tenant).await.and_then(|object| object.metadata.deletion_timestamp);
                let deleted_at = deleted_at.filter(|_| key == CONFIRM_DROP);
                format!("{schema}@{id}{}", deleted_at.map_or_else(String::new, |at| format!(".{}", at.0)))
            }
            _ => schema,
        };
        self.set_annotation(tenant, key, value).await;
    }

    async fn set_annotation(&mut self, tenant: Tenant, key: &str, value: String) {
        let Some(manifest) = self.repository.get_mut(&tenant) else { return };
        manifest.annotations.insert(key.to_owned(), value);
        self.apply_manifest(tenant).await;
    }

    /// A person types what the message of a condition says.
    async fn follow(&mut self, tenant: Tenant) {
        let Some(object) = self.get(tenant).await else { return };
        if let Some((key, value)) = self.told(&object) {
            self.set_annotation(tenant, &key, value).await;
        }
    }

    /// One of the annotations that the messages of an object's conditions tell.
    pub fn told(&mut self, object: &impl Serialize) -> Option<(String, String)> {
        let messages = ["Ready", "Stalled", "Reconciling"].map(|type_| condition(object, type_));
        let text: String = messages.into_iter().flatten().map(|(_, _, message)| message + " ").collect();
        let pattern = regex::Regex::new(r"(edumatrixhub\.io/[a-z-]+)=([^\s;,]+)").unwrap();
        let told: Vec<_> =
            pattern.captures_iter(&text).map(|found| (found[1].to_owned(), found[2].to_owned())).collect();
        let chosen = self.any_of(told.len())?;
        Some(told[chosen].clone())
    }

    /// The annotations go from the repository.
    async fn forget(&mut self, tenant: Tenant) {
        if let Some(manifest) = self.repository.get_mut(&tenant) {
            manifest.annotations.clear();
            self.apply_manifest(tenant).await;
        }
    }

    /// The object goes over to another operator, or to none.
    async fn label(&mut self, tenant: Tenant) {
        let label = self.chance.one_of(&LABELS);
        if self.get(tenant).await.is_some()
            && let Some(manifest) = self.repository.get_mut(&tenant)
        {
            manifest.label = label;
            self.says(format!("label {tenant:?} {label}"));
            self.apply_manifest(tenant).await;
        }
    }

    async fn label_database(&mut self) {
        let label = self.chance.one_of(&LABELS);
        self.stage.label_database(label).await;
        self.says(format!("label the database {label}"));
    }

    async fn change_database(&mut self) {
        let policy = self.chance.one_of(&["BackupThenDrop", "Drop", "Retain"]);
        let limit = self.chance.one_of(&[1, 1_000_000]);
        let spec = json!({ "defaults": { "deletionPolicy": policy }, "limits": { "maxDeletionsPerHour": limit } });
        self.says(format!("change the database: {spec}"));
        self.stage.apply_database(spec).await;
    }

    /// The platform team gives an application's schema to another object, and perhaps that object asks for it.
    async fn transfer(&mut self, tenant: Tenant) {
        let home = Tenant { namespace: home(tenant.application), application: tenant.application, renamed: false };
        let to = if tenant == home { Tenant { renamed: true, ..home } } else { tenant };
        let places = [home, to].map(|tenant| (self.namespace(tenant), tenant.name()));
        let [from, given_to] =
            places.each_ref().map(|(namespace, name)| json!({ "namespace": namespace, "name": name }));
        let schema = self.schema(tenant);
        self.transfers.insert(tenant.application, json!({ "schemaName": schema, "from": from, "to": given_to }));
        let transfers: Vec<_> = self.transfers.values().collect();
        let patch = Patch::Merge(json!({ "spec": { "transfers": transfers } }));
        let [from, given_to] = places;
        self.model.gives(&schema, from, given_to);
        let (api, name) = (self.stage.world.databases(), self.stage.world.database_ref());
        let outcome = api.patch(&name, &PatchParams::default(), &patch).await;
        self.says(format!("transfer {schema} to {to:?}: {:?}", outcome.err()));
        if self.chance.below(2) == 0 {
            self.apply(to).await;
            self.set_annotation(to, RECLAIM, schema).await;
        }
    }

    /// A person asks for a backup, or deletes one.
    async fn back_up(&mut self, tenant: Tenant) {
        let (namespace, name) = (self.namespace(tenant), format!("b{}", self.chance.below(3)));
        let api = Api::<SchemaBackup>::namespaced(self.stage.world.client.clone(), &namespace);
        if self.chance.below(3) == 0 {
            drop(api.delete(&name, &DeleteParams::default()).await);
            self.says(format!("delete backup {namespace}/{name}"));
            return;
        }
        let object = json!({
            "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "SchemaBackup",
            "metadata": { "name": name, "labels": { "e2e": self.stage.world.id, "op": LABELS[0] } },
            "spec": { "tenantSchemaRef": { "name": tenant.name() } },
        });
        let backup: SchemaBackup = serde_json::from_value(object).unwrap();
        drop(api.create(&PostParams::default(), &backup).await);
        self.says(format!("back up {namespace}/{} as {name}", tenant.name()));
    }

    async fn force_database_away(&mut self) {
        self.stage.force_database_away().await;
        self.says("take the database away by force, and make it again");
        self.stage.apply_database(json!({})).await;
        self.stage.label_database(LABELS[0]).await;
        self.repeat_annotations().await;
    }

    pub async fn confirm_deletions(&mut self) {
        let patch = json!({ "metadata": { "annotations": { CONFIRM_DELETIONS: Timestamp::now().to_string() } } });
        let (api, name) = (self.stage.world.databases(), self.stage.world.database_ref());
        drop(api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await);
        self.says("confirm all deletions until now");
    }

    /// What was set aside a short while ago is to come back. The annotation stays.
    async fn bring_back(&mut self) {
        let since = Timestamp::now() - self.chance.time(0, 60_000);
        self.model.brings_back();
        let patch = json!({ "metadata": { "annotations": { BRING_BACK: since.to_string() } } });
        let (api, name) = (self.stage.world.databases(), self.stage.world.database_ref());
        drop(api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await);
        self.says(format!("bring back what was set aside since {since}"));
    }

    async fn take_finalizer(&mut self, tenant: Tenant) {
        let (namespace, name) = (self.namespace(tenant), tenant.name());
        let none = json!({ "metadata": { "finalizers": null } });
        drop(self.stage.tenants(&namespace).patch(&name, &PatchParams::default(), &Patch::Merge(&none)).await);
        self.says(format!("take the finalizer of {namespace}/{name}"));
    }

    /// An object gets the status of another one, or that of an earlier one of its name as a restore of objects writes it, or none.
    async fn forge(&mut self, tenant: Tenant) {
        let other = self.any_tenant();
        let (Some(mut object), other) = (self.get(tenant).await, self.get(other).await) else { return };
        object.status = match self.chance.below(4) {
            0 => None,
            1 | 2 => self.statuses.get(&tenant).cloned(),
            _ => other.and_then(|other| other.status),
        };
        let (namespace, name) = (self.namespace(tenant), tenant.name());
        drop(self.stage.tenants(&namespace).replace_status(&name, &PostParams::default(), &object).await);
        self.says(format!(
            "forge the status of {namespace}/{name}: {:?}",
            object.status.map(|status| status.schema_id)
        ));
    }

    async fn delete_namespace(&mut self) {
        let name = self.chance.one_of(&[0, 1]);
        let name = self.stage.namespaces[name].clone();
        let Some(uid) = self.stage.namespace_uid(&name).await else { return };
        self.model.deletes_namespace(&uid);
        drop(self.stage.kube_namespaces().delete(&name, &DeleteParams::default()).await);
        self.says(format!("delete namespace {name}: {uid}"));
    }

    /// The application of an object writes a row with the rights of the tenant that is this object's.
    async fn write(&mut self, tenant: Tenant) {
        let Some(object) = self.get(tenant).await else { return };
        let (uid, schema, row) = (object.uid().unwrap(), self.schema(tenant), self.number());
        let Some(place) = self.model.place_of(&uid).cloned() else { return };
        self.model.begins(row, &schema, &place);
        let sql = format!(
            "SELECT set_config('role', (SELECT owner_role FROM edu_matrix_hub_schema.tenant_schemas \
             WHERE owner_uid = '{uid}' AND schema_name = '{schema}' AND status = 'active'), true); \
             SELECT 1 / (current_user <> 'postgres')::int; \
             CREATE TABLE IF NOT EXISTS {schema}.marks (life bigint, mark bigint); \
             INSERT INTO {schema}.marks SELECT coalesce((SELECT min(life) FROM {schema}.marks), {row}), {row} RETURNING life"
        );
        if let Ok(answer) = self.stage.world.postgres.psql(&self.stage.world.database, &sql) {
            let life = answer.lines().last().unwrap().parse().unwrap();
            self.model.acknowledged(life, row);
            self.says(format!("{place} wrote row {row} of life {life} to {schema}"));
        }
    }

    /// All applications are used.
    pub async fn write_all(&mut self) {
        for tenant in Self::at_home() {
            self.write(tenant).await;
        }
    }

    /// Something breaks: at once and once, or for a while that people do not wait for.
    pub async fn break_something(&mut self) -> Option<Broken> {
        let mood =
            self.chance.one_of(&[Mood::Refuse, Mood::Swallow, Mood::Delay(std::time::Duration::from_millis(150))]);
        let number = self.chance.one_of(&[0, 1]);
        let what = self.chance.below(9);
        self.says(format!("break {what} of {number}, {mood:?}"));
        let stage = &mut self.stage;
        match what {
            0 | 1 => {
                stage.kill(number).await;
                stage.start_one(number);
                None
            }
            2 => {
                stage.databases[number].cut();
                None
            }
            3 => {
                stage.networks[number].cut();
                None
            }
            4 => {
                block_in_place(|| stage.restart_server());
                None
            }
            5 => {
                stage.signal(number, "STOP");
                Some(Broken::Operator(number))
            }
            6 => {
                stage.databases[number].set(mood);
                Some(Broken::Database(number))
            }
            7 => {
                stage.networks[number].set(mood);
                Some(Broken::Network(number))
            }
            _ => {
                stage.api.refuse(Some(StatusCode::INTERNAL_SERVER_ERROR));
                Some(Broken::Api)
            }
        }
    }

    /// What was broken for a while works again, and connections whose bytes a wire has swallowed are cut.
    pub fn repair(&mut self) {
        match self.broken.take().map(|(broken, _)| broken) {
            Some(Broken::Operator(number)) => self.stage.signal(number, "CONT"),
            Some(Broken::Database(number)) => {
                self.stage.databases[number].set(Mood::Pass);
                self.stage.databases[number].cut();
            }
            Some(Broken::Network(number)) => {
                self.stage.networks[number].set(Mood::Pass);
                self.stage.networks[number].cut();
            }
            Some(Broken::Api) => self.stage.api.refuse(None),
            None => {}
        }
    }

    /// The operators are installed in another manner.
    pub async fn install(&mut self, manner: Manner) {
        self.says(format!("install the operators as {manner:?}"));
        self.stage.kill(0).await;
        self.stage.kill(1).await;
        self.stage.manner = manner;
        self.stage.start();
    }
}
