//! `/livez`, `/readyz` and `/metrics`.
//!
//! Alive means that the process answers. Ready means that the watch caches are filled and no watch has failed for long; a
//! database that is down does not make the operator unready, since restarting it would not help.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, extract, http::StatusCode, http::header, routing::get};
use tokio::net::TcpListener;

use super::Metrics;

/// A watch that failed this long, again and again, is not doing its work.
const FAILING: Duration = Duration::from_mins(2);
/// A watch that fails tries again within this time. A watch that works may have nothing to tell, so an error that is
/// older does not count any more.
const TRIES_WITHIN: Duration = Duration::from_secs(90);

/// Whether the process is ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<State>);

#[derive(Debug, Default)]
struct State {
    filled: AtomicBool,
    failing: Mutex<BTreeMap<usize, Failing>>,
}

/// A watch that fails.
#[derive(Clone, Debug)]
struct Failing {
    kind: Cow<'static, str>,
    since: Instant,
    last: Instant,
    error: String,
}

impl Readiness {
    /// The caches are filled.
    pub fn set(&self) {
        self.0.filled.store(true, Ordering::Release);
    }

    /// A watch of this kind failed.
    pub fn watch_failed(&self, watch: usize, kind: Cow<'static, str>, error: &str) {
        self.failed_at(watch, kind, error, Instant::now());
    }

    /// A watch told something.
    pub fn watch_goes_on(&self, watch: usize) {
        self.failing().remove(&watch);
    }

    fn failed_at(&self, watch: usize, kind: Cow<'static, str>, error: &str, now: Instant) {
        let mut failing = self.failing();
        let known = failing.get(&watch).filter(|known| now.duration_since(known.last) < TRIES_WITHIN);
        let since = known.map_or(now, |known| known.since);
        failing.insert(watch, Failing { kind, since, last: now, error: error.to_owned() });
    }

    /// Why the process is not ready at this time.
    fn complaint(&self, now: Instant) -> Option<String> {
        let failing = self.failing();
        let long = failing.values().find(|failing| {
            now.duration_since(failing.last) < TRIES_WITHIN && failing.last.duration_since(failing.since) >= FAILING
        });
        if let Some(Failing { kind, error, .. }) = long {
            return Some(format!("the watch of kind {kind} fails: {error}"));
        }
        if self.0.filled.load(Ordering::Acquire) {
            return None;
        }
        let first = failing.values().next();
        let why = first.map_or_else(String::new, |Failing { kind, error, .. }| format!(" (kind {kind}: {error})"));
        Some(format!("the watch caches are not filled yet{why}"))
    }

    fn failing(&self) -> MutexGuard<'_, BTreeMap<usize, Failing>> {
        self.0.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until `shutdown` completes; returns the address that was bound.
pub async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let router = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state((metrics, readiness));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(shutdown).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
    Ok(bound)
}

type Shared = (Arc<Metrics>, Readiness);

async fn readyz(extract::State((_, readiness)): extract::State<Shared>) -> (StatusCode, String) {
    match readiness.complaint(Instant::now()) {
        None => (StatusCode::OK, "ok".to_owned()),
        Some(complaint) => (StatusCode::SERVICE_UNAVAILABLE, complaint),
    }
}

async fn render(
    extract::State((metrics, _)): extract::State<Shared>,
) -> ([(header::HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_what_is_filled_and_does_not_fail_for_long() {
        let readiness = Readiness::default();
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let check = |seconds: u64, expected: Option<&str>| {
            assert_eq!(readiness.complaint(at(seconds)).as_deref(), expected, "after {seconds} s");
        };
        let fails = |seconds: u64| readiness.failed_at(0, "TenantSchema".into(), "410", at(seconds));
        check(0, Some("the watch caches are not filled yet"));
        fails(0);
        check(1, Some("the watch caches are not filled yet (kind TenantSchema: 410)"));
        readiness.set();
        check(2, None);
        for seconds in [40, 80, 119] {
            fails(seconds);
        }
        check(119, None);
        fails(130);
        check(131, Some("the watch of kind TenantSchema fails: 410"));
        check(300, None);
        fails(310);
        check(311, None);
        fails(390);
        fails(440);
        check(441, Some("the watch of kind TenantSchema fails: 410"));
        readiness.watch_goes_on(0);
        check(442, None);
    }
}
