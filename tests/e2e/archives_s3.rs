//! Archives in a real S3 server, which refuses credentials, goes away and comes back.

use std::{
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use devcluster::{free_port, wait_until};
use serde_json::json;
use tenant_schema_operator::api::SchemaBackup;
use tokio::{io::copy_bidirectional, net::TcpListener};

use crate::{
    archives::Archives as _,
    world::{World, condition},
};

/// An S3 server, which ends with its input and so with this value, and the way to it, which can be closed.
struct Gateway {
    _process: Child,
    port: u16,
    open: Arc<AtomicBool>,
}

impl Gateway {
    /// Starts one with a bucket; nothing where it can neither be found nor built, which is printed.
    async fn start(folder: &Path) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/versitygw");
        let version = Command::new(script).arg("--version").output().unwrap();
        if !version.status.success() {
            println!("left out: S3; {}", String::from_utf8_lossy(&version.stderr));
            return None;
        }
        std::fs::create_dir_all(folder.join("archives")).unwrap();
        let behind = free_port().unwrap();
        let process = Command::new(script)
            .args([folder.to_str().unwrap(), &behind.to_string()])
            .envs([("ROOT_ACCESS_KEY_ID", "operator"), ("ROOT_SECRET_ACCESS_KEY", "right")])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until(Duration::from_secs(20), "the S3 server", || TcpStream::connect(("127.0.0.1", behind)).is_ok())
            .unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(AtomicBool::new(true));
        let passes = open.clone();
        tokio::spawn(async move {
            while let Ok((mut incoming, _)) = listener.accept().await {
                if passes.load(Ordering::Relaxed)
                    && let Ok(mut outgoing) = tokio::net::TcpStream::connect(("127.0.0.1", behind)).await
                {
                    tokio::spawn(async move { copy_bidirectional(&mut incoming, &mut outgoing).await });
                }
            }
        });
        Some(Self { _process: process, port, open })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_s3_store_that_refuses_or_goes_away_holds_archives_up_and_loses_none() {
    let world = World::new(json!({})).await;
    let Some(gateway) = Gateway::start(&world.files.path().join("s3")).await else { return };
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT n AS id FROM generate_series(1, 1000) AS n");
    let secret = format!("store-{}", world.id);
    let keys =
        |password: &str| json!({ "accessKeyId": "operator", "secretAccessKey": password, "region": "us-east-1" });

    // A wrong password is told, without it; the right one is found by itself.
    world.write_secret_of(&secret, &keys("hunter2")).await;
    let endpoint = format!("http://127.0.0.1:{}", gateway.port);
    let store =
        json!({ "url": "s3://archives/of/schools", "endpoint": endpoint, "credentialsSecretRef": { "name": secret } });
    world.set_store(store).await;
    let message = world.store_says("False", "StoreRefused").await;
    assert!(message.contains("credentials") && !message.contains("hunter2"), "{message}");
    world.write_secret_of(&secret, &keys("right")).await;
    let message = world.store_says("True", "StoreUsable").await;
    assert!(message.contains("s3://archives/of/schools"), "{message}");
    let spec = json!({ "tenantSchemaRef": { "name": "school" }, "method": "Archive" });
    let backups = world.api::<SchemaBackup>();
    world.apply_backup("first", spec.clone()).await;
    let first = world.until_ready(&backups, "first", "True", "Completed").await;
    assert!(first.status.unwrap().verified_time.is_some());

    // One that cannot be written says so, waits, and comes when the store is back.
    gateway.open.store(false, Ordering::Relaxed);
    world.apply_backup("second", spec.clone()).await;
    world.store_says("False", "StoreUnreachable").await;
    world
        .eventually("the archive waits", async || {
            let backup = backups.get("second").await.unwrap();
            let ready = condition(&backup, "Ready");
            ready.is_some_and(|(status, reason, _)| {
                status == "False" && ["StoreUnavailable", "ProgressingWithRetry", "Running"].contains(&reason.as_str())
            })
        })
        .await;
    gateway.open.store(true, Ordering::Relaxed);
    world.store_says("True", "StoreUsable").await;
    world.until_ready(&backups, "second", "True", "Completed").await;
    world.finish().await;
}
