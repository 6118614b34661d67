//! A stand-in for the API server that answers, refuses and counts request by request. It is spoken to without TLS and
//! passes on what it is told to the real one, in the operator's name.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use kube::Client;
use serde_json::json;
use tokio::{net::TcpListener, sync::watch};

use super::wire::Cut;

/// What is asked before a write is passed on, by its method and path.
pub type AtWrite = Box<dyn Fn(&Method, &str) -> Cut + Send + Sync>;

/// The stand-in. It stays for as long as the test's runtime.
pub struct Api {
    /// Where it listens.
    pub port: u16,
    state: Arc<Shared>,
}

struct Shared {
    client: Client,
    user: HeaderValue,
    at_write: AtWrite,
    /// With what every request is answered, if not by the API server.
    refusal: Mutex<Option<StatusCode>>,
    refused: AtomicUsize,
    /// Changes when the watches that are open must end.
    watches: watch::Sender<()>,
}

impl Api {
    /// Passes on to where this client leads, which may act in the name of this user.
    pub async fn start(client: Client, user: &str, at_write: AtWrite) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Shared {
            client,
            user: HeaderValue::from_str(user).unwrap(),
            at_write,
            refusal: Mutex::new(None),
            refused: AtomicUsize::new(0),
            watches: watch::Sender::new(()),
        });
        let router = Router::new().fallback(answer).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { port, state }
    }

    /// From now on every request is answered so, and watches end; or as the API server does.
    pub fn refuse(&self, with: Option<StatusCode>) {
        *self.state.refusal.lock().unwrap() = with;
        self.state.watches.send_replace(());
    }

    /// How many requests were refused.
    pub fn refused(&self) -> usize {
        self.state.refused.load(Ordering::SeqCst)
    }
}

async fn answer(State(state): State<Arc<Shared>>, request: Request) -> Response {
    let refusal = *state.refusal.lock().unwrap();
    if let Some(code) = refusal {
        state.refused.fetch_add(1, Ordering::SeqCst);
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
            "reason": if code == StatusCode::TOO_MANY_REQUESTS { "TooManyRequests" } else { "InternalError" },
            "message": "the test has it so",
        });
        return (code, [(header::CONTENT_TYPE, "application/json")], status.to_string()).into_response();
    }
    let reads = request.method() == Method::GET;
    let cut = if reads { Cut::Not } else { (state.at_write)(request.method(), request.uri().path()) };
    match cut {
        Cut::Not => pass_on(state, request).await,
        Cut::Before => pending().await,
        Cut::After => {
            // A task of its own, which goes on when no client waits for the answer any more.
            tokio::spawn(pass_on(state, request));
            pending().await
        }
    }
}

async fn pass_on(state: Arc<Shared>, request: Request) -> Response {
    let (mut head, body) = request.into_parts();
    for own in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION] {
        head.headers.remove(own);
    }
    head.headers.insert("Impersonate-User", state.user.clone());
    head.headers.insert("Impersonate-Group", HeaderValue::from_static("system:masters"));
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut ended = state.watches.subscribe();
    let request = axum::http::Request::from_parts(head, kube::client::Body::from(body.to_vec()));
    match state.client.send(request).await {
        Ok(answer) => {
            let (mut head, body) = answer.into_parts();
            head.headers.remove(header::TRANSFER_ENCODING);
            let until_ended = async move {
                // An error means that the stand-in is gone, and its watches with it.
                let _ = ended.changed().await;
            };
            let stream = Body::new(body).into_data_stream().take_until(Box::pin(until_ended));
            Response::from_parts(head, Body::from_stream(stream))
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
