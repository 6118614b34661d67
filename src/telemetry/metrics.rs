//! The numbers that `/metrics` shows, each with what it means. What is counted about outcomes is counted by
//! `controller/report.rs`; what is measured about calls is measured where the call is made.

use std::{borrow::Cow, sync::Mutex, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

/// Kind and outcome of a reconcile.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ReconcileLabels {
    /// As `kubectl get` has it, for instance `TenantSchema`.
    pub kind: Cow<'static, str>,
    /// `changed`, `unchanged`, `waiting`, `stalled`, `error`, or `standby` while another replica holds the lane.
    pub outcome: &'static str,
}

/// The kind of an object.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct KindLabels {
    /// As `kubectl get` has it, for instance `TenantSchema`.
    pub kind: Cow<'static, str>,
}

/// Kind and category of an error.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ErrorLabels {
    /// As `kubectl get` has it, for instance `TenantSchema`.
    pub kind: Cow<'static, str>,
    /// From the closed sets of the stages' errors.
    pub category: &'static str,
}

/// Kind and outcome of a job.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct JobLabels {
    /// The TenantDatabase.
    pub database: String,
    /// What the job did. Not called `job`, which is Prometheus' own label for where a series comes from.
    pub kind: String,
    /// `success`, `error`, `cancelled`, `retry` or `lost`.
    pub outcome: &'static str,
}

/// A TenantDatabase.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct DatabaseLabels {
    /// Its name.
    pub database: String,
}

/// A call of a management function.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CallLabels {
    /// The function.
    pub function: &'static str,
    /// `ok` or the category of the error.
    pub outcome: &'static str,
}

/// A management function.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct FunctionLabels {
    /// Its name.
    pub function: &'static str,
}

/// Every number of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Reconciles by kind and outcome.
    pub reconciles: Family<ReconcileLabels, Counter>,
    /// How long a reconcile took.
    pub reconcile_duration: Family<KindLabels, Histogram>,
    /// Errors by kind and category.
    pub errors: Family<ErrorLabels, Counter>,
    /// Finished jobs.
    pub jobs: Family<JobLabels, Counter>,
    /// How long the latest survey took.
    pub survey_duration: Family<DatabaseLabels, Gauge<f64, std::sync::atomic::AtomicU64>>,
    /// When the latest survey finished, in Unix time; its age is `time() -` this.
    pub survey_time: Family<DatabaseLabels, Gauge<f64, std::sync::atomic::AtomicU64>>,
    /// How often a survey is due, without which it cannot be told whether its age is too much.
    pub survey_period: Family<DatabaseLabels, Gauge<f64, std::sync::atomic::AtomicU64>>,
    /// Tenants whose figures are not exact.
    pub survey_stale: Family<DatabaseLabels, Gauge>,
    /// Tenants whose roles may do something beyond their schema.
    pub not_isolated: Family<DatabaseLabels, Gauge>,
    /// The storage of what is set aside, which nothing removes by itself.
    pub set_aside: Family<DatabaseLabels, Gauge>,
    /// Calls of management functions.
    pub calls: Family<CallLabels, Counter>,
    /// How long a call took, waiting for a connection included.
    pub call_duration: Family<FunctionLabels, Histogram>,
    /// How far the database server's clock is ahead of the API server's.
    pub clock_skew: Family<DatabaseLabels, Gauge<f64, std::sync::atomic::AtomicU64>>,
    /// 1 while another operator asks for the database.
    pub lane_contested: Family<DatabaseLabels, Gauge>,
    /// Objects that this release cannot read.
    pub unreadable: Family<KindLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, registered and at zero.
    #[must_use]
    pub fn new() -> Self {
        let seconds =
            || Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]);
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("tenant_schema_operator")),
            reconciles: Family::default(),
            reconcile_duration: Family::new_with_constructor(seconds),
            errors: Family::default(),
            jobs: Family::default(),
            survey_duration: Family::default(),
            survey_time: Family::default(),
            survey_period: Family::default(),
            survey_stale: Family::default(),
            not_isolated: Family::default(),
            set_aside: Family::default(),
            calls: Family::default(),
            call_duration: Family::new_with_constructor(seconds),
            clock_skew: Family::default(),
            lane_contested: Family::default(),
            unreadable: Family::default(),
        };
        metrics.with_registry(|r| {
            let m = &metrics;
            let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
            r.register("build", "The release of the operator; there while it runs", build);
            r.register("reconciles", "Reconciles by kind and outcome", m.reconciles.clone());
            r.register_with_unit(
                "reconcile_duration",
                "Duration of a reconcile",
                Unit::Seconds,
                m.reconcile_duration.clone(),
            );
            r.register("errors", "Errors by kind and category", m.errors.clone());
            r.register("jobs", "Finished jobs by kind and outcome", m.jobs.clone());
            r.register_with_unit(
                "survey_duration",
                "Duration of the latest survey",
                Unit::Seconds,
                m.survey_duration.clone(),
            );
            r.register_with_unit(
                "survey_completion_time",
                "Unix time of the latest survey",
                Unit::Seconds,
                m.survey_time.clone(),
            );
            r.register_with_unit("survey_period", "How often a survey is due", Unit::Seconds, m.survey_period.clone());
            r.register(
                "survey_stale_tenants",
                "Tenants whose size is not exact: a table is locked, or there are too many tables to measure",
                m.survey_stale.clone(),
            );
            r.register(
                "not_isolated_tenants",
                "Tenants whose roles may do something beyond their schema, of those that surveys looked at in turn",
                m.not_isolated.clone(),
            );
            r.register_with_unit(
                "set_aside_storage",
                "Storage of schemas of former tenants that are set aside",
                Unit::Bytes,
                m.set_aside.clone(),
            );
            r.register("sql_calls", "Calls of management functions by outcome", m.calls.clone());
            r.register_with_unit(
                "sql_call_duration",
                "Duration of a call, waiting for a connection included",
                Unit::Seconds,
                m.call_duration.clone(),
            );
            r.register_with_unit(
                "clock_skew",
                "How far the clock of the database server is ahead of the API server's",
                Unit::Seconds,
                m.clock_skew.clone(),
            );
            r.register(
                "lane_contested",
                "1 while another operator asks for the database that this replica works on",
                m.lane_contested.clone(),
            );
            r.register("unreadable_objects", "Objects that this release cannot read", m.unreadable.clone());
        });
        metrics
    }

    /// Adds numbers that are computed at a scrape.
    pub fn add_collector(&self, collector: Box<dyn Collector>) {
        self.with_registry(|registry| registry.register_collector(collector));
    }

    /// The text exposition format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        self.with_registry(|registry| encode(&mut text, registry).unwrap_or_default());
        text
    }

    /// Counts one call of a management function.
    pub fn called(&self, function: &'static str, outcome: &'static str, elapsed: Duration) {
        self.calls.get_or_create(&CallLabels { function, outcome }).inc();
        self.call_duration.get_or_create(&FunctionLabels { function }).observe(elapsed.as_secs_f64());
    }

    /// Shows the jobs of a database at zero: a counter that appears with its first failure has not risen for Prometheus.
    pub fn expect_jobs(&self, database: &str, ends: impl IntoIterator<Item = (String, &'static str)>) {
        for (kind, outcome) in ends {
            drop(self.jobs.get_or_create(&JobLabels { database: database.to_owned(), kind, outcome }));
        }
    }

    /// Forgets what was measured of a database.
    pub fn forget_database(&self, database: &str) {
        let labels = DatabaseLabels { database: database.to_owned() };
        for family in [&self.survey_duration, &self.survey_time, &self.survey_period, &self.clock_skew] {
            family.remove(&labels);
        }
        for family in [&self.survey_stale, &self.not_isolated, &self.set_aside, &self.lane_contested] {
            family.remove(&labels);
        }
    }

    fn with_registry<T>(&self, work: impl FnOnce(&mut Registry) -> T) -> T {
        // A panic while the registry was locked leaves it whole: registering and encoding only append.
        let mut registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&mut registry)
    }
}
