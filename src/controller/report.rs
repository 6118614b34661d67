//! The one reporter: logs, Events and metrics about outcomes are written here and nowhere else.

use std::{error::Error as StdError, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt, runtime::controller::Error as QueueError};

use crate::{
    api::event::EventKind,
    context::{Failure, Next, chain},
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
    let kind = kind_word(&K::kind(&()));
    let name = object.name_any();
    let namespace = object.namespace().unwrap_or_default();
    let trace = trace_id(object);
    metrics.reconcile_duration.get_or_create(&KindLabels { kind }).observe(elapsed.as_secs_f64());
    let failure: Option<&dyn Failure> = match result {
        Ok(next) => next.failure.as_deref(),
        Err(error) => Some(error),
    };
    let outcome = result.as_ref().map_or("error", |next| next.outcome);
    metrics.reconciles.get_or_create(&ReconcileLabels { kind, outcome }).inc();
    if let Some(failure) = failure {
        let (category, stage) = (failure.category(), failure.stage());
        metrics.errors.get_or_create(&ErrorLabels { kind, category }).inc();
        tracing::warn!(
            kind,
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
        tracing::info!(kind, namespace, name, trace, outcome, ?elapsed, "reconciled");
    } else {
        tracing::debug!(kind, namespace, name, trace, outcome, ?elapsed, "reconciled");
    }
    let regarding: ObjectReference = object.object_ref(&());
    for notice in result.iter().flat_map(|next| &next.notices) {
        let warning = notice.reason.kind() == EventKind::Warning;
        tracing::info!(kind, namespace, name, trace, reason = notice.reason.as_str(), message = notice.message);
        events.publish(&regarding, warning, notice.reason.as_str(), &notice.message).await;
    }
}

/// Reports what the queue has to say. Outcomes were reported where they came about; what is left are objects that went
/// meanwhile and watches that are joined again.
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
    let labels = JobLabels { database: database.clone(), kind: job.kind.clone(), outcome };
    metrics.jobs.get_or_create(&labels).inc();
    let schema = job.schema_name.as_deref().unwrap_or_default();
    if *outcome == "error" {
        tracing::warn!(database, schema, job = job.kind, id = %job.job_id, outcome, message, "job ended");
    } else {
        tracing::info!(database, schema, job = job.kind, id = %job.job_id, outcome, message, "job ended");
    }
}

/// Reports what was found out of view at the start. Where that may not be asked, nothing is said.
pub fn outside(found: Result<Option<String>, kubernetes::Error>) {
    match found {
        Ok(Some(text)) => tracing::warn!("{text}"),
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "what is out of view is not known"),
    }
}

/// What ties the log lines of one change together: the object's UID and generation.
fn trace_id(object: &impl ResourceExt) -> String {
    let uid = object.uid().unwrap_or_default();
    format!("{}-{}", uid.split('-').next().unwrap_or_default(), object.meta().generation.unwrap_or_default())
}

fn kind_word(kind: &str) -> &'static str {
    match kind {
        "TenantDatabase" => "TenantDatabase",
        "TenantSchema" => "TenantSchema",
        _ => "SchemaBackup",
    }
}
