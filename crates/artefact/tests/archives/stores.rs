//! What a store promises: nothing is overwritten, nothing of others is touched, and what is wrong is told apart.

use std::{fs, os::unix::fs::symlink};

use artefact::{Key, Probe, Scope, Store, StoreAccess, StoreUrl, error::StoreError};
use bytes::Bytes;
use devcluster::{CertificateAuthority, ServerCertificate, free_port};
use uuid::Uuid;

use crate::{
    ground::{Gateway, PASSWORD, access, folder, grounds, place, read_whole, s3},
    stub::Stub,
};

#[tokio::test]
async fn an_object_is_created_once_and_then_stays() {
    for ground in grounds() {
        let key = place().manifest();
        let missing = ground.store.size(&key).await;
        assert!(matches!(missing, Err(StoreError::NotFound(_))), "{missing:?}");
        ground.store.put_new(&key, Bytes::from_static(b"first")).await.unwrap();
        let again = ground.store.put_new(&key, Bytes::from_static(b"second")).await;
        assert!(matches!(again, Err(StoreError::Exists(_))), "{again:?}");
        assert_eq!(read_whole(&ground.store, &key).await.unwrap(), b"first");
        assert_eq!(ground.store.size(&key).await, Ok(5));
        assert_eq!(ground.store.get_small(&key, 5).await.unwrap(), b"first".as_slice());
        assert!(ground.store.get_small(&key, 4).await.is_err());
        ground.store.delete(&key).await.unwrap();
        ground.store.delete(&key).await.unwrap();
        let gone = read_whole(&ground.store, &key).await;
        assert!(matches!(gone, Err(StoreError::NotFound(_))), "{gone:?}");
    }
}

#[tokio::test]
async fn what_others_have_is_neither_listed_nor_touched() {
    for ground in grounds() {
        let (mine, other) = (place(), place());
        let sibling = artefact::Place { schema_id: Uuid::new_v4(), ..mine };
        for key in
            [mine.dump(true), mine.manifest(), sibling.manifest(), other.manifest(), Key::owner(mine.installation_id)]
        {
            ground.store.put_new(&key, Bytes::from_static(b"x")).await.unwrap();
        }
        let sorted = |keys: &[Key]| {
            let mut keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
            keys.sort();
            keys
        };
        let all = [mine.dump(true), mine.manifest(), sibling.manifest(), Key::owner(mine.installation_id)];
        assert_eq!(ground.keys(mine.installation_id).await, sorted(&all));
        let artefact::Place { installation_id, schema_id, backup_id, .. } = mine;
        let both = sorted(&[mine.dump(true), mine.manifest()]);
        assert_eq!(ground.listed(Scope::Schema { installation_id, schema_id }).await, both);
        assert_eq!(ground.listed(Scope::Backup { installation_id, schema_id, backup_id }).await, both);
        assert_eq!(ground.keys(Uuid::new_v4()).await, Vec::<String>::new());
        for key in ground.keys(mine.installation_id).await {
            ground.store.delete(&Key::parse(mine.installation_id, &key).unwrap()).await.unwrap();
        }
        assert_eq!(ground.keys(other.installation_id).await, sorted(&[other.manifest()]));
    }
}

#[tokio::test]
async fn a_good_store_proves_itself_and_keeps_nothing_of_it() {
    for ground in grounds() {
        let installation_id = Uuid::new_v4();
        assert_eq!(ground.store.probe(installation_id).await, Ok(Probe { may_delete: true }));
        assert_eq!(ground.keys(installation_id).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_store_that_overwrites_is_found_out() {
    let stub = Stub::start(false, true).await;
    let store = Store::open(&s3("bucket"), &access(stub.port, PASSWORD)).unwrap();
    let found = store.probe(Uuid::new_v4()).await;
    assert!(matches!(found, Err(StoreError::IgnoresConditions(_))), "{found:?}");
    assert_eq!(stub.names(), Vec::<String>::new());
}

#[tokio::test]
async fn probes_do_not_pile_up_where_nothing_is_deleted() {
    let stub = Stub::start(true, false).await;
    let store = Store::open(&s3("bucket"), &access(stub.port, PASSWORD)).unwrap();
    let installation_id = Uuid::new_v4();
    for _ in 0..3 {
        assert_eq!(store.probe(installation_id).await, Ok(Probe { may_delete: false }));
    }
    let names = stub.names();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].ends_with(&format!("{installation_id}/probe")), "{names:?}");
}

#[tokio::test]
async fn what_is_wrong_is_told_apart_and_no_secret_is_told() {
    let open = |port, password| Store::open(&s3("bucket-that-is-not/x"), &access(port, password)).unwrap();
    let check = async |store: Store, expected: fn(&StoreError) -> bool| {
        let error = store.probe(Uuid::new_v4()).await.unwrap_err();
        assert!(expected(&error), "{error:?}");
        assert!(error.to_string().contains("s3://bucket-that-is-not/x"), "{error}");
        let told = format!("{error} {error:?} {store:?}");
        assert!(!told.contains(PASSWORD) && !told.contains("hunter2"), "{told}");
    };
    check(open(free_port().unwrap(), "hunter2"), StoreError::may_pass).await;
    let Some(gateway) = Gateway::shared() else { return };
    check(open(gateway.port, "hunter2"), |error| matches!(error, StoreError::Refused(_))).await;
    check(open(gateway.port, PASSWORD), |error| matches!(error, StoreError::NotFound(_))).await;
}

#[tokio::test]
async fn a_server_is_trusted_by_the_authority_that_is_given() {
    let authority = CertificateAuthority::new("stores").unwrap();
    let wanted = ServerCertificate { names: vec!["127.0.0.1".to_owned()], expired: false };
    let issued = authority.server(&wanted).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("certificate"), dir.path().join("key"));
    fs::write(&certificate, issued.certificate).unwrap();
    fs::write(&key, issued.key).unwrap();
    let files = [("VGW_CERT", certificate.to_str().unwrap()), ("VGW_KEY", key.to_str().unwrap())];
    let Some(gateway) = Gateway::start(&files) else { return };
    fs::create_dir(gateway.folder.join("bucket")).unwrap();
    let mut access = gateway.access(PASSWORD);
    access.endpoint = Some(format!("https://127.0.0.1:{}", gateway.port));
    let untrusted = Store::open(&s3("bucket"), &access).unwrap().probe(Uuid::new_v4()).await;
    assert!(matches!(&untrusted, Err(StoreError::Invalid(why)) if why.contains("give the CA")), "{untrusted:?}");
    access.ca_pem = Some(authority.certificate().as_bytes().to_vec());
    let trusted = Store::open(&s3("bucket"), &access).unwrap().probe(Uuid::new_v4()).await;
    assert_eq!(trusted, Ok(Probe { may_delete: true }));
}

#[test]
fn no_secret_is_in_what_debug_shows() {
    let told = format!("{:?}", access(1, "hunter2"));
    assert!(told.contains("secretAccessKey") && !told.contains("hunter2"), "{told}");
    let store = Store::open(&s3("bucket"), &access(1, "hunter2")).unwrap();
    assert_eq!(format!("{store:?}"), "Store { url: \"s3://bucket\", .. }");
}

#[test]
fn what_cannot_be_opened_says_why() {
    let check = |change: fn(&mut StoreAccess), says: &str| {
        let mut access = access(1, "hunter2");
        change(&mut access);
        let message = Store::open(&s3("bucket"), &access).unwrap_err().to_string();
        assert!(message.contains(says) && !message.contains("hunter2"), "{message}");
    };
    check(|access| access.endpoint = Some("https://operator:hunter2@host".to_owned()), "without credentials");
    check(|access| access.endpoint = Some("host:9000".to_owned()), "`https://host`");
    check(|access| access.ca_pem = Some(b"hunter2".to_vec()), "PEM");
    check(|access| drop(access.credentials.remove("accessKeyId")), "both");
}

#[test]
fn no_link_leads_out_of_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    let (root, elsewhere) = (top.join("root"), top.join("elsewhere"));
    fs::create_dir(&root).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, root.join("out")).unwrap();
    symlink(root.join("within"), root.join("in")).unwrap();
    fs::create_dir(root.join("within")).unwrap();
    let open = |path: &str| {
        let url = StoreUrl::parse(&format!("file://{}/{path}", root.display()), Some(&root)).unwrap();
        Store::open(&url, &StoreAccess::default())
    };
    for path in ["out", "out/deeper/still"] {
        let message = open(path).unwrap_err().to_string();
        assert!(message.contains("link that leads out"), "{message}");
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    open("in").unwrap();
    open("a/new/folder").unwrap();
    let url = StoreUrl::parse(&format!("file://{}/none/x", top.display()), Some(&top.join("none"))).unwrap();
    let message = Store::open(&url, &StoreAccess::default()).unwrap_err().to_string();
    assert!(message.contains("mounted"), "{message}");
}

#[tokio::test]
async fn a_file_in_the_way_is_told() {
    let ground = folder();
    let installation_id = Uuid::new_v4();
    fs::write(ground.folder.join(installation_id.to_string()), b"in the way").unwrap();
    let error = ground.store.probe(installation_id).await.unwrap_err();
    assert!(error.to_string().contains("file://") && !error.may_pass(), "{error}");
}
