//! The operator's service account at the API server, request by request: kubectl asks for more than it is told to.

use std::fmt;

use axum::http::{Request, request::Builder};
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tenant_schema_operator::kubernetes::secrets::GUARD_WORDS;
use tokio::runtime::Runtime;

use super::stage::Release;

/// What the API server answered.
pub struct Answer {
    /// The status of HTTP.
    pub code: u16,
    /// An object, or the Status that says what is wrong.
    pub body: Value,
}

impl Answer {
    /// What it has at a place; nothing if that is no text.
    pub fn text(&self, pointer: &str) -> String {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// It is this code, with this reason, and these words in the message.
    pub fn is(&self, code: u16, reason: &str, words: &str) {
        let (found, message) = (self.text("/reason"), self.text("/message"));
        assert!(self.code == code && found == reason && message.contains(words), "not {code} {reason} {words}: {self}");
    }

    /// The policy refused it, in these words.
    pub fn is_refused_by_policy(&self, words: &str) {
        self.is(422, "Invalid", &format!("{GUARD_WORDS}, and {words}"));
    }

    /// The API server took it.
    pub fn is_taken(&self) -> &Value {
        assert!((200..300).contains(&self.code), "{self}");
        &self.body
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.code, self.body)
    }
}

/// The operator's service account.
pub struct Account {
    runtime: Runtime,
    client: Client,
}

impl Account {
    /// With a token of the release.
    pub fn new(release: &Release) -> Self {
        let runtime = Runtime::new().unwrap();
        let kubeconfig = Kubeconfig::read_from(release.kubeconfig().path()).unwrap();
        let client = runtime.block_on(async {
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            Client::try_from(config).unwrap()
        });
        Self { runtime, client }
    }

    /// Sends a request with this body, and waits for all of the answer.
    pub fn send(&self, request: Builder, body: &Value) -> Answer {
        let request = request.body(Body::from(body.to_string().into_bytes())).unwrap();
        self.runtime.block_on(async {
            let answer = self.client.send(request).await.unwrap();
            let code = answer.status().as_u16();
            let bytes = answer.into_body().collect_bytes().await.unwrap();
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            Answer { code, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
        })
    }

    /// The same in JSON.
    pub fn request(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(Request::builder().method(method).uri(path).header("content-type", "application/json"), body)
    }

    /// Creates a Secret.
    pub fn create(&self, secret: &Value) -> Answer {
        self.request("POST", &collection(secret), secret)
    }

    /// Replaces a Secret.
    pub fn update(&self, secret: &Value) -> Answer {
        self.request("PUT", &item(secret), secret)
    }

    /// Patches in a form, such as `merge-patch+json`.
    pub fn patch(&self, path: &str, form: &str, body: &Value) -> Answer {
        let content = format!("application/{form}");
        self.send(Request::builder().method("PATCH").uri(path).header("content-type", content), body)
    }
}

/// Where Secrets of its namespace are.
pub fn collection(secret: &Value) -> String {
    format!("/api/v1/namespaces/{}/secrets", secret["metadata"]["namespace"].as_str().unwrap())
}

/// Where it is itself.
pub fn item(secret: &Value) -> String {
    format!("{}/{}", collection(secret), secret["metadata"]["name"].as_str().unwrap())
}

/// The same, trying only.
pub fn dry(path: &str) -> String {
    format!("{path}?dryRun=All")
}
