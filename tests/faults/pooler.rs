//! A transaction pooler stands between. `make test-pooler` runs all end-to-end tests so; here are the main ones.

use devcluster::shared;
use serde_json::json;

use super::{errands, ground::Ground};
use crate::tools::pooler::Pooler;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_through_a_transaction_pooler() {
    if !Pooler::is_to_be_had() {
        println!("PgBouncer is not to be had here: left out");
        return;
    }
    let pooler = Pooler::start(shared().unwrap().postgres());
    let mut ground = Ground::new(shared().unwrap().postgres(), json!({})).await;
    ground.world.write_secret(json!({ "port": pooler.port.to_string() })).await;
    ground.start();
    ground.world.database_ready().await;
    errands::before(&ground).await;
    errands::run(&ground).await;
    errands::assert_done(&ground).await;
    ground.assert_unharmed();
    ground.finish().await;
}
