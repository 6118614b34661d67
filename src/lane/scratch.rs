//! Scratch databases: each is made for one job, to restore an archive of a tenant in, and removed when that ended. One that an operator
//! left which was killed is removed when the lane is opened next, or before another is made.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use uuid::Uuid;

use super::Lane;
use crate::{
    contract::{BegunScratch, CallResult, CallStatus, LeftScratch},
    postgres::Error,
};

/// What the calls are called in messages.
const BEGIN: &str = "begin_scratch";
const LEFT: &str = "left_scratch";

/// What the database answers that has some left.
#[derive(Deserialize)]
struct Left {
    left: Vec<LeftScratch>,
}

impl Lane {
    /// Works with a database that is this job's alone and has these extensions, by its name; or says why there can be none, for a person.
    pub async fn with_scratch<T>(
        &self,
        job: Uuid,
        extensions: &Value,
        work: impl AsyncFnOnce(&str) -> Result<T, Error>,
    ) -> Result<Result<T, String>, Error> {
        // What an earlier attempt of this job left.
        self.sweep_scratch(Some(job)).await?;
        let begun: BegunScratch =
            self.answer(BEGIN, self.functions.begin_scratch(self.hold, job, extensions).await?)?;
        if let Some(because) = begun.because {
            return Ok(Err(because));
        }
        let worked = async {
            if let Err(error) = self.make(job, &begun).await {
                return if error.is_transient() { Err(error) } else { Ok(Err(error.to_string())) };
            }
            work(&begun.name).await.map(Ok)
        }
        .await;
        // One that cannot be removed now is removed before the next one is made, or when the lane is opened next.
        if let Err(error) = self.sweep_scratch(Some(job)).await {
            tracing::debug!(database = self.database, scratch = begun.name, %error, "cannot remove a scratch database");
        }
        worked
    }

    /// Removes the scratch databases that no job uses, and that of this job.
    pub async fn sweep_scratch(&self, job: Option<Uuid>) -> Result<(), Error> {
        let Left { left } = self.answer(LEFT, self.functions.left_scratch(self.hold, job).await?)?;
        if left.is_empty() {
            return Ok(());
        }
        for LeftScratch { drop, .. } in &left {
            self.functions.pool().alone(drop).await?;
        }
        // They are forgotten when they are gone.
        let Left { left } = self.answer(LEFT, self.functions.left_scratch(self.hold, job).await?)?;
        let names: Vec<_> = left.into_iter().map(|left| left.name).collect();
        if names.is_empty() {
            return Ok(());
        }
        let message = format!("databases are still there that were removed: {}", names.join(", "));
        Err(Error::Refused { call: LEFT, message, may_pass: true })
    }

    async fn make(&self, job: Uuid, begun: &BegunScratch) -> Result<(), Error> {
        for statement in &begun.make {
            self.functions.pool().alone(statement).await?;
        }
        // From now on it is known by its number.
        self.answer::<BegunScratch>(BEGIN, self.functions.begin_scratch(self.hold, job, &Value::Null).await?)?;
        if begun.prepare.is_empty() {
            return Ok(());
        }
        self.functions.pool().run_in(&begun.name, &begun.prepare).await
    }

    fn answer<T: DeserializeOwned>(&self, call: &'static str, result: CallResult) -> Result<T, Error> {
        self.judge(&result);
        match result.status {
            CallStatus::Success | CallStatus::Unchanged => {
                serde_json::from_value(result.detail).map_err(|source| Error::Answer { call, source })
            }
            CallStatus::Busy | CallStatus::Error | CallStatus::Partial => {
                let may_pass = result.may_pass() || result.status == CallStatus::Busy;
                Err(Error::Refused { call, message: result.message, may_pass })
            }
        }
    }
}
