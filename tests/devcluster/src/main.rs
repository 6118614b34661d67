//! The `devcluster` command: a development cluster on loopback, up and down, or around one command.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use devcluster::{
    Cluster, ClusterInfo, ClusterOptions, ControlPlaneOptions, Error, Lifetime, PostgresOptions, PostgresVersion,
    target_dir,
};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A real Kubernetes control plane and a real `PostgreSQL` on loopback.
#[derive(Debug, Parser)]
#[command(name = "devcluster", version)]
struct Cli {
    /// The cluster's state directory [default: target/devcluster]
    #[arg(long, global = true, env = "DEVCLUSTER_DIR", hide_env_values = true)]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Bring the cluster up, unless it is up
    Up(UpArgs),
    /// End the cluster and remove its data
    Down,
    /// Show every process of the cluster
    Status,
    /// Print shell exports for kubectl, psql and the tests
    Env,
    /// Run a command with the cluster up and its environment set
    Exec(ExecArgs),
}

#[derive(Debug, Args)]
struct UpArgs {
    /// The `PostgreSQL` major version, or `newest` for the newest installed
    #[arg(long, default_value_t)]
    postgres: PostgresVersion,
    /// Wait for the disk, as in production
    #[arg(long)]
    durable: bool,
    /// A `PostgreSQL` setting, as NAME=VALUE; can be given several times
    #[arg(short = 'c', value_name = "NAME=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, String)>,
}

#[derive(Debug, Args)]
struct ExecArgs {
    #[command(flatten)]
    up: UpArgs,
    /// Leave the cluster up afterwards
    #[arg(long)]
    keep: bool,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl UpArgs {
    fn options(&self) -> ClusterOptions {
        ClusterOptions {
            control_plane: ControlPlaneOptions { durable: self.durable, ..ControlPlaneOptions::default() },
            postgres: PostgresOptions {
                version: self.postgres,
                durable: self.durable,
                settings: self.settings.clone(),
                ..PostgresOptions::default()
            },
        }
    }
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "give NAME=VALUE".to_owned())
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let dir = cli.dir.unwrap_or_else(|| target_dir().join("devcluster"));
    let cluster = Cluster::at(&dir);
    let outcome = match cli.action {
        Action::Up(args) => up(&cluster, &args),
        Action::Down => down(&cluster),
        Action::Status => Ok(status(&cluster)),
        Action::Env => env(&cluster),
        Action::Exec(args) => exec(&cluster, &args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("devcluster: {error}");
        ExitCode::FAILURE
    })
}

fn up(cluster: &Cluster, args: &UpArgs) -> Result<ExitCode, Error> {
    let (info, was_up) = cluster.up(&args.options(), Lifetime::UntilDown)?;
    announce(&info, was_up);
    eprintln!("devcluster: `devcluster env` prints how to reach it, `devcluster down` ends it");
    Ok(ExitCode::SUCCESS)
}

fn announce(info: &ClusterInfo, was_up: bool) {
    let how = if was_up {
        "was up".to_owned()
    } else {
        let tenths = info.start_millis / 100;
        format!("came up in {}.{} s", tenths / 10, tenths % 10)
    };
    eprintln!(
        "devcluster: {how} in {}: Kubernetes at {}, PostgreSQL {} at {}:{}",
        info.dir.display(),
        info.control_plane.url,
        info.postgres.major(),
        info.postgres.host,
        info.postgres.port
    );
}

fn down(cluster: &Cluster) -> Result<ExitCode, Error> {
    let ended = cluster.down()?;
    let what = if ended { "ended" } else { "was not up" };
    eprintln!("devcluster: {what} in {}", cluster.dir().display());
    Ok(ExitCode::SUCCESS)
}

fn status(cluster: &Cluster) -> ExitCode {
    let members = cluster.status();
    if members.is_empty() {
        println!("not up in {}", cluster.dir().display());
        if let Some(reason) = cluster.last_words() {
            println!("{reason}");
        }
        return ExitCode::FAILURE;
    }
    println!("{:<26}{:>10}{:>8}  STATE", "MEMBER", "PID", "PORT");
    for one in &members {
        let port = one.port.map_or_else(|| "-".to_owned(), |port| port.to_string());
        let state = match (one.ready, one.member.process.is_alive()) {
            (true, _) => "ready",
            (false, true) => "not ready",
            (false, false) => "dead",
        };
        println!("{:<26}{:>10}{port:>8}  {state}", one.member.name, one.member.process.pid);
    }
    if members.iter().all(|one| one.ready) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn env(cluster: &Cluster) -> Result<ExitCode, Error> {
    for (name, value) in cluster.info()?.env() {
        println!("export {name}='{}'", value.replace('\'', r"'\''"));
    }
    Ok(ExitCode::SUCCESS)
}

fn exec(cluster: &Cluster, args: &ExecArgs) -> Result<ExitCode, Error> {
    let lifetime = if args.keep { Lifetime::UntilDown } else { Lifetime::WhileUsed(Duration::ZERO) };
    let (info, was_up) = cluster.up(&args.up.options(), lifetime)?;
    announce(&info, was_up);
    let status = run_with_signals(&info, &args.command);
    // A cluster that was up without being held has other users, and ends with the last of them.
    if !was_up && !cluster.is_held() {
        cluster.down()?;
    }
    status.map(exit_code)
}

/// Runs the command while this process stays alive so that the cluster does: an interrupt from
/// the terminal reaches the command by itself, and other requests to end are passed on to it.
fn run_with_signals(info: &ClusterInfo, words: &[OsString]) -> Result<ExitStatus, Error> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Error::Option {
            option: "the command",
            value: String::new(),
            remedy: "name one after `--`".to_owned(),
        });
    };
    let failed = |source| Error::Spawn { program: program.to_string_lossy().into_owned(), source };
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
    let mut child = Command::new(program).args(arguments).envs(info.env()).spawn().map_err(failed)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let passed_on = match signal {
                SIGTERM => Signal::TERM,
                SIGHUP => Signal::HUP,
                _ => continue,
            };
            if let Some(pid) = pid {
                // It may have ended just now, in which case there is no process left to tell.
                let _ = kill_process(pid, passed_on);
            }
        }
    });
    child.wait().map_err(failed)
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
