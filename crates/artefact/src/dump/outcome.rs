//! What the end of a program's stderr says about why it ended. Names in it are a tenant's, who could write one that reads as a
//! reason; all that this decides is the words of a message and whether it is tried again.

use std::process::ExitStatus;

use crate::{error::DumpError, text::tame};

/// What `pg_restore` writes between the reason and the statement that failed, which may be longer than a message.
const STATEMENT: &str = "\nCommand was: ";
const LOCKED: &[&str] = &["canceling statement due to lock timeout"];
const ROW_SECURITY: &[&str] = &["query would be affected by row-level security policy"];
const SNAPSHOT: &[&str] = &["could not import the requested snapshot", "invalid snapshot identifier"];
const VERSION: &[&str] = &["server version mismatch"];
/// The program's own memory; the server says `ERROR:` before it, which may pass.
const MEMORY: &[&str] = &["error: out of memory", "out of memory for query result"];
const CONNECTION: &[&str] = &[
    "Connection refused",
    "Connection reset",
    "Connection timed out",
    "timeout expired",
    "No route to host",
    "could not translate host name",
    "No such file or directory\n\tIs the server running",
    "server closed the connection unexpectedly",
    "terminating connection",
    "no connection to the server",
    "SSL SYSCALL error",
    "SSL connection has been closed unexpectedly",
    "the database system is",
    "too many clients already",
    "remaining connection slots are reserved",
    "too many connections for",
];
const DENIED: &[&str] = &[
    "permission denied",
    "must be superuser",
    "must be owner",
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "is not permitted to log in",
];

/// Why a program failed that ended like this.
pub(super) fn reason(status: ExitStatus, stderr: &[u8]) -> DumpError {
    let raw = String::from_utf8_lossy(stderr);
    let says = |words: &[&str]| words.iter().any(|word| raw.contains(word));
    let message = last_of(&raw);
    // pg_dump limits the waiting for a lock by the time of the statement that asks for it.
    let locked = says(LOCKED) || says(&["canceling statement due to statement timeout"]) && says(&["was: LOCK TABLE "]);
    match () {
        () if locked => DumpError::LockTimeout(message),
        () if says(ROW_SECURITY) => DumpError::RowSecurity(message),
        () if says(SNAPSHOT) || says(&["ERROR:  snapshot \""]) && says(&["does not exist"]) => {
            DumpError::Snapshot(message)
        }
        () if says(VERSION) => DumpError::Version(message),
        () if says(MEMORY) => DumpError::Memory(message),
        () if says(DENIED) => DumpError::Denied(message),
        () if says(CONNECTION) => DumpError::Connection(message),
        () => DumpError::Failed { code: status.code(), message },
    }
}

/// The lines of a message.
const LINES: usize = 6;

/// Why it ended, on one tame line: from the first error on, since behind it comes where in the tenant's own code that was, which can be
/// long; without an error the end of the text.
fn last_of(text: &str) -> String {
    let text = text.split_once(STATEMENT).map_or(text, |(reason, _)| reason);
    let lines: Vec<_> = text.lines().collect();
    let first = lines.iter().position(|line| line.contains("error:")).unwrap_or(lines.len().saturating_sub(LINES));
    tame(&lines[first..].iter().take(LINES).copied().collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn reasons_are_told_apart() {
        let check = |stderr: &str, expected: fn(&DumpError) -> bool, passes: bool| {
            let found = reason(ExitStatus::from_raw(1 << 8), stderr.as_bytes());
            assert!(expected(&found), "{stderr}: {found:?}");
            assert_eq!(found.may_pass(), passes, "{stderr}");
            assert!(!found.to_string().contains(char::is_control), "{found}");
        };
        check(
            "pg_dump: error: query failed: ERROR:  out of shared memory\nHINT:  You might need to increase max_locks_per_transaction.",
            |error| matches!(error, DumpError::Failed { .. }),
            true,
        );
        check("pg_dump: error: out of memory\n", |error| matches!(error, DumpError::Memory(_)), false);
        check(
            "pg_dump: error: query failed: out of memory for query result",
            |error| matches!(error, DumpError::Memory(_)),
            false,
        );
        check(
            "pg_dump: error: query failed: ERROR:  canceling statement due to lock timeout\n",
            |error| matches!(error, DumpError::LockTimeout(_)),
            true,
        );
        check(
            "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout\npg_dump: detail: Query \
             was: LOCK TABLE a.b IN ACCESS SHARE MODE\n",
            |error| matches!(error, DumpError::LockTimeout(_)),
            true,
        );
        check(
            "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout\n",
            |error| matches!(error, DumpError::Failed { code: Some(1), .. }),
            true,
        );
        check(
            "pg_dump: error: Error message from server: ERROR:  query would be affected by row-level security policy for \
             table \"t\"",
            |error| matches!(error, DumpError::RowSecurity(_)),
            false,
        );
        check("ERROR:  permission denied for table t\n", |error| matches!(error, DumpError::Denied(_)), false);
        check(
            "connection to server at \"h\", port 1 failed: FATAL:  password authentication failed for user \"u\"",
            |error| matches!(error, DumpError::Denied(_)),
            false,
        );
        check(
            "connection to server at \"127.0.0.1\", port 1 failed: Connection refused\n\tIs the server running",
            |error| matches!(error, DumpError::Connection(_)),
            true,
        );
        check(
            "pg_dump: error: aborting because of server version mismatch",
            |error| matches!(error, DumpError::Version(_)),
            false,
        );
        check("ERROR:  invalid snapshot identifier: \"x\"", |error| matches!(error, DumpError::Snapshot(_)), true);
        check(
            "pg_restore: error: could not execute query: ERROR:  schema \"s\" already exists\nCommand was: CREATE SCHEMA s;\n",
            |error| matches!(error, DumpError::Failed { message, .. } if message.ends_with("already exists")),
            true,
        );
        let long = "pg_restore: while PROCESSING TOC:\npg_restore: error: COPY failed for table \"marks\": ERROR:  relation \"pupils\" does not exist\n\
                    LINE 1: SELECT\nQUERY:  SELECT\na\nb\nc\nd\ne\nf\nCONTEXT:  PL/pgSQL function s.f(integer) line 1\nCOPY marks, line 1\n";
        check(
            long,
            |error| matches!(error, DumpError::Failed { message, .. } if message.contains("\"marks\"") && message.contains("\"pupils\" does not exist")),
            true,
        );
        check("\u{1b}[2Jsomething\n", |error| matches!(error, DumpError::Failed { .. }), true);
    }
}
