//! etcd, as one member on loopback.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use super::{PORT_TRIES, START_DEADLINE, is_port_clash};
use crate::error::Error;
use crate::process::{spawn_logged, still_running};
use crate::state::StateDir;
use crate::wait::{free_port, try_wait_until};

/// A running etcd.
#[derive(Debug)]
pub(super) struct Etcd {
    /// Where clients reach it.
    pub(super) port: u16,
    peer_port: u16,
    durable: bool,
    pub(super) child: Child,
}

impl Etcd {
    /// Starts one on free ports, on the data that is there or on none.
    pub(super) fn start(state: &StateDir, bin: &Path, durable: bool) -> Result<Self, Error> {
        let mut tries = PORT_TRIES;
        loop {
            tries -= 1;
            let (port, peer_port) = (free_port()?, free_port()?);
            match spawn(state, bin, durable, (port, peer_port)) {
                Ok(child) => return Ok(Self { port, peer_port, durable, child }),
                Err(error) if tries == 0 || !is_port_clash(&error) => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Starts it again on the same ports after it was ended.
    pub(super) fn start_again(&mut self, state: &StateDir, bin: &Path) -> Result<(), Error> {
        self.child = spawn(state, bin, self.durable, (self.port, self.peer_port))?;
        Ok(())
    }
}

fn spawn(state: &StateDir, bin: &Path, durable: bool, (client, peer): (u16, u16)) -> Result<Child, Error> {
    let log = state.log("etcd");
    // What an etcd of before said about the same port is above this in the log.
    let before = fs::metadata(&log).map_or(0, |log| usize::try_from(log.len()).unwrap_or_default());
    let mut command = Command::new(bin.join("etcd"));
    command
        .arg("--data-dir")
        .arg(state.data().join("etcd"))
        .arg(format!("--listen-client-urls=http://127.0.0.1:{client}"))
        .arg(format!("--advertise-client-urls=http://127.0.0.1:{client}"))
        .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"))
        .arg(format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"))
        .arg(format!("--initial-cluster=default=http://127.0.0.1:{peer}"))
        // The level at which it says what it serves, which is waited for below.
        .arg("--log-level=info");
    if !durable {
        command.arg("--unsafe-no-fsync");
    }
    let mut child = spawn_logged(&mut command, &log)?;
    state.record("etcd", &child, "KILL")?;
    let serving = format!("\"address\":\"127.0.0.1:{client}\"");
    try_wait_until(START_DEADLINE, "etcd to serve its client port", || {
        still_running(&mut child, "etcd", &log)?;
        // The port alone would not tell it from another etcd that took the port before.
        Ok(fs::read_to_string(&log).is_ok_and(|text| {
            let mut said = text.get(before..).unwrap_or_default().lines();
            said.any(|line| line.contains("serving client traffic") && line.contains(&serving))
        }))
    })?;
    Ok(child)
}
