//! The operator's command line: parse, configure, run.

use std::process::ExitCode;

use clap::Parser;
use tenant_schema_operator::{
    command,
    config::{Args, Command},
};

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Run(args) => command::run(args).await,
        Command::Crds => command::crds(),
        Command::Sql(args) => command::sql(&args),
        Command::UninstallCheck(selection) => command::uninstall_check(&selection).await,
        Command::Version => command::version(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
