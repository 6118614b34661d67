//! The one reporter: logs, Events and metrics about outcomes are written here and nowhere else.

use std::{error::Error as StdError, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt};

use crate::{
    api::event::EventKind,
    context::{Failure, Next},
    jobs,
    kubernetes::events::Events,
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
    match result {
        Ok(next) => {
            metrics.reconciles.get_or_create(&ReconcileLabels { kind, outcome: next.outcome }).inc();
            if next.outcome == "changed" || !next.notices.is_empty() {
                tracing::info!(kind, namespace, name, trace, outcome = next.outcome, ?elapsed, "reconciled");
            } else {
                tracing::debug!(kind, namespace, name, trace, outcome = next.outcome, ?elapsed, "reconciled");
            }
            let regarding: ObjectReference = object.object_ref(&());
            for notice in &next.notices {
                let warning = notice.reason.kind() == EventKind::Warning;
                tracing::info!(kind, namespace, name, trace, reason = notice.reason.as_str(), message = notice.message);
                events.publish(&regarding, warning, notice.reason.as_str(), &notice.message).await;
            }
        }
        Err(error) => {
            let (category, stage) = (error.category(), error.stage());
            metrics.reconciles.get_or_create(&ReconcileLabels { kind, outcome: "error" }).inc();
            metrics.errors.get_or_create(&ErrorLabels { kind, category }).inc();
            tracing::warn!(
                kind,
                namespace,
                name,
                trace,
                stage,
                category,
                ?elapsed,
                error = chain(error),
                "reconcile failed"
            );
        }
    }
}

/// Reports one finished job.
pub fn job_finished(metrics: &Metrics, finished: &jobs::Finished) {
    let jobs::Finished { database, job, outcome, message } = finished;
    let labels = JobLabels { database: database.clone(), job: job.kind.clone(), outcome };
    metrics.jobs.get_or_create(&labels).inc();
    let schema = job.schema_name.as_deref().unwrap_or_default();
    if *outcome == "error" {
        tracing::warn!(database, schema, job = job.kind, id = %job.job_id, outcome, message, "job ended");
    } else {
        tracing::info!(database, schema, job = job.kind, id = %job.job_id, outcome, message, "job ended");
    }
}

/// An error with its causes on one line; our own errors never repeat their source.
#[must_use]
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
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
