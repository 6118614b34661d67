//! Setting up a `PostgreSQL` server's data directory and starting it, as an unprivileged user where
//! this process is root.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use super::discover::{Installation, provide};
use super::{PostgresInfo, PostgresOptions};
use crate::control_plane::is_port_clash;
use crate::error::{Error, FileContext};
use crate::paths::{give, make_dir, random_password, server_place, write_private};
use crate::pki::{CertificateAuthority, IssuedCertificate, ServerCertificate};
use crate::process::{Account, run, spawn_logged, still_running, unprivileged_account};
use crate::state::StateDir;
use crate::wait::{free_port, try_wait_until};

pub(super) const AUTHORITY: &str = "devcluster PostgreSQL";
const SUPERUSER: &str = "postgres";
const START_DEADLINE: Duration = Duration::from_mins(1);
const PORT_TRIES: usize = 5;
/// The settings of this crate, included by the server's own file so that they can be rewritten whole.
const CONF: &str = "devcluster.conf";

/// Makes a data directory, starts a server on it, and waits until it accepts connections.
pub(crate) fn launch(state: &StateDir, options: &PostgresOptions) -> Result<(PostgresInfo, Child), Error> {
    let account = unprivileged_account()?;
    let installation = provide(options.version, account)?;
    let mut info = lay_out(state, &installation, account)?;
    let authority = CertificateAuthority::new(AUTHORITY)?;
    authority.save(&info.pki_dir)?;
    init_data(&info, options.durable, account)?;
    let certificate = authority.server(&ServerCertificate::default())?;
    write_certificate(&info, &certificate, account)?;
    write_hba(&info, options, account)?;
    let child = start_on_free_port(state, &mut info, options, &[], account)?;
    Ok((info, child))
}

/// A started standby, with the settings that make it follow its primary.
pub(super) struct Standby {
    pub(super) info: PostgresInfo,
    pub(super) follow: Vec<(&'static str, String)>,
    pub(super) child: Child,
}

/// Makes a read-only standby of a running server and waits until it accepts connections.
pub(super) fn launch_standby(
    state: &StateDir,
    primary: &PostgresInfo,
    installation: &Installation,
    options: &PostgresOptions,
) -> Result<Standby, Error> {
    let account = unprivileged_account()?;
    let mut info = lay_out(state, installation, account)?;
    info.password.clone_from(&primary.password);
    for file in ["ca.crt", "ca.key"] {
        let (from, to) = (primary.pki_dir.join(file), info.pki_dir.join(file));
        fs::copy(&from, &to).file("copy", &from)?;
    }
    base_backup(primary, &info.data_dir, account)?;
    write_private(&info.data_dir.join("standby.signal"), "", account)?;
    let upstream = format!(
        "host={} port={} user={} password={} application_name=standby",
        primary.host, primary.port, primary.user, primary.password
    );
    let follow = vec![("primary_conninfo", upstream)];
    let child = start_on_free_port(state, &mut info, options, &follow, account)?;
    Ok(Standby { info, follow, child })
}

/// Copies a running server's data directory; the copy has everything that is committed when this returns.
pub(super) fn base_backup(server: &PostgresInfo, into: &Path, account: Option<Account>) -> Result<(), Error> {
    let mut command = as_account(&server.tool("pg_basebackup")?, account, &server.socket_dir);
    command
        .args(["--checkpoint=fast", "--wal-method=stream", "--no-sync", "--no-password", "-D"])
        .arg(into)
        .envs(server.env());
    run(&mut command).map(drop)
}

fn lay_out(state: &StateDir, installation: &Installation, account: Option<Account>) -> Result<PostgresInfo, Error> {
    let (place, outside) = server_place(&state.data().join("postgres"), account)?;
    if outside {
        state.add_outside(&place)?;
    }
    let pki_dir = state.data().join("postgres-pki");
    make_dir(&pki_dir, 0o755)?;
    Ok(PostgresInfo {
        host: "127.0.0.1".to_owned(),
        port: 0,
        user: SUPERUSER.to_owned(),
        password: random_password()?,
        ca_path: pki_dir.join("ca.crt"),
        pki_dir,
        data_dir: place.join("data"),
        socket_dir: place,
        bin_dir: installation.bin_dir.clone(),
        log: state.log("postgres"),
        version_num: installation.version_num(),
    })
}

/// A command that runs as the account, in a directory it can enter, and with messages in English,
/// which tests compare.
fn as_account(program: &Path, account: Option<Account>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).env("LC_ALL", "C").env("HOME", dir);
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

fn init_data(info: &PostgresInfo, durable: bool, account: Option<Account>) -> Result<(), Error> {
    let password_file = info.socket_dir.join("password");
    write_private(&password_file, &info.password, account)?;
    let mut command = as_account(&info.bin_dir.join("initdb"), account, &info.socket_dir);
    command
        .arg("-D")
        .arg(&info.data_dir)
        .args(["-U", SUPERUSER, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
        .arg(format!("--pwfile={}", password_file.display()));
    if !durable {
        command.arg("--no-sync");
    }
    run(&mut command)?;
    fs::remove_file(&password_file).file("remove", &password_file)?;
    let conf = info.data_dir.join("postgresql.conf");
    let mut text = fs::read_to_string(&conf).file("read", &conf)?;
    text.push_str("\ninclude = '");
    text.push_str(CONF);
    text.push_str("'\n");
    write_private(&conf, &text, account)
}

/// Puts a certificate where the server reads it when it starts or reloads.
pub(super) fn write_certificate(
    info: &PostgresInfo,
    issued: &IssuedCertificate,
    account: Option<Account>,
) -> Result<(), Error> {
    write_private(&info.data_dir.join("server.key"), &issued.key, account)?;
    write_private(&info.data_dir.join("server.crt"), &issued.certificate, account)
}

fn write_hba(info: &PostgresInfo, options: &PostgresOptions, account: Option<Account>) -> Result<(), Error> {
    let mut text = String::new();
    for line in &options.hba {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(
        "local all all scram-sha-256\n\
         host all all 127.0.0.1/32 scram-sha-256\n\
         host replication all 127.0.0.1/32 scram-sha-256\n",
    );
    write_private(&info.data_dir.join("pg_hba.conf"), &text, account)
}

/// The text of the settings file.
fn conf_text(info: &PostgresInfo, options: &PostgresOptions, more: &[(&str, String)]) -> String {
    let sync = if options.durable { "on" } else { "off" };
    let mut settings: Vec<(&str, String)> = vec![
        ("listen_addresses", info.host.clone()),
        ("port", info.port.to_string()),
        ("unix_socket_directories", info.socket_dir.display().to_string()),
        ("max_connections", options.max_connections.to_string()),
        // For tests of what a transaction that was prepared and forgotten holds up.
        ("max_prepared_transactions", "8".to_owned()),
        ("shared_buffers", "64MB".to_owned()),
        ("fsync", sync.to_owned()),
        ("synchronous_commit", sync.to_owned()),
        ("full_page_writes", sync.to_owned()),
        ("ssl", "on".to_owned()),
        ("ssl_cert_file", "server.crt".to_owned()),
        ("ssl_key_file", "server.key".to_owned()),
        ("password_encryption", "scram-sha-256".to_owned()),
        ("wal_level", "replica".to_owned()),
        ("max_wal_senders", "10".to_owned()),
        // A standby can fall behind for a moment without losing its place.
        ("wal_keep_size", "64MB".to_owned()),
        // Segments in the data directory go with it, even after a kill.
        ("dynamic_shared_memory_type", "mmap".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_line_prefix", "%m [%p] %q%u@%d ".to_owned()),
    ];
    settings.extend(more.iter().cloned());
    settings.extend(options.settings.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let mut text = String::new();
    for (name, value) in settings {
        text.push_str(name);
        text.push_str(" = '");
        text.push_str(&value.replace('\'', "''"));
        text.push_str("'\n");
    }
    text
}

/// Writes the settings file, which the server reads when it starts or reloads.
pub(super) fn write_conf(
    info: &PostgresInfo,
    options: &PostgresOptions,
    more: &[(&str, String)],
    account: Option<Account>,
) -> Result<(), Error> {
    write_private(&info.data_dir.join(CONF), &conf_text(info, options, more), account)
}

fn start_on_free_port(
    state: &StateDir,
    info: &mut PostgresInfo,
    options: &PostgresOptions,
    more: &[(&str, String)],
    account: Option<Account>,
) -> Result<Child, Error> {
    let mut tries = PORT_TRIES;
    loop {
        tries -= 1;
        info.port = free_port()?;
        write_conf(info, options, more, account)?;
        match start_server(state, info, account) {
            Err(error) if tries > 0 && is_port_clash(&error) => {}
            other => return other,
        }
    }
}

/// Starts the server on its data directory and waits until it accepts connections.
pub(super) fn start_server(state: &StateDir, info: &PostgresInfo, account: Option<Account>) -> Result<Child, Error> {
    let mut command = as_account(&info.bin_dir.join("postgres"), account, &info.socket_dir);
    command.arg("-D").arg(&info.data_dir);
    give(&info.socket_dir, account)?;
    let mut child = spawn_logged(&mut command, &info.log)?;
    // SIGQUIT is the immediate shutdown: nothing in the data directory has to survive it.
    state.record("postgres", &child, "QUIT")?;
    try_wait_until(START_DEADLINE, "PostgreSQL to accept connections", || {
        still_running(&mut child, "postgres", &info.log)?;
        Ok(accepts_connections(info, child.id()))
    })?;
    Ok(child)
}

/// Whether the server with this pid says in its pid file that it accepts connections. Asking the
/// file rather than the port leaves no doubt about whose server answers.
pub(crate) fn accepts_connections(info: &PostgresInfo, pid: u32) -> bool {
    fs::read_to_string(info.data_dir.join("postmaster.pid")).is_ok_and(|text| says_ready(&text, pid))
}

fn says_ready(pid_file: &str, pid: u32) -> bool {
    let mut lines = pid_file.lines();
    lines.next().is_some_and(|line| line.trim() == pid.to_string())
        && lines.nth(6).is_some_and(|line| line.trim() == "ready")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn the_pid_file_says_when_the_server_is_ready() {
        let text = |state: &str| format!("42\n/data\n1700000000\n5432\n/sock\n127.0.0.1\n 1 2\n{state}\n");
        assert!(says_ready(&text("ready   "), 42));
        assert!(!says_ready(&text("ready   "), 43), "another server's file");
        assert!(!says_ready(&text("starting"), 42));
        assert!(!says_ready(&text("standby "), 42), "a standby that is not open for reading yet");
    }

    #[test]
    fn settings_are_quoted_and_the_callers_come_last() {
        let info = PostgresInfo {
            host: "127.0.0.1".to_owned(),
            port: 5433,
            user: SUPERUSER.to_owned(),
            password: String::new(),
            ca_path: PathBuf::new(),
            pki_dir: PathBuf::new(),
            socket_dir: PathBuf::from("/it's"),
            data_dir: PathBuf::new(),
            bin_dir: PathBuf::new(),
            log: PathBuf::new(),
            version_num: 150_018,
        };
        let options =
            PostgresOptions { settings: vec![("fsync".to_owned(), "on".to_owned())], ..PostgresOptions::default() };
        let text = conf_text(&info, &options, &[]);
        assert!(text.contains("unix_socket_directories = '/it''s'\n"), "{text}");
        assert!(text.ends_with("fsync = 'on'\n"), "{text}");
    }
}
