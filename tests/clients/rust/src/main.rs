//! Rows of a Rust application, so many at once.

mod db;

use std::error::Error;

use sqlx::PgPool;
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    task::JoinSet,
};

async fn login(pool: PgPool) -> Result<String, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    sqlx::query("INSERT INTO pupils (name) VALUES ($1)").bind("Ada").execute(&mut *connection).await?;
    let question = "SELECT current_user::text FROM pg_stat_ssl, pg_sleep(0.3) WHERE pid = pg_backend_pid() AND ssl";
    sqlx::query_scalar(question).fetch_one(&mut *connection).await
}

async fn work(pool: &PgPool, count: usize) -> Result<String, sqlx::Error> {
    let tasks: JoinSet<_> = (0..count).map(|_| login(pool.clone())).collect();
    let logins: Result<Vec<_>, _> = tasks.join_all().await.into_iter().collect();
    Ok(logins?.join(" "))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let pool = match db::open().await {
        Ok(pool) => pool,
        Err(error) => return Ok(println!("answer: error: {error}")),
    };
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = work(&pool, line.parse()?).await.unwrap_or_else(|error| format!("error: {error}"));
        println!("answer: {answer}");
    }
    Ok(())
}
