//! What each subcommand does, with its errors told in one line.

use std::io::Write;

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    api,
    config::{RunArgs, Selection, SqlArgs},
    context::chain,
    controller,
    postgres::script,
    telemetry::logs,
};

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
pub async fn uninstall_check(selection: &Selection) -> Result<(), String> {
    let client = controller::client().await.map_err(|error| chain(&error))?;
    match controller::uninstall::obstacle(&client, selection).await.map_err(|error| chain(&error))? {
        Some(obstacle) => Err(obstacle),
        None => print("nothing needs the operator any more\n"),
    }
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
