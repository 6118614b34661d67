//! Waiting for a condition with a deadline, and finding free ports: the two things that keep tests from sleeping in the
//! hope that it is enough, and from clashing with each other.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use crate::error::Error;

const POLL: Duration = Duration::from_millis(50);

/// Polls until the condition holds, or fails once the deadline has passed.
pub fn wait_until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<(), Error> {
    try_wait_until(deadline, what, || Ok(condition()))
}

/// Like [`wait_until`], for a condition that can find out that waiting is pointless.
pub(crate) fn try_wait_until(
    deadline: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<bool, Error>,
) -> Result<(), Error> {
    let begin = Instant::now();
    loop {
        if condition()? {
            return Ok(());
        }
        if begin.elapsed() >= deadline {
            return Err(Error::Timeout { what: what.to_owned(), seconds: deadline.as_secs() });
        }
        std::thread::sleep(POLL);
    }
}

/// A TCP port on 127.0.0.1 that was free a moment ago. Another process may take it before it is
/// used, so a caller retries with another one.
pub fn free_port() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::Spawn { program: "a listener on 127.0.0.1".to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_ends_the_wait() {
        let mut calls = 0;
        wait_until(Duration::from_secs(5), "three calls", || {
            calls += 1;
            calls == 3
        })
        .unwrap();
        assert_eq!(calls, 3);
    }

    #[test]
    fn a_condition_that_never_does_is_named() {
        let error = wait_until(Duration::ZERO, "the moon", || false).unwrap_err();
        assert!(error.to_string().contains("the moon"), "{error}");
    }

    #[test]
    fn free_ports_can_be_bound() {
        // Another process may take one of them in between, as it is said above, and not all of them.
        let bound = (0..20).any(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, free_port().unwrap())).is_ok());
        assert!(bound, "none of twenty ports that were said to be free");
    }
}
