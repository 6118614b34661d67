//! A state directory: which processes belong together, who uses them, and the guards that end them.
//! The files in it are the only link between the processes, so any of them can die at any moment
//! and what is left can still be found and ended. `guard.sh` documents the files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::error::{Error, FileContext};
use crate::paths::{lock, make_dir, write_private};
use crate::process::{ProcessId, run, spawn_logged};
use crate::wait::wait_until;

const GUARD: &str = include_str!("guard.sh");
const GUARDS: [&str; 2] = ["guard", "guard-of-guard"];
const TICK: Duration = Duration::from_millis(500);
/// A directory that has this file is one of ours, and its contents may be removed; a process that brings it up or takes
/// it down holds the lock on it.
const MARKER: &str = ".devcluster";
/// Ending takes at worst the ten seconds for which the guard waits, and a removal of a data directory.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// What remains of a state directory after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The logs, for looking into what happened.
    Logs,
    /// Nothing, not even the directory.
    Nothing,
}

/// One process of a cluster, as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// `etcd`, `kube-apiserver`, `kube-controller-manager`, `postgres`, `guard` or `guard-of-guard`.
    pub name: String,
    /// The process.
    pub process: ProcessId,
}

/// A state directory, whether or not anything runs in it.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    path: PathBuf,
    keep: Keep,
}

impl StateDir {
    /// The directory at this path, which need not exist.
    pub(crate) fn at(path: &Path, keep: Keep) -> Self {
        Self { path: path.to_owned(), keep }
    }

    /// Takes the directory for a change of what runs in it, waiting for another that does so.
    pub(crate) fn lock(&self) -> Result<File, Error> {
        let marker = self.path.join(MARKER);
        // In this order: another process may be making it just now, and it makes the marker first.
        if fs::read_dir(&self.path).is_ok_and(|mut dir| dir.next().is_some()) && !marker.exists() {
            return Err(Error::State {
                dir: self.path.clone(),
                problem: "the directory is not empty and is not a cluster's".to_owned(),
                remedy: "name another one with --dir, or empty it".to_owned(),
            });
        }
        make_dir(&self.path, 0o711)?;
        lock(&marker)
    }

    /// Creates the empty directories; everything that ran there before has to be ended first.
    pub(crate) fn create(&self) -> Result<(), Error> {
        if self.logs().exists() {
            fs::remove_dir_all(self.logs()).file("empty", &self.logs())?;
        }
        for dir in [self.run(), self.data()] {
            make_dir(&dir, 0o711)?;
        }
        for dir in [self.members_dir(), self.users_dir(), self.logs()] {
            make_dir(&dir, 0o755)?;
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(crate) fn log(&self, member: &str) -> PathBuf {
        self.logs().join(format!("{member}.log"))
    }

    fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    fn members_dir(&self) -> PathBuf {
        self.run().join("members")
    }

    fn users_dir(&self) -> PathBuf {
        self.run().join("users")
    }

    /// The file that describes the cluster to a process that attaches to it.
    pub(crate) fn description(&self) -> PathBuf {
        self.run().join("state.json")
    }

    /// Records a process that was just started, so that the guards end it with the others.
    pub(crate) fn record(&self, name: &str, child: &Child, signal: &str) -> Result<(), Error> {
        let Some(process) = ProcessId::of(child.id()) else {
            // It has ended already, which the caller finds out by waiting for it.
            return Ok(());
        };
        let line = format!("{} {} {signal}\n", process.pid, process.start);
        write_private(&self.members_dir().join(name), &line, None)
    }

    /// The recorded processes, dead or alive, by name.
    pub(crate) fn members(&self) -> Vec<Member> {
        let mut members: Vec<Member> = fs::read_dir(self.members_dir())
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let text = fs::read_to_string(entry.path()).ok()?;
                Some(Member { name: entry.file_name().into_string().ok()?, process: parse_member(&text)? })
            })
            .collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members
    }

    /// Starts guards that end everything when no user has been left for `linger`. With two of them,
    /// each watches the other, so that no single process can be killed without the rest following.
    pub(crate) fn start_guards(&self, count: usize, linger: Duration) -> Result<Vec<Child>, Error> {
        GUARDS
            .iter()
            .take(count)
            .map(|name| {
                let child = spawn_logged(&mut self.guard("watch", linger), &self.log(name))?;
                self.record(name, &child, "-")?;
                Ok(child)
            })
            .collect()
    }

    fn guard(&self, mode: &str, linger: Duration) -> Command {
        let ticks = linger.as_millis() / TICK.as_millis();
        let mut command = Command::new("sh");
        command
            .args(["-c", GUARD, "devcluster-guard", mode])
            .arg(&self.path)
            .arg(ticks.to_string())
            .arg(match self.keep {
                Keep::Logs => "logs",
                Keep::Nothing => "nothing",
            })
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// Registers a process that needs the cluster for as long as it lives. False if the cluster is
    /// being ended at this moment and cannot be relied upon.
    pub(crate) fn add_user(&self, user: &ProcessId) -> Result<bool, Error> {
        let file = self.users_dir().join(user.to_string());
        fs::write(&file, "").file("write", &file)?;
        Ok(!self.is_ending())
    }

    /// Lets the cluster run until it is ended on purpose.
    pub(crate) fn hold(&self) -> Result<(), Error> {
        let file = self.run().join("hold");
        fs::write(&file, "").file("write", &file)
    }

    /// Whether it runs until it is ended on purpose.
    pub(crate) fn is_held(&self) -> bool {
        self.run().join("hold").exists()
    }

    /// From here on, the death of any member ends the others.
    pub(crate) fn mark_ready(&self) -> Result<(), Error> {
        let file = self.run().join("ready");
        fs::write(&file, "").file("write", &file)
    }

    fn is_ending(&self) -> bool {
        self.run().join("ending").exists()
    }

    /// Whether it is up with every member alive, and no process is ending it.
    pub(crate) fn is_intact(&self) -> bool {
        let members = self.members();
        self.run().join("ready").exists()
            && !self.is_ending()
            && !members.is_empty()
            && members.iter().all(|member| member.process.is_alive())
    }

    /// Whether anything of a cluster is left here.
    pub(crate) fn exists(&self) -> bool {
        self.run().exists()
    }

    /// Why the guards ended the cluster that was here last, if they did.
    pub(crate) fn last_words(&self) -> Option<String> {
        GUARDS.iter().find_map(|guard| {
            let text = fs::read_to_string(self.log(guard)).ok()?;
            text.lines().last().map(str::to_owned)
        })
    }

    /// Has a directory outside this one removed at the end.
    pub(crate) fn add_outside(&self, dir: &Path) -> Result<(), Error> {
        let file = self.run().join("outside");
        let mut text = fs::read_to_string(&file).unwrap_or_default();
        text.push_str(&dir.to_string_lossy());
        text.push('\n');
        fs::write(&file, text).file("write", &file)
    }

    /// Whether a living process is registered as a user, or it is held.
    pub(crate) fn is_used(&self) -> bool {
        self.is_held()
            || fs::read_dir(self.users_dir())
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| entry.file_name().to_str()?.parse::<ProcessId>().ok())
                .any(|user| user.is_alive())
    }

    /// Ends every process, removes what they leave, and returns once all of it is gone.
    pub(crate) fn end(&self) -> Result<(), Error> {
        if !self.exists() {
            return Ok(());
        }
        let members = self.members();
        // The guards would only do the same at the same time.
        for guard in members.iter().filter(|member| GUARDS.contains(&member.name.as_str())) {
            guard.process.signal(Signal::KILL);
        }
        run(&mut self.guard("end", Duration::ZERO))?;
        wait_until(END_DEADLINE, "the processes of the cluster to end", || {
            !members.iter().any(|member| member.process.is_alive())
        })
    }
}

fn parse_member(text: &str) -> Option<ProcessId> {
    let mut words = text.split_whitespace();
    Some(ProcessId { pid: words.next()?.parse().ok()?, start: words.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(state: &StateDir, name: &str) -> Child {
        let child = spawn_logged(Command::new("sleep").arg("600"), &state.log(name)).unwrap();
        state.record(name, &child, "KILL").unwrap();
        child
    }

    fn fresh(root: &tempfile::TempDir, keep: Keep) -> StateDir {
        let state = StateDir::at(&root.path().join("state"), keep);
        state.create().unwrap();
        state
    }

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_foreign_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("precious"), "").unwrap();
        let error = StateDir::at(root.path(), Keep::Logs).lock().unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
    }

    #[test]
    fn members_are_read_back() {
        assert_eq!(parse_member("12 345 KILL\n"), Some(ProcessId { pid: 12, start: "345".to_owned() }));
        assert_eq!(parse_member("12"), None);
    }

    #[test]
    fn ending_leaves_only_the_logs() {
        let root = tempfile::tempdir().unwrap();
        let state = fresh(&root, Keep::Logs);
        let mut child = sleeper(&state, "one");
        state.hold().unwrap();
        state.end().unwrap();
        assert!(!state.exists() && !state.data().exists());
        assert!(state.log("one").exists());
        child.wait().unwrap();
    }

    #[test]
    fn the_last_user_takes_everything_along() {
        let root = tempfile::tempdir().unwrap();
        let state = fresh(&root, Keep::Nothing);
        let mut member = sleeper(&state, "one");
        let mut user = Command::new("sleep").arg("600").spawn().unwrap();
        assert!(state.add_user(&ProcessId::of(user.id()).unwrap()).unwrap());
        let mut guards = state.start_guards(1, Duration::ZERO).unwrap();
        assert!(state.is_used());
        user.kill().unwrap();
        user.wait().unwrap();
        wait_until(SOON, "the end of the member", || member.try_wait().unwrap().is_some()).unwrap();
        guards[0].wait().unwrap();
        assert!(!state.path().exists());
    }

    #[test]
    fn killing_a_guard_ends_the_rest() {
        let root = tempfile::tempdir().unwrap();
        let state = fresh(&root, Keep::Nothing);
        let mut member = sleeper(&state, "one");
        state.hold().unwrap();
        let mut guards = state.start_guards(2, Duration::ZERO).unwrap();
        state.mark_ready().unwrap();
        assert!(state.is_intact());
        guards[0].kill().unwrap();
        guards[0].wait().unwrap();
        wait_until(SOON, "the end of the member", || member.try_wait().unwrap().is_some()).unwrap();
        guards[1].wait().unwrap();
        assert!(!state.path().exists());
    }
}
