//! Writing the Secrets of tenants, and asking whether they are as they were written.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
    core::Request,
};
use serde_json::{Map, Value, json};
use tokio::{sync::Semaphore, time::Instant};
use uuid::Uuid;

use super::{
    super::{Error, MANAGER, answer, id::Id, nameable, within},
    refusal::Refusal,
};
use crate::api::credentials::{COMPARE, CREDENTIAL_ID, ENDPOINT, GIVEN_TO, SECRET_OF, SECRET_TYPE};

/// For how long it counts that the policy was in force.
const PROOF_LASTS: Duration = Duration::from_hours(1);

/// This long after the last look at a Secret the next one is due. Its turn comes with a later pass over its tenant: with ten thousand
/// tenants within forty minutes, so that each is looked at within an hour.
const LOOK_AFTER: Duration = Duration::from_mins(20);

/// All Secrets together are looked at no more often. Passes over tenants at rest come in bursts, so turns that were not used are kept
/// for some seconds.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
const TURNS_KEPT: Duration = Duration::from_secs(10);

/// So many looks are under way at once: an API server that answers slowly for Secrets must not hold up all passes.
const LOOKS_AT_ONCE: usize = 4;

/// For how long it counts that the policy was not in force, or could not be tried.
const DOUBT_LASTS: Duration = Duration::from_secs(5);

/// What is in a Secret, by key. It is printed nowhere.
pub type Values = BTreeMap<&'static str, String>;

/// A Secret of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The tenant's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, if a status remembers it.
    pub uid: Option<String>,
    /// The name of the TenantSchema that it belongs to.
    pub owner_name: String,
    /// Its UID.
    pub owner_uid: String,
    /// It stays when the TenantSchema goes.
    pub stays: bool,
    /// The name of the TenantSchema of the namespace that is given the tenant, and has the Secret after this one.
    pub given_to: Option<String>,
}

/// What can be said of the content of a Secret without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Which credential.
    pub credential_id: Uuid,
    /// The digest of the address that it leads to.
    pub endpoint: String,
}

/// What a look at a Secret found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is there with this content, under this UID.
    Same(Option<String>),
    /// There is none of its name.
    Gone,
    /// It has another content, or another one has its name.
    Other,
}

/// Writes Secrets, and remembers when the policy was in force and when each Secret was looked at.
pub struct Secrets {
    client: Client,
    proof: tokio::sync::Mutex<Option<(Instant, Result<(), Refusal>)>>,
    looks: Mutex<Looks>,
    looking: Semaphore,
}

#[derive(Default)]
struct Looks {
    /// When the turn is whose turn comes next: in the past while turns are kept.
    turns: Option<Instant>,
    last: HashMap<Id, Instant>,
    asked: HashSet<Id>,
}

/// How a Secret is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Send {
    /// It is written.
    Write,
    /// The API server says whether it would be.
    DryRun,
}

impl Secrets {
    /// Writes by this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            proof: tokio::sync::Mutex::default(),
            looks: Mutex::default(),
            looking: Semaphore::new(LOOKS_AT_ONCE),
        }
    }

    /// Writes these values, with what can be seen of them; the UID of the Secret. One that is there and not the tenant's stays as
    /// it is.
    pub async fn publish(
        &self,
        target: &Target,
        values: &Values,
        content: &Content,
    ) -> Result<Option<String>, Refusal> {
        self.write(target, &target.body(values, content), Send::Write).await
    }

    /// Whether [`Self::publish`] would be taken. Nothing is written.
    pub async fn rehearse(&self, target: &Target) -> Result<(), Refusal> {
        let content = Content { credential_id: Uuid::nil(), endpoint: String::new() };
        self.write(target, &target.body(&Values::default(), &content), Send::DryRun).await.map(|_| ())
    }

    async fn write(&self, target: &Target, body: &Value, send: Send) -> Result<Option<String>, Refusal> {
        self.prove_guarded(&target.namespace).await?;
        if target.uid.is_some() {
            match self.replace(target, body, target.uid.as_deref(), send).await {
                // It was deleted, or deleted and made again.
                Err(Error::Refused { code: 404 | 409, .. }) => {}
                other => return other.map(|written| written.uid).map_err(Refusal::of),
            }
        }
        let api = self.api(&target.namespace);
        let request = Request::new(api.resource_url()).create(&send.parameters(), body.to_string().into_bytes());
        match within(|| format!("make Secret {}", target.full_name()), answer(&api, request)).await {
            // The policy lets only this tenant's own be replaced.
            Err(Error::Refused { code: 409, .. }) => self.replace(target, body, None, send).await,
            other => other,
        }
        .map(|written| written.uid)
        .map_err(Refusal::of)
    }

    /// Whether the Secret, of this UID if it is known, is there with this content.
    ///
    /// A replacement that is not carried out is refused by the policy if the content is another one. Nothing of the Secret is
    /// read: the answer to a replacement has what was sent. Nothing comes back when it cannot be said now.
    pub async fn look(&self, target: &Target, uid: Option<&str>, content: &Content) -> Result<Option<Found>, Refusal> {
        let Ok(_one) = self.looking.try_acquire() else { return Ok(None) };
        self.prove_guarded(&target.namespace).await?;
        let mut body = target.body(&Values::default(), content);
        body["metadata"]["annotations"][COMPARE] = json!("");
        match self.replace(target, &body, uid, Send::DryRun).await {
            Ok(found) => Ok(Some(Found::Same(found.uid))),
            Err(Error::Refused { code: 404, .. }) => Ok(Some(Found::Gone)),
            Err(Error::Refused { code: 409, .. }) => Ok(Some(Found::Other)),
            Err(error) => match Refusal::of(error) {
                Refusal::Differs => Ok(Some(Found::Other)),
                Refusal::MayPass(_) => Ok(None),
                refusal => Err(refusal),
            },
        }
    }

    async fn replace(&self, target: &Target, body: &Value, uid: Option<&str>, send: Send) -> Result<ObjectMeta, Error> {
        let api = self.api(&target.namespace);
        nameable(api.resource_url(), &target.name)?;
        let mut body = body.clone();
        if let Some(uid) = uid {
            body["metadata"]["uid"] = json!(uid);
        }
        let parameters = send.parameters();
        let request =
            Request::new(api.resource_url()).replace(&target.name, &parameters, body.to_string().into_bytes());
        within(|| format!("write Secret {}", target.full_name()), answer(&api, request)).await
    }

    /// Proves that the API server refuses what the operator must not write, by trying it without writing.
    async fn prove_guarded(&self, namespace: &str) -> Result<(), Refusal> {
        let mut proof = self.proof.lock().await;
        if let Some((at, found)) = &*proof {
            let lasts = if found.is_ok() { PROOF_LASTS } else { DOUBT_LASTS };
            if at.elapsed() < lasts {
                return found.clone();
            }
        }
        let found = self.try_guard(namespace).await;
        // That this namespace refuses says nothing of others.
        if !matches!(found, Err(Refusal::Forbidden(_))) {
            *proof = Some((Instant::now(), found.clone()));
        }
        found
    }

    async fn try_guard(&self, namespace: &str) -> Result<(), Refusal> {
        let api = self.api(namespace);
        let name = json!({ "generateName": "tenant-schema-operator-must-not-" });
        let body = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": name }).to_string().into_bytes();
        let request = Request::new(api.resource_url()).create(&Send::DryRun.parameters(), body);
        match within(|| format!("try whether Secrets of {namespace} are guarded"), answer(&api, request)).await {
            Ok(_) => Err(Refusal::Unguarded),
            Err(error) => match Refusal::of(error) {
                Refusal::Foreign => Ok(()),
                other => Err(other),
            },
        }
    }

    /// Whether it is time to look at the Secret of the tenant with this UID; asking counts as a look.
    pub fn is_due(&self, owner_uid: &str) -> bool {
        let mut looks = self.looks();
        let (now, id) = (Instant::now(), Id::of_uid(owner_uid));
        if looks.asked.remove(&id) {
            looks.last.insert(id, now);
            return true;
        }
        let is_recent = looks.last.get(&id).is_some_and(|last| last.elapsed() < LOOK_AFTER);
        let turn = looks.turns.map_or(now, |turns| turns.max(now.checked_sub(TURNS_KEPT).unwrap_or(now)));
        if is_recent || turn > now {
            return false;
        }
        looks.turns = Some(turn + BETWEEN_LOOKS);
        looks.last.insert(id, now);
        true
    }

    /// A user asked for a look at this tenant, which is not put off.
    pub fn ask(&self, owner_uid: &str) {
        self.looks().asked.insert(Id::of_uid(owner_uid));
    }

    /// A lane was opened: what was seen before may be another world's, so each Secret has its turn again.
    pub fn look_again(&self) {
        self.looks().last.clear();
    }

    /// The object is gone.
    pub fn forget(&self, owner_uid: &str) {
        let (mut looks, id) = (self.looks(), Id::of_uid(owner_uid));
        looks.last.remove(&id);
        looks.asked.remove(&id);
    }

    fn looks(&self) -> std::sync::MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn api(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

impl Send {
    fn parameters(self) -> PostParams {
        PostParams { dry_run: self == Self::DryRun, field_manager: Some(MANAGER.to_owned()) }
    }
}

impl Target {
    /// One that is not there yet, for tests.
    #[cfg(test)]
    #[must_use]
    pub fn example() -> Self {
        Self {
            namespace: "team-a".to_owned(),
            name: "school-db".to_owned(),
            uid: None,
            owner_name: "school".to_owned(),
            owner_uid: "uid".to_owned(),
            stays: false,
            given_to: None,
        }
    }

    /// Namespace and name, as `kubectl` writes them.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn body(&self, values: &Values, content: &Content) -> Value {
        let data: Map<_, _> = values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(ByteString(value.clone().into_bytes()))))
            .collect();
        let mut body = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": SECRET_TYPE,
            "metadata": {
                "namespace": self.namespace,
                "name": self.name,
                "labels": { "app.kubernetes.io/managed-by": MANAGER },
                "annotations": {
                    SECRET_OF: self.owner_name,
                    CREDENTIAL_ID: content.credential_id,
                    ENDPOINT: content.endpoint,
                },
            },
            "data": data,
        });
        if let Some(name) = &self.given_to {
            body["metadata"]["annotations"][GIVEN_TO] = json!(name);
        }
        if !self.stays {
            body["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema", "controller": true,
                "name": self.owner_name, "uid": self.owner_uid,
            }]);
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use axum::{
        Router,
        body::Bytes,
        http::{Method, StatusCode, Uri},
    };

    use super::{super::refusal::GUARD_WORDS, *};

    /// An API server whose policy can go away.
    #[derive(Default)]
    struct ApiServer {
        is_unguarded: AtomicBool,
        written: AtomicUsize,
    }

    impl ApiServer {
        fn answer(&self, method: &Method, uri: &Uri, body: &[u8]) -> (StatusCode, String) {
            let mut secret: Value = serde_json::from_slice(body).unwrap();
            if secret["type"] != SECRET_TYPE && !self.is_unguarded.load(Ordering::Relaxed) {
                let message = format!("denied request: {GUARD_WORDS}, and this one would not");
                let status = json!({ "kind": "Status", "status": "Failure", "reason": "Invalid", "code": 422, "message": message });
                return (StatusCode::UNPROCESSABLE_ENTITY, status.to_string());
            }
            assert!([Method::POST, Method::PUT].contains(method));
            if uri.query().is_none_or(|query| !query.contains("dryRun=All")) {
                self.written.fetch_add(1, Ordering::Relaxed);
            }
            secret["metadata"]["uid"] = json!("a-uid");
            (StatusCode::CREATED, secret.to_string())
        }

        fn written(&self) -> usize {
            self.written.load(Ordering::Relaxed)
        }
    }

    /// As if this time had passed since the policy was tried.
    async fn pass(secrets: &Secrets, time: Duration) {
        let mut proof = secrets.proof.lock().await;
        let (at, _) = proof.as_mut().unwrap();
        *at = at.checked_sub(time).unwrap();
    }

    #[tokio::test]
    async fn no_secret_is_written_from_an_hour_after_the_policy_went_away_until_it_is_back() {
        let server = Arc::new(ApiServer::default());
        let answering = server.clone();
        let answer = async move |method: Method, uri: Uri, body: Bytes| answering.answer(&method, &uri, &body);
        let secrets = Secrets::new(Client::new(Router::new().fallback(answer), "default"));
        let target = Target::example();
        let content = Content { credential_id: Uuid::nil(), endpoint: String::new() };
        let publish = async || secrets.publish(&target, &Values::from([("password", "x".to_owned())]), &content).await;
        assert_eq!(publish().await, Ok(Some("a-uid".to_owned())));

        server.is_unguarded.store(true, Ordering::Relaxed);
        publish().await.unwrap();
        pass(&secrets, PROOF_LASTS).await;
        for _ in 0..3 {
            assert_eq!(publish().await, Err(Refusal::Unguarded));
            assert_eq!(secrets.rehearse(&target).await, Err(Refusal::Unguarded));
            assert_eq!(secrets.look(&target, None, &content).await, Err(Refusal::Unguarded));
            pass(&secrets, DOUBT_LASTS).await;
        }
        assert_eq!(server.written(), 2, "what was written before, and nothing since");

        server.is_unguarded.store(false, Ordering::Relaxed);
        publish().await.unwrap();
        assert_eq!(server.written(), 3);
    }
}
