//! Files that are on no disk. libpq reads the password and the certificates from a file; one in memory is gone with this
//! process, and only this user opens it, by the way that leads through this process in /proc. A command line and an
//! environment could be read by others and end up in logs.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsRawFd,
    process,
};

use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};

use crate::error::DumpError;

/// A file in memory, there as long as this value.
#[derive(Debug)]
pub(crate) struct Hidden(File);

impl Hidden {
    pub(super) fn new(name: &str, content: &[u8]) -> io::Result<Self> {
        let file = memfd_create(name, MemfdFlags::CLOEXEC)?;
        // libpq takes no passwords from a file that others could read.
        fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        file.write_all(content)?;
        Ok(Self(file))
    }

    /// Where a child process finds it.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd())
    }
}

/// The one line of a password file, for every host, database and user.
pub(super) fn password_line(password: &[u8]) -> Result<Vec<u8>, DumpError> {
    if password.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
        return Err(DumpError::Invalid(
            "the password of the login has a line break or a NUL, which no program can be given",
        ));
    }
    let mut line = b"*:*:*:*:".to_vec();
    for byte in password {
        if matches!(byte, b':' | b'\\') {
            line.push(b'\\');
        }
        line.push(*byte);
    }
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;

    #[test]
    fn the_file_is_this_users_alone_and_goes_with_the_value() {
        let hidden = Hidden::new("test", b"content").unwrap();
        let path = hidden.path();
        assert_eq!(fs::read(&path).unwrap(), b"content");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(hidden);
        assert_ne!(fs::read(&path).ok(), Some(b"content".to_vec()));
    }

    #[test]
    fn what_a_password_file_understands_otherwise_is_escaped() {
        let check =
            |password: &str, line: &str| assert_eq!(password_line(password.as_bytes()).unwrap(), line.as_bytes());
        check("plain", "*:*:*:*:plain\n");
        check("a:b\\c", "*:*:*:*:a\\:b\\\\c\n");
        check("*#é", "*:*:*:*:*#é\n");
        for bad in ["a\nb", "a\rb", "a\0b"] {
            assert!(password_line(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
