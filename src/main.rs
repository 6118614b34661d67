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
        Command::UninstallCheck(args) => command::uninstall_check(&args).await,
        Command::Plan(args) => return told(command::plan(&args).await),
        Command::CheckConnection(args) => command::check_connection(&args).await,
        Command::Release(args) => command::release(&args).await,
        Command::Completion { shell } => command::completion(shell),
        Command::Man { folder } => command::man(&folder),
        Command::Version => command::version(),
    };
    told(result.map(|()| ExitCode::SUCCESS))
}

fn told(result: Result<ExitCode, String>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
