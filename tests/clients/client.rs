//! A program that stands for an application: it opens its connections as the example does, and works when it is told to.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use support::world::DEADLINE;

/// It ends with its value.
pub struct Client {
    child: Child,
    lines: Receiver<String>,
}

impl Client {
    /// Starts it. What it says beside its answers is in the output of the test.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// Inserts so many rows at once, each over a connection of its own, which it asks for its login. The logins, or what failed.
    pub fn work(&mut self, at_once: usize) -> Result<BTreeSet<String>, String> {
        // It may have ended with an error; then that is the answer.
        let _ = writeln!(self.child.stdin.as_mut().unwrap(), "{at_once}");
        let answer = loop {
            let line = self.lines.recv_timeout(DEADLINE).map_err(|_| "it has ended without an answer".to_owned())?;
            if let Some(answer) = line.strip_prefix("answer: ") {
                break answer.to_owned();
            }
        };
        match answer.strip_prefix("error: ") {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer.split(' ').map(str::to_owned).collect()),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It ends with its input, unless it hangs.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
