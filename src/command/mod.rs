//! What each subcommand does, with its errors told in one line.

mod check;
mod plan;
mod release;
mod uninstall;

use std::{io::Write, path::Path, process::ExitCode};

use clap::CommandFactory;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    api,
    config::{Args, CheckArgs, PlanArgs, ReleaseArgs, RunArgs, SqlArgs, UninstallCheckArgs},
    controller,
    frame::chain,
    postgres::script,
    telemetry::logs,
};

use check::check_connection as check_connection_of;
use plan::{Outcome, Preview, preview};

/// The program, as a user types it.
const NAME: &str = "tenant-schema-operator";

/// `run`.
pub async fn run(args: RunArgs) -> Result<(), String> {
    logs::init(args.log_format, &args.log_level).map_err(|error| chain(&error))?;
    let config = args.into_config();
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| format!("cannot wait for SIGTERM: {error}"))?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("told to stop");
    };
    let client = controller::client().await.map_err(|error| chain(&error))?;
    controller::run(client, config, identity(), shutdown).await.map_err(|error| chain(&error))
}

/// `crds`.
pub fn crds() -> Result<(), String> {
    print(&api::crds_yaml().map_err(|error| chain(&error))?)
}

/// `sql`.
pub fn sql(args: &SqlArgs) -> Result<(), String> {
    print(&script::script(&args.owner_role, script::Form::Printed))
}

/// `uninstall-check`.
pub async fn uninstall_check(args: &UninstallCheckArgs) -> Result<(), String> {
    let client = controller::client().await.map_err(|error| chain(&error))?;
    let policy = args.finalizer_policy.as_deref();
    match uninstall::check(&client, &args.selection, policy).await.map_err(|error| chain(&error))? {
        Some(obstacle) => Err(obstacle),
        None => print("nothing needs the operator any more\n"),
    }
}

/// `plan`. The exit code tells a pipeline what it would come to.
pub async fn plan(args: &PlanArgs) -> Result<ExitCode, String> {
    let preview = match controller::client().await {
        Ok(client) => preview(&client, &args.files, &args.namespace).await,
        Err(error) => Preview { text: format!("{}\n", chain(&error)), outcome: Outcome::Unasked },
    };
    print(&preview.text)?;
    Ok(ExitCode::from(match preview.outcome {
        Outcome::Nothing => 0,
        Outcome::Changes => 1,
        Outcome::Refused => 3,
        Outcome::Unasked => 4,
    }))
}

/// `check-connection`.
pub async fn check_connection(args: &CheckArgs) -> Result<(), String> {
    let client = controller::client().await.map_err(|error| chain(&error))?;
    let checked = check_connection_of(&client, &args.database, &args.namespace).await;
    print(&checked.map_err(|error| chain(&error))?)
}

/// `release`.
pub async fn release(args: &ReleaseArgs) -> Result<(), String> {
    let client = controller::client().await.map_err(|error| chain(&error))?;
    print(&release::release_all(&client, &args.selection).await.map_err(|error| chain(&error))??)
}

/// `completion`.
pub fn completion(shell: clap_complete::Shell) -> Result<(), String> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), NAME, &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// `man`.
pub fn man(folder: &Path) -> Result<(), String> {
    let failed = |error| format!("cannot write man pages into {}: {error}", folder.display());
    clap_mangen::generate_to(Args::command().name(NAME), folder).map_err(failed)
}

/// `version`.
pub fn version() -> Result<(), String> {
    print(&format!("tenant-schema-operator {}\n", env!("CARGO_PKG_VERSION")))
}

/// This replica: the pod's name where there is one, and something that no other process has.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "operator".to_owned());
    let unique = uuid::Uuid::new_v4().simple().to_string();
    format!("{host}-{}", &unique[..8])
}

fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| format!("cannot write: {error}"))
}
