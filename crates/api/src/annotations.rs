//! The annotations by which a user asks for something once, or answers a question; and why one of them does nothing.

use std::fmt::{Display, Write};

use jiff::{SignedDuration, Timestamp};
use kube::core::ObjectMeta;

use super::{
    GROUP,
    command::{Kind, Object},
};

/// Annotation: look at the object now. The value is any text that changes, by custom a time.
pub const RECONCILE_REQUESTED_AT: &str = "edumatrixhub.io/reconcile-requested-at";

/// Annotation: the schema may really be dropped. The value is [`bound`] to one [`deletion`], so that neither a typo does anything nor one
/// that stays in Git: not to the next tenant of that name, not to the next object of this one, which may have taken its data back, and not
/// to this object when it was restored to before it was deleted.
pub const CONFIRM_DROP: &str = "edumatrixhub.io/confirm-drop";

/// Annotation: make the schema again, empty, after it was dropped by hand or beside what is set aside. The value is [`bound`] to
/// the tenant's id or the backup's, which the message tells.
pub const RECREATE: &str = "edumatrixhub.io/recreate";

/// Annotation: let the object go although the database cannot be asked. The value is [`bound`] to the UID of the object, which
/// is known without the database and is another one in the object's next life.
pub const ABANDON: &str = "edumatrixhub.io/abandon";

/// Annotation: take back what an earlier object of this namespace and name left behind. The value is the schema's name; it may
/// stay in Git, since it takes nothing but what was this object's own.
pub const RECLAIM: &str = "edumatrixhub.io/reclaim";

/// Annotation: adopt the schema as the message says. The value is the digest of what would change, which the message tells, so that
/// nothing else is confirmed than what a person has read.
pub const CONFIRM_ADOPT: &str = "edumatrixhub.io/confirm-adopt";

/// Annotation: do nothing, and say as a condition what would be done. The value does not matter.
pub const PAUSED: &str = "edumatrixhub.io/paused";

/// Annotation: issue another password for the tenant's applications now. The value is a time such as `2026-01-31T12:00:00Z`, and counts
/// if it is later than the last time that one was published and has passed; so one that is forgotten asks for nothing.
pub const ROTATE_REQUESTED_AT: &str = "edumatrixhub.io/rotate-requested-at";

/// Annotation: a password has leaked. Both logins are closed, their sessions end, and another password is published at once. The value
/// is the schema's name. It counts once; removed and set again it counts again.
pub const REVOKE_CREDENTIALS: &str = "edumatrixhub.io/revoke-credentials";

/// Annotation of a `TenantDatabase`: manage a database that another cluster managed, or another database than before.
/// The value is what the message of the condition says: `<cluster>/<epoch>` or `<installation>/<epoch>`, or both with a
/// comma in between. It counts for that epoch, so that an annotation which is forgotten takes nothing over again.
pub const TAKE_OVER: &str = "edumatrixhub.io/take-over";

/// Annotation of a `TenantDatabase`: after a restore or an upgrade of the server, find out again which schema is whose. The value is
/// the installation's id. Forgotten it does nothing: only rows whose schema is nowhere are bound, and only to a schema that belongs to
/// the tenant's own role and carries the tenant's id.
pub const REBIND: &str = "edumatrixhub.io/rebind";

/// Annotation of a `TenantDatabase`: what was deleted, or has expired, up to this time may go, however much it is. The
/// value is a time such as `2026-01-31T12:00:00Z`, so that an annotation which is forgotten confirms no later deletion.
/// A time to come confirms nothing.
pub const CONFIRM_DELETIONS: &str = "edumatrixhub.io/confirm-deletions";

/// Annotation of a `TenantDatabase`: bring back all tenants that were set aside since this time, each for the next
/// object of its namespace and name. The value is a time such as `2026-01-31T12:00:00Z`. It counts for what was set
/// aside before the operator first heard it, so that an annotation which is forgotten takes back no later deletion.
pub const BRING_BACK: &str = "edumatrixhub.io/bring-back";

/// Annotation of the Lease of a database: the replica that asks its holder for it. The value is the identity of that replica.
pub const WANTED_BY: &str = "edumatrixhub.io/wanted-by";

/// How far two clocks that are right may be apart.
const CLOCKS: SignedDuration = SignedDuration::from_mins(1);

/// Whether the object is not to be worked on.
#[must_use]
pub fn is_paused(metadata: &ObjectMeta) -> bool {
    metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(PAUSED))
}

/// Up to which time deletions are confirmed, if it is `now` by the API server's clock; a value that is no time confirms
/// nothing, and nor does a time that has not passed yet, which the condition of the TenantDatabase tells.
#[must_use]
pub fn confirmed_deletions(metadata: &ObjectMeta, now: Timestamp) -> Option<Timestamp> {
    said_time(metadata, CONFIRM_DELETIONS)?.ok().filter(|until| *until <= now + CLOCKS)
}

/// An annotation of a TenantDatabase whose time is too far ahead to mean anything, with that time.
#[must_use]
pub fn time_to_come(metadata: &ObjectMeta, now: Timestamp) -> Option<(&'static str, Timestamp)> {
    let said = |annotation| Some((annotation, said_time(metadata, annotation)?.ok()?));
    [CONFIRM_DELETIONS, BRING_BACK].into_iter().filter_map(said).find(|(_, time)| *time > now + CLOCKS)
}

/// Since when what was set aside is to be brought back, if a user said so; as exact as PostgreSQL keeps it. A time to come is
/// none.
#[must_use]
pub fn bring_back_since(metadata: &ObjectMeta, now: Timestamp) -> Option<Timestamp> {
    let since = said_time(metadata, BRING_BACK)?.ok()?;
    Timestamp::from_microsecond(since.as_microsecond()).ok().filter(|_| since <= now + CLOCKS)
}

/// When a user asked for another password, if that is a time that has passed.
#[must_use]
pub fn rotation_requested(metadata: &ObjectMeta, now: Timestamp) -> Option<Timestamp> {
    said_time(metadata, ROTATE_REQUESTED_AT)?.ok().filter(|asked| *asked <= now + CLOCKS)
}

/// The time that an annotation has for its value, or the value if it is none.
fn said_time<'a>(metadata: &'a ObjectMeta, annotation: &str) -> Option<Result<Timestamp, &'a str>> {
    let value = metadata.annotations.as_ref()?.get(annotation)?.trim();
    Some(value.parse().map_err(|_| value))
}

/// The annotations of a TenantDatabase whose value must be a time and is none, each with its value.
#[must_use]
pub fn no_times(metadata: &ObjectMeta) -> Vec<(&'static str, &str)> {
    let said = |annotation: &'static str| Some((annotation, said_time(metadata, annotation)?.err()?));
    [CONFIRM_DELETIONS, BRING_BACK].into_iter().filter_map(said).collect()
}

/// Whether the object has `annotation` with just this value; anything else confirms nothing.
#[must_use]
pub fn confirms(metadata: &ObjectMeta, annotation: &str, value: &str) -> bool {
    metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(annotation))
        .is_some_and(|found| found == value)
}

/// The annotations that mean something on an object of this kind.
fn known(kind: &Kind) -> &'static [&'static str] {
    match kind {
        Kind::TenantDatabase => &[RECONCILE_REQUESTED_AT, TAKE_OVER, REBIND, CONFIRM_DELETIONS, BRING_BACK],
        Kind::TenantSchema => &[
            RECONCILE_REQUESTED_AT,
            CONFIRM_DROP,
            RECREATE,
            ABANDON,
            RECLAIM,
            CONFIRM_ADOPT,
            PAUSED,
            ROTATE_REQUESTED_AT,
            REVOKE_CREDENTIALS,
        ],
        Kind::SchemaBackup | Kind::Other(_) => &[RECONCILE_REQUESTED_AT, ABANDON],
        Kind::Lease => &[WANTED_BY],
    }
}

/// What to say of annotations of this operator's group that do nothing: misspelt, of another release or kind, with another value
/// than `message` tells to type, or where there is nothing that they could do. Values are not repeated.
#[must_use]
pub fn in_vain(metadata: &ObjectMeta, kind: &Kind, message: &str) -> String {
    let mut words = String::new();
    for (key, value) in metadata.annotations.iter().flatten() {
        if key.split_once('/').is_none_or(|(group, _)| group != GROUP) {
            continue;
        }
        let told = message.split_once(&format!("{key}=")).map(|(_, rest)| begins_with(rest, value));
        let (why, remove) = match told {
            _ if key == ABANDON && *kind == Kind::TenantDatabase => ("it is for one that cannot be read", true),
            _ if !known(kind).contains(&key.as_str()) => ("this release does not know it on this kind", true),
            // Any time means something, not only the one that the message proposes.
            Some(_) if [CONFIRM_DELETIONS, BRING_BACK].contains(&key.as_str()) => continue,
            // The message has the command with the right one.
            Some(false) => ("it has another value", false),
            None if key == RECLAIM && message.contains("the first keeps it") => {
                ("it takes back only what this namespace and name left behind, or spec.transfers gives", true)
            }
            _ => continue,
        };
        let _ = write!(words, "; the annotation {key} does nothing: {why}");
        if remove {
            let _ = write!(words, "; to remove it: {}", Object::of(kind.clone(), metadata).unannotate(key));
        }
    }
    words
}

/// Whether a text of a message begins with this value, and not with a longer one. A value may have commas in it.
fn begins_with(text: &str, value: &str) -> bool {
    let ends = |rest: &str| rest.is_empty() || rest.starts_with([';', ' ', ')', '\'']) || rest.starts_with(", ");
    text.strip_prefix(value).is_some_and(ends)
}

/// The value of an annotation that counts for one life: the schema's name, so that a person reads what it is about, and the id
/// of what the message was about, which comes only once.
#[must_use]
pub fn bound(schema_name: &str, id: impl Display) -> String {
    format!("{schema_name}@{id}")
}

/// One deletion of one tenant: by its id in the registry, by the UID of its object, and by the time at which that was deleted. A
/// restored etcd has the same object undeleted, and an object that took the tenant back may be deleted within the same second.
#[must_use]
pub fn deletion(schema_id: impl Display, uid: impl Display, deleted_at: Timestamp) -> String {
    format!("{schema_id}.{uid}.{deleted_at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(annotations: &[(&str, &str)]) -> ObjectMeta {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() }
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn check(kind: &Kind, key: &str, message: &str, expected: &str) {
        let (name, namespace) = (Some("school".to_owned()), Some("team-a".to_owned()));
        let metadata = ObjectMeta { name, namespace, ..annotated(&[(key, "school@1"), ("else.where/x", "y")]) };
        let found = in_vain(&metadata, kind, message);
        assert!(if expected.is_empty() { found.is_empty() } else { found.contains(expected) }, "{key}: {found}");
    }

    #[test]
    fn a_value_that_is_told_may_have_commas() {
        for (text, expected) in [("a,b; or", true), ("a,b", true), ("a,b, or", true), ("a,bc", false), ("a", false)] {
            assert_eq!(begins_with(text, "a,b"), expected, "{text}");
        }
        assert!(!begins_with("a,b; or", "a"));
    }

    #[test]
    fn annotations_that_do_nothing_get_a_word() {
        let schema = |key: &str, message: &str, expected| check(&Kind::TenantSchema, key, message, expected);
        schema(
            "edumatrixhub.io/reclam",
            "ready",
            "edumatrixhub.io/reclam does nothing: this release does not know it on this kind; to remove it: kubectl -n team-a \
             annotate tenantschema school edumatrixhub.io/reclam-",
        );
        schema(TAKE_OVER, "ready", "does not know it on this kind");
        check(&Kind::TenantDatabase, TAKE_OVER, "ready", "");
        check(&Kind::TenantDatabase, RECLAIM, "ready", "does not know it on this kind");
        check(&Kind::SchemaBackup, PAUSED, "ready", "does not know it on this kind");
        check(&Kind::TenantDatabase, ABANDON, "ready", "it is for one that cannot be read; to remove it: kubectl ");
        schema(ABANDON, "ready", "");
        check(&Kind::Other("TimedSnapshot".to_owned()), ABANDON, "ready", "");
        check(&Kind::Other("TimedSnapshot".to_owned()), RECLAIM, "ready", "does not know it on this kind");
        schema(CONFIRM_DROP, "to drop it: edumatrixhub.io/confirm-drop=school@2; or", "it has another value");
        schema(CONFIRM_DROP, "to drop it: edumatrixhub.io/confirm-drop=school@1; or", "");
        let brake = "if all are meant: kubectl annotate tenantdatabase default --overwrite edumatrixhub.io/bring-back=2026-01-01T00:00:00Z";
        check(&Kind::TenantDatabase, BRING_BACK, brake, "");
        check(
            &Kind::TenantDatabase,
            TAKE_OVER,
            "type edumatrixhub.io/take-over=school@1,2; or",
            "it has another value",
        );
        schema(RECLAIM, "ready", "");
        schema(
            RECLAIM,
            "schema a belongs to a tenant of another namespace; the first keeps it",
            "or spec.transfers gives",
        );
    }

    #[test]
    fn an_object_is_paused_by_the_annotation_alone() {
        let check = |annotations: &[(&str, &str)], expected: bool| {
            assert_eq!(is_paused(&annotated(annotations)), expected, "{annotations:?}");
        };
        check(&[(PAUSED, "true")], true);
        check(&[(PAUSED, "false")], true);
        check(&[(PAUSED, "")], true);
        check(&[(RECLAIM, "true")], false);
        check(&[], false);
        assert!(!is_paused(&ObjectMeta::default()));
    }

    #[test]
    fn a_time_to_come_confirms_nothing() {
        let now = time("2026-01-31T12:00:00Z");
        let check = |value: &str, counts: bool| {
            let metadata = annotated(&[(CONFIRM_DELETIONS, value), (BRING_BACK, value)]);
            let (said, to_come) = (counts.then(|| time(value)), (!counts).then(|| (CONFIRM_DELETIONS, time(value))));
            assert_eq!(confirmed_deletions(&metadata, now), said, "{value}");
            assert_eq!(bring_back_since(&metadata, now), said, "{value}");
            assert_eq!(time_to_come(&metadata, now), to_come, "{value}");
        };
        check("2025-12-31T12:00:00Z", true);
        check("2026-01-31T12:00:00Z", true);
        check("2026-01-31T12:01:00Z", true);
        check("2026-01-31T12:01:00.000000001Z", false);
        check("2027-01-31T12:00:00Z", false);
    }

    #[test]
    fn the_annotation_whose_time_is_to_come_is_named() {
        let (past, to_come) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        let metadata = annotated(&[(CONFIRM_DELETIONS, past), (BRING_BACK, to_come)]);
        assert_eq!(time_to_come(&metadata, time("2026-01-31T12:00:00Z")), Some((BRING_BACK, time(to_come))));
    }

    #[test]
    fn what_is_brought_back_is_as_exact_as_postgresql_keeps_it() {
        let metadata = annotated(&[(BRING_BACK, "2026-01-31T12:00:00.123456789Z")]);
        let since = bring_back_since(&metadata, time("2026-01-31T12:00:00Z"));
        assert_eq!(since, Some(time("2026-01-31T12:00:00.123456Z")));
    }

    #[test]
    fn a_value_that_is_no_time_is_told_and_confirms_nothing() {
        let now = time("2026-01-31T12:00:00Z");
        let check = |value: &str, expected: Option<&str>| {
            let metadata = annotated(&[(CONFIRM_DELETIONS, value), (BRING_BACK, value), (RECONCILE_REQUESTED_AT, "x")]);
            let told = expected.map(|value| vec![(CONFIRM_DELETIONS, value), (BRING_BACK, value)]);
            assert_eq!(no_times(&metadata), told.unwrap_or_default(), "{value}");
            assert_eq!(confirmed_deletions(&metadata, now).is_none(), expected.is_some(), "{value}");
            assert_eq!(bring_back_since(&metadata, now).is_none(), expected.is_some(), "{value}");
        };
        check("2026-01-31T12:00:00Z", None);
        check("2026-01-31T12:00:00+02:00", None);
        check(" 2026-01-31T12:00:00Z\n", None);
        check("2026-01-31", Some("2026-01-31"));
        check("2026-01-31T12:00:00", Some("2026-01-31T12:00:00"));
        check(" yes ", Some("yes"));
        check("", Some(""));
    }

    #[test]
    fn a_database_without_annotations_confirms_nothing_and_is_not_complained_about() {
        let (none, now) = (ObjectMeta::default(), time("2026-01-31T12:00:00Z"));
        assert_eq!((confirmed_deletions(&none, now), bring_back_since(&none, now)), (None, None));
        assert_eq!((time_to_come(&none, now), no_times(&none)), (None, vec![]));
    }

    #[test]
    fn only_the_whole_value_under_its_own_annotation_confirms() {
        let check = |key: &str, value: &str, expected: bool| {
            assert_eq!(confirms(&annotated(&[(key, value)]), CONFIRM_DROP, "school@1"), expected, "{key}={value}");
        };
        check(CONFIRM_DROP, "school@1", true);
        check(CONFIRM_DROP, "school@12", false);
        check(CONFIRM_DROP, "school@", false);
        check(CONFIRM_DROP, "School@1", false);
        check(CONFIRM_DROP, "school@1 ", false);
        check(CONFIRM_DROP, "", false);
        check(RECREATE, "school@1", false);
        assert!(!confirms(&ObjectMeta::default(), CONFIRM_DROP, ""));
    }

    #[test]
    fn a_confirmed_drop_is_of_one_deletion_of_one_object() {
        let value =
            |schema_id: &str, uid: &str, deleted_at: &str| bound("school", deletion(schema_id, uid, time(deleted_at)));
        let confirmed = value("id-1", "uid-1", "2026-01-31T12:00:00Z");
        assert_eq!(confirmed, "school@id-1.uid-1.2026-01-31T12:00:00Z");
        let metadata = annotated(&[(CONFIRM_DROP, &confirmed)]);
        let check = |value: &str, expected: bool| {
            assert_eq!(confirms(&metadata, CONFIRM_DROP, value), expected, "{value}");
        };
        check(&value("id-1", "uid-1", "2026-01-31T12:00:00Z"), true);
        check(&value("id-2", "uid-1", "2026-01-31T12:00:00Z"), false);
        check(&value("id-1", "uid-2", "2026-01-31T12:00:00Z"), false);
        check(&value("id-1", "uid-1", "2026-01-31T12:00:01Z"), false);
    }
}
