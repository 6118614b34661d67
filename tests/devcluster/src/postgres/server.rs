//! A `PostgreSQL` server of one's own, to stop, kill, restart, reconfigure and copy at will.

use std::process::Child;
use std::time::Duration;

use rustix::process::Signal;

use super::discover::Installation;
use super::launch::{AUTHORITY, launch, launch_standby, start_server, write_certificate, write_conf};
use super::{PostgresInfo, PostgresOptions};
use crate::error::Error;
use crate::pki::{CertificateAuthority, IssuedCertificate};
use crate::private::Private;
use crate::process::{ProcessId, unprivileged_account};
use crate::wait::wait_until;

const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Sessions are ended and everything is written: SIGINT.
    Fast,
    /// At once, as if it had crashed, but leaving nothing running: SIGQUIT.
    Immediate,
    /// With SIGKILL, as the kernel does when memory runs out.
    Kill,
}

/// A server of one's own, ended when it is dropped or when this process ends in any way.
#[derive(Debug)]
pub struct PostgresServer {
    pub(super) info: PostgresInfo,
    options: PostgresOptions,
    follow: Vec<(&'static str, String)>,
    child: Option<Child>,
    private: Private,
}

impl PostgresServer {
    /// Starts one and waits until it accepts connections.
    pub fn start(options: PostgresOptions) -> Result<Self, Error> {
        let private = Private::new()?;
        let (info, child) = launch(&private.state, &options)?;
        Ok(Self { info, options, follow: Vec::new(), child: Some(child), private })
    }

    /// Starts a read-only standby that follows this server; it needs `pg_basebackup`.
    pub fn standby(&self) -> Result<Self, Error> {
        let private = Private::new()?;
        let installation = Installation::of(&self.info);
        let started = launch_standby(&private.state, &self.info, &installation, &self.options)?;
        Ok(Self {
            info: started.info,
            options: self.options.clone(),
            follow: started.follow,
            child: Some(started.child),
            private,
        })
    }

    /// How to reach it.
    #[must_use]
    pub fn info(&self) -> &PostgresInfo {
        &self.info
    }

    /// Stops the server and waits until it has ended; nothing happens if it has already.
    pub fn stop(&mut self, mode: StopMode) -> Result<(), Error> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let signal = match mode {
            StopMode::Fast => Signal::INT,
            StopMode::Immediate => Signal::QUIT,
            StopMode::Kill => Signal::KILL,
        };
        signal_child(child.id(), signal);
        let ended = wait_until(STOP_DEADLINE, "PostgreSQL to stop", || !matches!(child.try_wait(), Ok(None)));
        if ended.is_err() {
            self.child = Some(child);
        }
        ended
    }

    /// Starts the server again after [`stop`](Self::stop), on the same port and data.
    pub fn start_again(&mut self) -> Result<(), Error> {
        if self.child.is_none() {
            let account = unprivileged_account()?;
            self.child = Some(start_server(&self.private.state, &self.info, account)?);
        }
        Ok(())
    }

    /// Stops the server in this mode and starts it again.
    pub fn restart(&mut self, mode: StopMode) -> Result<(), Error> {
        self.stop(mode)?;
        self.start_again()
    }

    /// Changes a setting in the server's file and has it read; some settings need a
    /// [`restart`](Self::restart) to take effect.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        self.options.settings.retain(|(known, _)| known != name);
        self.options.settings.push((name.to_owned(), value.to_owned()));
        write_conf(&self.info, &self.options, &self.follow, unprivileged_account()?)?;
        self.reload();
        Ok(())
    }

    /// Has the server read its files again; new connections see the difference a moment later.
    pub fn reload(&self) {
        if let Some(child) = &self.child {
            signal_child(child.id(), Signal::HUP);
        }
    }

    /// The authority that signed the server's certificate, to sign others.
    pub fn authority(&self) -> Result<CertificateAuthority, Error> {
        CertificateAuthority::load(&self.info.pki_dir, AUTHORITY)
    }

    /// Has the server use another certificate for connections made from now on.
    pub fn use_certificate(&self, certificate: &IssuedCertificate) -> Result<(), Error> {
        write_certificate(&self.info, certificate, unprivileged_account()?)?;
        self.reload();
        Ok(())
    }
}

fn signal_child(pid: u32, signal: Signal) {
    // A child that was not waited for keeps its pid, so this cannot be another process's.
    if let Some(process) = ProcessId::of(pid) {
        process.signal(signal);
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Err(error) = self.stop(StopMode::Immediate) {
            eprintln!("devcluster: {error}");
        }
    }
}
