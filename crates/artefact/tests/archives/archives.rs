//! From a source to a checked object, and everything that must not pass for one.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use artefact::{
    Artefact, Checked, Expected, Identities, Key, Place, archive, check,
    error::{ArchiveError, CheckError, StoreError},
};
use bytes::Bytes;

use crate::ground::{End, Ground, Pieces, folder, grounds, keys, noise, place};

/// More than two parts, so that an upload has several in flight and a last one that is short.
const LONG: usize = 20_000_000;

fn expected(artefact: &Artefact) -> Expected {
    Expected { bytes: artefact.bytes, sha256: artefact.sha256.clone() }
}

fn key(place: Place, artefact: &Artefact) -> Key {
    Key::parse(place.installation_id, &artefact.key).unwrap()
}

#[tokio::test]
async fn what_is_archived_is_checked() {
    let (recipients, identities) = keys();
    for ground in grounds() {
        for (length, recipients) in
            [(LONG, Some(&recipients)), (LONG, None), (10_000, Some(&recipients)), (10_000, None)]
        {
            let place = place();
            let told = AtomicU64::new(0);
            let source = Pieces::new(&noise(length), End::Whole);
            let progress = |bytes| told.store(bytes, Ordering::Relaxed);
            let artefact = archive(&ground.store, &place, source, recipients, None, progress).await.unwrap();
            assert_eq!(artefact.plain_bytes, length as u64);
            assert_eq!(artefact.bytes, told.into_inner());
            let key = key(place, &artefact);
            assert_eq!(key, place.dump(recipients.is_some()));
            assert_eq!(ground.store.size(&key).await, Ok(artefact.bytes));
            let whole =
                Checked { bytes: artefact.bytes, decoded: true, plain_bytes: Some(length as u64), entries: None };
            let checked = check(&ground.store, &key, &expected(&artefact), Some(&identities), None).await.unwrap();
            assert_eq!(checked, whole);
            let checked = check(&ground.store, &key, &expected(&artefact), None, None).await.unwrap();
            assert_eq!(checked.decoded, recipients.is_none());
        }
    }
}

#[tokio::test]
async fn what_is_not_what_was_written_is_told() {
    let (recipients, identities) = keys();
    for ground in grounds() {
        let place = place();
        let source = Pieces::new(&noise(3_000_000), End::Whole);
        let artefact = archive(&ground.store, &place, source, Some(&recipients), None, |_| ()).await.unwrap();
        let key = key(place, &artefact);
        let good = fs::read(ground.file(&key)).unwrap();
        let look = async |expected: &Expected, identities: &Identities| {
            check(&ground.store, &key, expected, Some(identities), None).await
        };
        let expected = expected(&artefact);
        look(&expected, &identities).await.unwrap();
        let found = look(&expected, &keys().1).await;
        assert!(matches!(found, Err(CheckError::WrongKey)), "{found:?}");
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        fs::write(ground.file(&key), &flipped).unwrap();
        let found = look(&expected, &identities).await;
        let Err(CheckError::Digest { found: other, .. }) = found else { panic!("{found:?}") };
        // The digest of what is damaged: it was written so.
        let damaged = Expected { sha256: other, ..expected.clone() };
        let found = look(&damaged, &identities).await;
        assert!(matches!(found, Err(CheckError::Damaged(_))), "{found:?}");
        fs::write(ground.file(&key), &good[..good.len() - 1]).unwrap();
        let found = look(&expected, &identities).await;
        assert!(matches!(found, Err(CheckError::Length { .. })), "{found:?}");
        ground.store.delete(&key).await.unwrap();
        let found = look(&expected, &identities).await;
        assert!(matches!(found, Err(CheckError::Missing(_))), "{found:?}");
    }
}

#[tokio::test]
async fn what_is_no_dump_is_told() {
    let ground = folder();
    let place = place();
    let source = Pieces::new(b"PGDM", End::Whole);
    let artefact = archive(&ground.store, &place, source, None, None, |_| ()).await.unwrap();
    let found = check(&ground.store, &key(place, &artefact), &expected(&artefact), None, None).await;
    assert!(matches!(&found, Err(CheckError::Damaged(why)) if why.contains("no dump")), "{found:?}");
}

#[tokio::test]
async fn what_fails_or_is_dropped_leaves_nothing() {
    for ground in grounds() {
        for length in [10_000, LONG] {
            let place = place();
            let source = Pieces::new(&noise(length), End::Failed);
            let failed = archive(&ground.store, &place, source, None, None, |_| ()).await;
            assert!(matches!(&failed, Err(error @ ArchiveError::Dump(_)) if error.may_pass()), "{failed:?}");
            assert_eq!(ground.keys(place.installation_id).await, Vec::<String>::new());
            ground.is_empty_soon().await;
            let source = Pieces::new(&noise(length), End::Stuck);
            let stuck = archive(&ground.store, &place, source, None, None, |_| ());
            assert!(tokio::time::timeout(Duration::from_secs(4), stuck).await.is_err());
            ground.is_empty_soon().await;
        }
    }
}

#[tokio::test]
async fn what_is_there_is_not_overwritten() {
    for ground in grounds() {
        for length in [10_000, LONG] {
            let place = place();
            ground.store.put_new(&place.dump(false), Bytes::from_static(b"first")).await.unwrap();
            let source = Pieces::new(&noise(length), End::Whole);
            let refused = archive(&ground.store, &place, source, None, None, |_| ()).await;
            assert!(matches!(refused, Err(ArchiveError::Store(StoreError::Exists(_)))), "{refused:?}");
            assert_eq!(fs::read(ground.file(&place.dump(false))).unwrap(), b"first");
        }
        raced(&ground).await;
    }
}

/// One that came after the upload has begun.
async fn raced(ground: &Ground) {
    let key = place().dump(false);
    let mut upload = ground.store.upload(&key).await.unwrap();
    upload.write(Bytes::from_static(b"second")).await.unwrap();
    ground.store.put_new(&key, Bytes::from_static(b"first")).await.unwrap();
    let refused = upload.finish().await;
    assert!(matches!(refused, Err(StoreError::Exists(_))), "{refused:?}");
    assert_eq!(fs::read(ground.file(&key)).unwrap(), b"first");
}

#[tokio::test]
async fn a_limit_is_kept() {
    let ground = folder();
    let begin = Instant::now();
    let source = Pieces::new(&noise(1_500_000), End::Whole);
    let artefact = archive(&ground.store, &place(), source, None, Some(1_000_000), |_| ()).await.unwrap();
    let least = Duration::from_secs_f64(f64::from(u32::try_from(artefact.bytes).unwrap()) / 1_000_000.0);
    assert!(begin.elapsed() >= least, "{:?} for {} bytes", begin.elapsed(), artefact.bytes);
}
