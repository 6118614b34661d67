//! What an error of the client of object stores means. Its kinds know only a few statuses, so the rest is told by the causes
//! beneath it and by the status and the code in the server's answer.

use std::{error::Error, io};

use object_store::{
    Error as Cause,
    client::{HttpError, HttpErrorKind},
};

use super::file::from_io;
use crate::{error::StoreError, secret::Secret, text::tame};

/// Answers that mean bad credentials although their status is 400.
const REFUSALS: [&str; 4] = ["ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "TokenRefreshRequired"];
/// Answers that mean no room, whatever their status is.
const NO_ROOM: [&str; 5] = ["QuotaExceeded", "InsufficientStorage", "StorageFull", "InsufficientCapacity", "NoSpace"];

/// `doing` says what was asked and of which url.
pub(super) fn classify(doing: &str, error: &Cause, secrets: &[Secret]) -> StoreError {
    let raw = whole_text(error);
    let text = format!("{doing}: {}", tame(&without(&answered(&raw), secrets)));
    let says = |words: &[&str]| words.iter().any(|word| raw.contains(word));
    if says(&NO_ROOM) || status(&raw) == Some(507) {
        return StoreError::Full(text);
    }
    match error {
        Cause::NotFound { .. } => return StoreError::NotFound(text),
        Cause::AlreadyExists { .. } => return StoreError::Exists(text),
        Cause::PermissionDenied { .. } | Cause::Unauthenticated { .. } => return StoreError::Refused(text),
        _ => {}
    }
    if says(&REFUSALS) {
        return StoreError::Refused(text);
    }
    if says(&["invalid peer certificate"]) {
        return StoreError::Invalid(format!(
            "the certificate of the store is not trusted: {text}; give the CA that signed it"
        ));
    }
    // What an immutable object answers to who deletes it.
    if doing.starts_with("deleting") && matches!(status(&raw), Some(403 | 409)) {
        return StoreError::Refused(text);
    }
    if let Some(status) = status(&raw) {
        let passes = status >= 500 && status != 501 || status == 429 || status == 408;
        return if passes { StoreError::Unreachable(text) } else { StoreError::Other(text) };
    }
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = next {
        if let Some(http) = cause.downcast_ref::<HttpError>() {
            let passes = !matches!(http.kind(), HttpErrorKind::Decode | HttpErrorKind::Unknown);
            return if passes { StoreError::Unreachable(text) } else { StoreError::Other(text) };
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return from_io(io, doing);
        }
        next = cause.source();
    }
    StoreError::Other(text)
}

/// The error and those of its causes that it does not repeat.
fn whole_text(error: &Cause) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}

/// What an S3 server says, of an answer that also repeats what was signed, and has ids that differ each time; or all of it.
fn answered(text: &str) -> String {
    let part = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once(&format!("</{tag}>"))?.0)
    };
    match (part("Code"), part("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => text.to_owned(),
    }
}

/// Servers repeat what they were sent: S3 answers an expired session token with that token.
fn without(text: &str, secrets: &[Secret]) -> String {
    let known = secrets.iter().filter_map(Secret::expose_text).map(str::trim).filter(|secret| secret.len() > 5);
    known.fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
}

/// The status of the answer, where there was one that says no.
fn status(text: &str) -> Option<u16> {
    // Azure deletes by batches, whose single answers have other words.
    let (_, rest) = text.split_once("status code: ").or_else(|| text.split_once("(code: "))?;
    rest.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_answer_the_code_and_the_message_are_told() {
        let answer = "<?xml?><Error><Code>SignatureDoesNotMatch</Code><Message>It does not match.</Message>\
                      <StringToSign>AWS4</StringToSign><RequestId>1</RequestId></Error>";
        assert_eq!(answered(answer), "SignatureDoesNotMatch: It does not match.");
        assert_eq!(answered("connection refused"), "connection refused");
    }

    #[test]
    fn a_delete_that_is_refused_in_a_batch_is_told_as_refused() {
        let batch = |code: u16| Cause::Generic {
            store: "MicrosoftAzure",
            source: format!("Bulk delete request failed for key a/b: AuthorizationFailure (code: {code})").into(),
        };
        let check = |doing: &str, code: u16, refused: bool| {
            let found = classify(doing, &batch(code), &[]);
            assert_eq!(matches!(found, StoreError::Refused(_)), refused, "{doing} {code}: {found:?}");
        };
        check("deleting az://c/x", 403, true);
        check("deleting az://c/x", 409, true);
        check("reading az://c/x", 409, false);
        check("deleting az://c/x", 500, false);
    }

    #[test]
    fn answers_are_told_apart() {
        let check = |answer: &str, expected: fn(&StoreError) -> bool| {
            let error = Cause::Generic { store: "S3", source: answer.into() };
            let found = classify("writing s3://b/x", &error, &[Secret::from("hunter2")]);
            assert!(expected(&found), "{answer}: {found:?}");
            assert!(!found.to_string().contains("hunter2"), "{found}");
        };
        let answer = |status: &str| format!("Server returned non-2xx status code: {status}: <Error/>");
        check(&answer("507 Insufficient Storage"), |error| matches!(error, StoreError::Full(_)));
        check(&answer("403: <Code>QuotaExceeded</Code>"), |error| matches!(error, StoreError::Full(_)));
        check(&answer("503 Service Unavailable"), |error| matches!(error, StoreError::Unreachable(_)));
        check(&answer("429 Too Many Requests"), |error| matches!(error, StoreError::Unreachable(_)));
        check(&answer("501 Not Implemented"), |error| matches!(error, StoreError::Other(_)));
        check(&answer("400: <Code>ExpiredToken</Code><Token-0>hunter2</Token-0>"), |error| {
            matches!(error, StoreError::Refused(_))
        });
        check("invalid peer certificate: UnknownIssuer", |error| matches!(error, StoreError::Invalid(_)));
        check("something else", |error| matches!(error, StoreError::Other(_)));
    }

    #[test]
    fn causes_are_told_apart() {
        let check = |source: Box<dyn Error + Send + Sync>, expected: fn(&StoreError) -> bool| {
            let found = classify("writing", &Cause::Generic { store: "x", source }, &[]);
            assert!(expected(&found), "{found:?}");
        };
        let io = |kind| Box::new(io::Error::from(kind));
        check(io(io::ErrorKind::StorageFull), |error| matches!(error, StoreError::Full(_)));
        check(io(io::ErrorKind::ReadOnlyFilesystem), |error| matches!(error, StoreError::ReadOnly(_)));
        check(io(io::ErrorKind::PermissionDenied), |error| matches!(error, StoreError::Refused(_)));
        let http = |kind| Box::new(HttpError::new(kind, io::Error::other("x")));
        check(http(HttpErrorKind::Connect), StoreError::may_pass);
        check(http(HttpErrorKind::Timeout), StoreError::may_pass);
        check(http(HttpErrorKind::Decode), |error| !error.may_pass());
    }
}
