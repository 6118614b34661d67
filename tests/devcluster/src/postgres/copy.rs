//! What a server holds at one moment, to go back to.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::launch::base_backup;
use super::server::{PostgresServer, StopMode};
use crate::error::{Error, FileContext};
use crate::paths::{copy_dir, write_private};
use crate::process::unprivileged_account;
use crate::wait::wait_until;

const PROMOTION_DEADLINE: Duration = Duration::from_mins(1);

/// Tells apart the copies of one process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A copy of a server's data directory. It goes with the server that it was made of.
#[derive(Debug)]
pub struct PostgresCopy {
    dir: PathBuf,
}

impl PostgresServer {
    /// Copies the server while it runs; the copy has everything that was committed before this call.
    pub fn copy(&self) -> Result<PostgresCopy, Error> {
        let dir = self.info.socket_dir.join(format!("copy-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        base_backup(&self.info, &dir, unprivileged_account()?)?;
        Ok(PostgresCopy { dir })
    }

    /// Goes back to a copy, as a disk that is put back does: same port, same timeline. Everything that was committed since
    /// then never was.
    pub fn restore(&mut self, copy: &PostgresCopy) -> Result<(), Error> {
        self.put_back(copy)?;
        self.start_again()
    }

    /// Goes on from a copy, as a standby that had no more than it does when it is promoted: same port, a new timeline, and
    /// what was committed since then is lost.
    pub fn fail_over(&mut self, copy: &PostgresCopy) -> Result<(), Error> {
        self.put_back(copy)?;
        // Recovery that finds nothing to fetch ends as a promotion does.
        let data = &self.info.data_dir;
        write_private(&data.join("recovery.signal"), "", unprivileged_account()?)?;
        let conf = data.join("postgresql.auto.conf");
        let mut file = OpenOptions::new().append(true).open(&conf).file("open", &conf)?;
        file.write_all(b"restore_command = 'false'\n").file("write", &conf)?;
        self.start_again()?;
        wait_until(PROMOTION_DEADLINE, "the copy to take over", || {
            self.info.psql("postgres", "SELECT pg_is_in_recovery()").is_ok_and(|answer| answer == "f")
        })
    }

    fn put_back(&mut self, copy: &PostgresCopy) -> Result<(), Error> {
        self.stop(StopMode::Immediate)?;
        let data = &self.info.data_dir;
        fs::remove_dir_all(data).file("remove", data)?;
        copy_dir(&copy.dir, data)
    }
}
