//! A small disk under a server, to fill and to free.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use devcluster::PostgresInfo;
use tempfile::TempDir;

/// Mounts a disk, says so, and takes it away when its input ends: with its value, or with the test's process.
const HOLD: &str = "mount -t tmpfs -o \"size=$2,uid=$3,gid=$4,mode=0700\" tmpfs \"$1\" || { rmdir \"$1\"; exit; }\n\
                    echo mounted; cat > /dev/null; umount -l \"$1\"; rmdir \"$1\"";

/// A disk of its own, in memory, which belongs to the account of a server.
pub struct Disk {
    /// Where it is mounted.
    pub dir: PathBuf,
    holder: Child,
}

impl Disk {
    /// One of this many mebibytes; none where nothing may be mounted.
    pub fn mount(server: &PostgresInfo, mebibytes: u32) -> Option<Self> {
        // It goes with the holder, also when this process is killed.
        let dir = TempDir::new_in("/var/tmp").unwrap().keep();
        let owner = fs::metadata(&server.data_dir).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", HOLD, "sh"]).arg(&dir).arg(format!("{mebibytes}m"));
        command.args([owner.uid().to_string(), owner.gid().to_string()]);
        // In a group of its own, so that an interrupt of the test leaves the holder to clear up.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut holder = command.spawn().unwrap();
        let said = BufReader::new(holder.stdout.take().unwrap()).lines().next();
        let disk = Self { dir, holder };
        if said.is_none() {
            println!("nothing may be mounted here: left out");
            return None;
        }
        Some(disk)
    }

    /// Not one byte is left.
    pub fn fill(&self) {
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            let full = loop {
                if let Err(error) = ballast.write_all(&vec![0; size]) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        }
    }

    /// There is space again.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
