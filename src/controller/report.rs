//! The one reporter: logs, Events and metrics about outcomes are written here and nowhere else.

use std::{error::Error as StdError, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt, api::ObjectMeta, runtime::controller::Error as QueueError};

use crate::{
    api::event::{EventKind, EventReason},
    frame::{Failure, Fit, Next, Outcome, chain},
    jobs,
    kubernetes::{self, events::Events},
    telemetry::{
        Metrics,
        metrics::{ErrorLabels, JobLabels, KindLabels, ReconcileLabels},
    },
};

/// Reports one reconcile.
pub async fn reconciled<K, E>(
    metrics: &Metrics,
    events: &Events,
    object: &K,
    result: &Result<Next, E>,
    elapsed: Duration,
) where
    K: Resource<DynamicType = ()>,
    E: Failure,
{
    let kind = K::kind(&());
    let name = object.name_any();
    let namespace = object.namespace().unwrap_or_default();
    let trace = trace_id(object);
    metrics.reconcile_duration.get_or_create(&KindLabels { kind: kind.clone() }).observe(elapsed.as_secs_f64());
    let failure: Option<&dyn Failure> = match result {
        Ok(next) => next.failure.as_deref(),
        Err(error) => Some(error),
    };
    let outcome = result.as_ref().map_or(Outcome::Error, |next| next.outcome).as_str();
    metrics.reconciles.get_or_create(&ReconcileLabels { kind: kind.clone(), outcome }).inc();
    if let Some(failure) = failure {
        let (category, stage) = (failure.category(), failure.stage());
        metrics.errors.get_or_create(&ErrorLabels { kind: kind.clone(), category }).inc();
        tracing::warn!(
            kind = &*kind,
            namespace,
            name,
            trace,
            stage,
            category,
            ?elapsed,
            error = chain(failure),
            "reconcile failed"
        );
    } else if outcome == "changed" {
        tracing::info!(kind = &*kind, namespace, name, trace, outcome, ?elapsed, "reconciled");
    } else {
        tracing::debug!(kind = &*kind, namespace, name, trace, outcome, ?elapsed, "reconciled");
    }
    let regarding: ObjectReference = object.object_ref(&());
    for notice in result.iter().flat_map(|next| &next.notices) {
        let warning = notice.reason.kind() == EventKind::Warning;
        tracing::info!(
            kind = &*kind,
            namespace,
            name,
            trace,
            reason = notice.reason.as_str(),
            message = notice.message
        );
        events.publish(&regarding, warning, notice.reason.as_str(), &notice.message).await;
    }
}

/// Reports what the queue tells. Outcomes were reported before; what is left are objects that went meanwhile and
/// watches that begin again.
pub fn queue<E, Q>(error: Option<QueueError<E, Q>>)
where
    E: StdError + 'static,
    Q: StdError + 'static,
{
    match error {
        Some(error @ QueueError::QueueError(_)) => tracing::warn!(error = chain(&error), "a watch failed"),
        Some(QueueError::ReconcilerFailed(..)) | None => {}
        Some(error) => tracing::debug!(error = chain(&error), "controller"),
    }
}

/// Reports one finished job.
pub fn job_finished(metrics: &Metrics, finished: &jobs::Finished) {
    let jobs::Finished { database, job, outcome, message } = finished;
    let kind = job.kind.as_str();
    let labels = JobLabels { database: database.clone(), kind: kind.to_owned(), outcome: outcome.as_str() };
    metrics.jobs.get_or_create(&labels).inc();
    let schema = job.schema_name.as_deref().unwrap_or_default();
    let subject = job.subject.as_ref().map_or_else(String::new, ToString::to_string);
    let outcome_word = outcome.as_str();
    if *outcome == jobs::Outcome::Error {
        tracing::warn!(database, schema, job = kind, subject, id = %job.job_id, outcome = outcome_word, message, "job ended");
    } else {
        tracing::info!(database, schema, job = kind, subject, id = %job.job_id, outcome = outcome_word, message, "job ended");
    }
}

/// Reports what was found out of view at the start; nothing if the operator may not ask.
pub fn outside(found: Result<Option<String>, kubernetes::Error>) {
    match found {
        Ok(Some(text)) => tracing::warn!("{text}"),
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "what is out of view is not known"),
    }
}

/// Reports what became of an object that cannot be read.
pub fn unreadable(kind: &str, object: &ObjectMeta, message: &str, error: Option<&kubernetes::Error>) {
    let (namespace, name) =
        (object.namespace.as_deref().unwrap_or_default(), object.name.as_deref().unwrap_or_default());
    if let Some(error) = error {
        tracing::warn!(kind, namespace, name, message, %error, "cannot say what is wrong with an object");
    } else {
        tracing::warn!(kind, namespace, name, message, "an object cannot be read");
    }
}

/// Reports that the API server's world went back.
pub fn went_back(why: &str) {
    tracing::warn!(
        why,
        "the API server answers with an older state than before, as after a restore of etcd: everything is read again"
    );
}

/// Reports what the definitions of the kinds have.
pub fn kinds(fit: &Fit) {
    match fit {
        Fit::Whole => tracing::info!("the kinds have every field that this release knows"),
        Fit::Older { message, .. } => tracing::warn!(message, "nothing is done"),
        Fit::Hidden(message) => tracing::warn!(
            message,
            "cannot tell whether the kinds have every field that this release knows; allow the operator to get the customresourcedefinitions tenantdatabases, tenantschemas and schemabackups of edumatrixhub.io"
        ),
    }
}

/// Reports that the look failed.
pub fn kinds_unknown(error: &kubernetes::Error) {
    tracing::debug!(%error, "cannot look at the definitions of the kinds");
}

/// Reports what a watch left out.
pub fn skipped(kind: &str, names: &[(String, String)]) {
    let first = names.first().map(|(namespace, name)| format!("{namespace}/{name}"));
    tracing::warn!(kind, count = names.len(), first, "a watch left objects out: everything is read again");
}

/// Reports a comparison that failed.
pub fn not_compared(kind: &str, error: &kubernetes::Error) {
    tracing::debug!(kind, %error, "cannot compare what is there with what the watch told");
}

/// Publishes the Event of an object that cannot be read.
pub async fn stalled<K: Resource<DynamicType = ()>>(events: &Events, object: &ObjectMeta, message: &str) {
    let regarding = ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: object.name.clone(),
        namespace: object.namespace.clone(),
        uid: object.uid.clone(),
        resource_version: object.resource_version.clone(),
        ..ObjectReference::default()
    };
    events.publish(&regarding, true, EventReason::Stalled.as_str(), message).await;
}

/// What ties the log lines of one change together: the object's UID and generation.
fn trace_id(object: &impl ResourceExt) -> String {
    let uid = object.uid().unwrap_or_default();
    format!("{}-{}", uid.split('-').next().unwrap_or_default(), object.meta().generation.unwrap_or_default())
}
