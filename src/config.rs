//! What a person types ([`Args`]) and what the operator needs ([`Config`]), with one conversion between them.

use std::{fmt::Write, net::SocketAddr, path::PathBuf};

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::{ident::Ident, telemetry::logs::LogFormat};

/// Namespace of the operator when neither a flag nor the pod says.
const DEFAULT_NAMESPACE: &str = "tenant-schema-system";
/// Where a pod finds its own namespace.
const POD_NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Turns TenantSchema objects into isolated PostgreSQL schemas and keeps them right.
#[derive(Debug, Parser)]
#[command(name = "tenant-schema-operator", version, about)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator until it is told to stop (SIGTERM).
    Run(RunArgs),
    /// Print the definitions of the kinds, for `kubectl apply -f -`.
    Crds,
    /// Print the management functions as one transaction of plain SQL, for `psql`.
    Sql(SqlArgs),
    /// Say whether the operator can be uninstalled: fail while objects need it in order to go.
    UninstallCheck(UninstallCheckArgs),
    /// Say what would be done for the manifests in files, against the cluster and its databases; nothing is changed. The exit
    /// code is 0 when nothing is to be done, 1 for changes, 3 when something is refused, 4 when the API server or a
    /// database could not be asked, and 2 for wrong usage.
    Plan(PlanArgs),
    /// Connect to the database of a TenantDatabase as the operator does, and say what is there or why not.
    CheckConnection(CheckArgs),
    /// Prepare tenants for being deleted with their schemas left as they are: deletionPolicy becomes Retain.
    Release(ReleaseArgs),
    /// Print the completions of a shell, for its startup file.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the man pages of all commands into a folder.
    Man {
        /// An existing folder, such as /usr/local/share/man/man1.
        folder: PathBuf,
    },
    /// Print the version.
    Version,
}

/// Flags of `sql`.
#[derive(Debug, ClapArgs)]
pub struct SqlArgs {
    /// The role that will own registry and functions.
    #[arg(long, default_value = "edu_matrix_owner")]
    pub owner_role: Ident,
}

/// Flags of `plan`.
#[derive(Debug, ClapArgs)]
pub struct PlanArgs {
    /// Files of manifests, or folders of .yaml, .yml and .json files; - for standard input.
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The operator's namespace, where the Secrets of databases are.
    #[arg(long, env = "TSO_NAMESPACE", default_value = DEFAULT_NAMESPACE)]
    pub namespace: String,
}

/// Flags of `check-connection`.
#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    /// The TenantDatabase.
    pub database: String,
    /// The operator's namespace, where the Secrets of databases are.
    #[arg(long, env = "TSO_NAMESPACE", default_value = DEFAULT_NAMESPACE)]
    pub namespace: String,
}

/// Flags of `release`.
#[derive(Debug, ClapArgs)]
pub struct ReleaseArgs {
    /// All tenants of the selection. There is no other way yet; it must be said.
    #[arg(long, required = true)]
    pub all: bool,
    /// Which objects it works for.
    #[command(flatten)]
    pub selection: Selection,
}

/// Flags of `uninstall-check`.
#[derive(Debug, ClapArgs)]
pub struct UninstallCheckArgs {
    /// The policy, and its binding of the same name, by which the API server gives new tenants the finalizer. When nothing else stands
    /// in the way it is deleted, and the check looks again: a tenant that it gave the finalizer meanwhile could never go.
    #[arg(long)]
    pub finalizer_policy: Option<String>,
    /// Which objects the operator works for.
    #[command(flatten)]
    pub selection: Selection,
}

/// Which objects an operator works for.
#[derive(Clone, Debug, ClapArgs)]
pub struct Selection {
    /// Work only for tenants in these namespaces, separated by commas. Default: all.
    #[arg(long, env = "TSO_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Work only for objects whose labels match this selector, such as `team=a,tier!=test`: databases, tenants and
    /// backups. Two operators with selectors that exclude each other share a cluster.
    #[arg(long, env = "TSO_WATCH_SELECTOR")]
    pub watch_selector: Option<String>,
}

impl Selection {
    /// The flags with which kubectl finds the same objects: one entry for each command that it takes.
    #[must_use]
    pub fn for_kubectl(&self) -> Vec<String> {
        let which = self.watch_selector.as_ref().map_or_else(|| "--all".to_owned(), |labels| format!("-l '{labels}'"));
        if self.watch_namespaces.is_empty() {
            return vec![format!("--all-namespaces {which}")];
        }
        self.watch_namespaces.iter().map(|namespace| format!("-n {namespace} {which}")).collect()
    }

    /// The flags with which a command of this program finds the same objects, each after a space.
    #[must_use]
    pub fn for_commands(&self) -> String {
        let mut flags = String::new();
        if !self.watch_namespaces.is_empty() {
            let _ = write!(flags, " --watch-namespaces {}", self.watch_namespaces.join(","));
        }
        if let Some(labels) = &self.watch_selector {
            let _ = write!(flags, " --watch-selector '{labels}'");
        }
        flags
    }

    /// What it takes, as it follows the name of a kind.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut words = String::new();
        if !self.watch_namespaces.is_empty() {
            let _ = write!(words, " of {}", self.watch_namespaces.join(", "));
        }
        if let Some(labels) = &self.watch_selector {
            let _ = write!(words, " with {labels}");
        }
        words
    }
}

/// Flags of `run`; each has an environment variable.
#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    /// The operator's own namespace: its Leases and the Secrets of databases are there. Default: the pod's, else
    /// tenant-schema-system.
    #[arg(long, env = "TSO_NAMESPACE")]
    pub namespace: Option<String>,
    /// Which objects it works for.
    #[command(flatten)]
    pub selection: Selection,
    /// How many objects of one kind are worked on at once.
    #[arg(long, env = "TSO_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// Where /metrics, /livez and /readyz are served.
    #[arg(long, env = "TSO_HTTP_ADDR", default_value = "0.0.0.0:8080")]
    pub http_addr: SocketAddr,
    /// Whether each tenant has metrics of its own; turn it off for fleets that are too large for your Prometheus.
    #[arg(long, env = "TSO_TENANT_METRICS", default_value_t = true, action = clap::ArgAction::Set)]
    pub tenant_metrics: bool,
    /// The folder below which archives may be kept in files (`backupStore.url: file:///…`). Default: none may.
    #[arg(long, env = "TSO_FILE_STORE_ROOT")]
    pub file_store_root: Option<PathBuf>,
    /// The form of log lines.
    #[arg(long, env = "TSO_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Level or filter, such as `info` or `info,tenant_schema_operator=debug`.
    #[arg(long, env = "TSO_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

/// What the operator runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The operator's own namespace.
    pub namespace: String,
    /// The namespaces it works for; empty means all.
    pub watch_namespaces: Vec<String>,
    /// The selector of the objects it works for, as the API takes it.
    pub watch_selector: Option<String>,
    /// Objects of one kind at once.
    pub concurrency: u16,
    /// Where it answers HTTP.
    pub http_addr: SocketAddr,
    /// Whether tenants have series of their own.
    pub tenant_metrics: bool,
    /// The folder below which stores in files are.
    pub file_store_root: Option<PathBuf>,
}

impl RunArgs {
    /// Completes the flags.
    #[must_use]
    pub fn into_config(self) -> Config {
        // Destructured without `..`, so that a flag that is not read does not compile.
        let Self {
            namespace,
            selection: Selection { watch_namespaces, watch_selector },
            concurrency,
            http_addr,
            tenant_metrics,
            file_store_root,
            log_format: _,
            log_level: _,
        } = self;
        Config {
            namespace: namespace.unwrap_or_else(own_namespace),
            watch_namespaces: watch_namespaces.into_iter().filter(|name| !name.is_empty()).collect(),
            watch_selector,
            concurrency,
            http_addr,
            tenant_metrics,
            file_store_root,
        }
    }
}

fn own_namespace() -> String {
    std::fs::read_to_string(POD_NAMESPACE_FILE)
        .map(|text| text.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(namespaces: &[&str], selector: Option<&str>, kubectl: &[&str], flags: &str) {
        let watch_namespaces = namespaces.iter().map(|&name| name.to_owned()).collect();
        let selection = Selection { watch_namespaces, watch_selector: selector.map(str::to_owned) };
        assert_eq!(selection.for_kubectl(), kubectl);
        assert_eq!(selection.for_commands(), flags);
    }

    #[test]
    fn commands_take_what_was_selected_and_nothing_else() {
        check(&[], None, &["--all-namespaces --all"], "");
        check(
            &["team-a", "team-b"],
            None,
            &["-n team-a --all", "-n team-b --all"],
            " --watch-namespaces team-a,team-b",
        );
        check(&[], Some("a=b,c"), &["--all-namespaces -l 'a=b,c'"], " --watch-selector 'a=b,c'");
        check(&["team-a"], Some("c"), &["-n team-a -l 'c'"], " --watch-namespaces team-a --watch-selector 'c'");
    }
}
