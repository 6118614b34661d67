//! A password for one session, and the verifier of it.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A password of so many random bits has no need to be stretched; each of these the server and the client compute when it logs in.
const ITERATIONS: u32 = 1;

/// 244 random bits, in 64 characters that mean nothing in a URI, a shell or a statement.
#[must_use]
pub fn random_password() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// A password that lives as long as one session. It is printed nowhere.
pub struct SessionPassword(String);

impl SessionPassword {
    /// Another one each time.
    #[must_use]
    pub fn random() -> Self {
        Self(random_password())
    }

    /// What the session begins with.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the server checks it by, in the form in which it stores that.
    #[must_use]
    pub fn verifier(&self) -> String {
        verifier(self.0.as_bytes(), Uuid::new_v4().as_bytes(), ITERATIONS)
    }
}

/// As RFC 5802 has it, of a password in ASCII.
fn verifier(password: &[u8], salt: &[u8], iterations: u32) -> String {
    let mut block = hmac(password, &[salt, &1_u32.to_be_bytes()].concat());
    let mut salted = block;
    for _ in 1..iterations {
        block = hmac(password, &block);
        for (sum, byte) in salted.iter_mut().zip(block) {
            *sum ^= byte;
        }
    }
    let stored = Sha256::digest(hmac(&salted, b"Client Key"));
    let [salt, stored, server] =
        [salt, &stored, &hmac(&salted, b"Server Key")].map(|bytes| BASE64_STANDARD.encode(bytes));
    format!("SCRAM-SHA-256${iterations}:{salt}${stored}:{server}")
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_what_others_make_of_the_password() {
        let theirs = postgres_protocol::password::scram_sha_256(b"pencil");
        let salt = theirs.split([':', '$']).nth(2).unwrap();
        let iterations = theirs.split([':', '$']).nth(1).unwrap().parse().unwrap();
        assert_eq!(verifier(b"pencil", &BASE64_STANDARD.decode(salt).unwrap(), iterations), theirs);
        let (one, other) = (SessionPassword::random(), SessionPassword::random());
        assert!(one.as_str() != other.as_str() && one.verifier().starts_with("SCRAM-SHA-256$1:"));
    }
}
