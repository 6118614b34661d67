//! Processes by identity rather than by number. A pid alone may be another's by the time it is
//! signalled, so every process is recorded with its start time, and nothing is signalled unless both
//! still agree.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::{Deserialize, Serialize};

use crate::error::{Error, FileContext};

/// A process: its pid and the moment it started, in the operating system's own spelling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number it has now, and another process may have later.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`, or where there is no `/proc`, what `ps -o lstart=` says.
    pub start: String,
}

impl ProcessId {
    /// This process.
    #[must_use]
    pub fn current() -> Self {
        Self::of(std::process::id()).unwrap_or_else(|| Self { pid: std::process::id(), start: String::new() })
    }

    /// The live process that has this pid now.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        start_of(pid).map(|start| Self { pid, start })
    }

    /// Whether it still runs; a zombie has ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        start_of(self.pid).is_some_and(|start| start == self.start)
    }

    /// Sends a signal if it is still the same process, and says whether it was.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return false;
        };
        self.is_alive() && kill_process(pid, signal).is_ok()
    }
}

/// A child that stands still, all threads of it, until this is dropped.
pub(crate) struct Frozen(ProcessId);

impl Frozen {
    /// Stops it and waits until it stands.
    pub(crate) fn freeze(child: &Child) -> Result<Self, Error> {
        let ended = || Error::Spawn {
            program: format!("the child {}", child.id()),
            source: std::io::Error::other("it has ended before it could be stopped"),
        };
        let frozen = Self(ProcessId::of(child.id()).ok_or_else(ended)?);
        frozen.0.signal(Signal::STOP);
        match waitpid(Pid::from_raw(child.id().cast_signed()), WaitOptions::UNTRACED) {
            Ok(Some((_, status))) if status.stopped() => Ok(frozen),
            _ => Err(ended()),
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.pid, self.start)
    }
}

impl FromStr for ProcessId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (pid, start) = text.trim().split_once('-').ok_or(())?;
        Ok(Self { pid: pid.parse().map_err(|_| ())?, start: start.to_owned() })
    }
}

fn start_of(pid: u32) -> Option<String> {
    if Path::new("/proc/self/stat").exists() {
        return start_in_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
    }
    let output = Command::new("ps").args(["-o", "lstart=", "-p", &pid.to_string()]).output().ok()?;
    let start: String = String::from_utf8_lossy(&output.stdout).chars().filter(char::is_ascii_alphanumeric).collect();
    (!start.is_empty()).then_some(start)
}

/// Reads the start time out of a `/proc/PID/stat` line. The command name in it may contain spaces
/// and brackets, so counting begins after the last closing one.
fn start_in_stat(stat: &str) -> Option<String> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

/// The user and group that a server process runs as when this process is root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The unprivileged account to run `PostgreSQL` under, which refuses to run as root; none is needed
/// when this process is not root.
pub(crate) fn unprivileged_account() -> Result<Option<Account>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let path = Path::new("/etc/passwd");
    let passwd = fs::read_to_string(path).file("read", path)?;
    account_in(&passwd).map(Some).ok_or_else(|| Error::Missing {
        what: "an account to run PostgreSQL under (it refuses to run as root)".to_owned(),
        remedy: "create one with `useradd --system postgres`, or start as another user".to_owned(),
    })
}

fn account_in(passwd: &str) -> Option<Account> {
    ["postgres", "nobody"].iter().find_map(|name| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(Account { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    })
}

/// Starts a long-lived process: its own process group, so that a Ctrl-C meant for the caller does
/// not reach it, and its output appended to a log.
pub(crate) fn spawn_logged(command: &mut Command, log: &Path) -> Result<Child, Error> {
    let out = File::options().create(true).append(true).open(log).file("open", log)?;
    let err = out.try_clone().file("open", log)?;
    command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
    command.spawn().map_err(|source| spawn_error(command, source))
}

/// Runs a command to its end and returns what it printed on standard output.
pub(crate) fn run(command: &mut Command) -> Result<String, Error> {
    let output = command.stdin(Stdio::null()).output().map_err(|source| spawn_error(command, source))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut printed = String::from_utf8_lossy(&output.stderr).into_owned();
    printed.push_str(&String::from_utf8_lossy(&output.stdout));
    Err(Error::Command {
        command: describe(command),
        status: output.status.to_string(),
        output: last_lines(&printed, 12),
    })
}

/// The error of a command that could not be started.
pub(crate) fn spawn_error(command: &Command, source: std::io::Error) -> Error {
    Error::Spawn { program: command.get_program().to_string_lossy().into_owned(), source }
}

/// The command line as a person would type it.
pub(crate) fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy()));
    words.join(" ")
}

/// The last lines of a log, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    const MOST: u64 = 8192;
    let text = File::open(log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    });
    last_lines(&text.unwrap_or_default(), 8)
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// An error if the child has ended, which a member never does by itself.
pub(crate) fn still_running(child: &mut Child, member: &str, log: &Path) -> Result<(), Error> {
    match child.try_wait() {
        Ok(Some(status)) => Err(Error::MemberEnded {
            member: member.to_owned(),
            status: status.to_string(),
            log: log.to_owned(),
            tail: tail(log),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_field_22_whatever_the_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 777 9 9";
        assert_eq!(start_in_stat(stat).as_deref(), Some("777"));
    }

    #[test]
    fn a_zombie_has_ended() {
        let stat = "42 (x) Z 1 42 42 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 777 9 9";
        assert_eq!(start_in_stat(stat), None);
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not() {
        let me = ProcessId::current();
        assert!(me.is_alive());
        let other = ProcessId { start: format!("{}0", me.start), ..me };
        assert!(!other.is_alive());
        assert!(!other.signal(Signal::TERM));
    }

    #[test]
    fn a_frozen_child_stands_until_it_is_let_go() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let state = || fs::read_to_string(format!("/proc/{}/stat", child.id())).map(|stat| stat.contains(") T "));
        let frozen = Frozen::freeze(&child).unwrap();
        assert!(state().unwrap_or(true));
        drop(frozen);
        assert!(!state().unwrap_or_default());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Frozen::freeze(&child).is_err());
    }

    #[test]
    fn identity_survives_its_text_form() {
        let me = ProcessId::current();
        assert_eq!(me.to_string().parse(), Ok(me));
        assert_eq!("x-1".parse::<ProcessId>(), Err(()));
    }

    #[test]
    fn postgres_is_preferred_to_nobody() {
        let passwd = "root:x:0:0::/:\nnobody:x:65534:65533::/:\npostgres:x:101:104::/:\n";
        assert_eq!(account_in(passwd), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(account_in("root:x:0:0::/:\n"), None);
    }
}
