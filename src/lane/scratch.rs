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
const NOTE: &str = "note_scratch";
const LEFT: &str = "left_scratch";

/// What the database answers that has some left.
#[derive(Deserialize)]
struct Left {
    left: Vec<LeftScratch>,
}

impl Lane {
    /// Works with a database that is this job's alone and has these extensions.
    pub async fn with_scratch<T>(
        &self,
        job: Uuid,
        extensions: &Value,
        work: impl AsyncFnOnce(&BegunScratch) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let begun: BegunScratch =
            self.answer(BEGIN, self.functions.begin_scratch(self.hold, job, extensions).await?)?;
        if let Some(message) = begun.because {
            return Err(Error::Refused { call: BEGIN, message, may_pass: false });
        }
        let worked = async {
            self.make(&begun).await?;
            work(&begun).await
        }
        .await;
        // One that cannot be removed now is removed when the next one is, or when the lane is opened next.
        if let Err(error) = self.sweep_scratch(Some(job)).await {
            tracing::warn!(database = self.database, scratch = begun.name, %error, "cannot remove a scratch database");
        }
        worked
    }

    /// Removes the scratch databases that no job uses, and those of this job; of what keeps some the first is the error.
    pub async fn sweep_scratch(&self, job: Option<Uuid>) -> Result<(), Error> {
        let Left { left } = self.answer(LEFT, self.functions.left_scratch(self.hold, job).await?)?;
        if left.is_empty() {
            return Ok(());
        }
        let mut failed = Ok(());
        for LeftScratch { drop, .. } in &left {
            // One that a session keeps must not keep the others.
            failed = failed.and(self.functions.pool().outside_transaction(drop).await);
        }
        // They are forgotten when they are gone.
        self.answer::<Left>(LEFT, self.functions.left_scratch(self.hold, job).await?)?;
        failed
    }

    /// Takes the right to make schemas in it from the tenant, which has made its own.
    pub async fn seal_scratch(&self, begun: &BegunScratch) -> Result<(), Error> {
        self.functions.pool().outside_transaction(&begun.seal).await
    }

    async fn make(&self, begun: &BegunScratch) -> Result<(), Error> {
        for statement in &begun.make {
            self.functions.pool().outside_transaction(statement).await?;
        }
        // From now on it is known by its number.
        self.answer::<Value>(NOTE, self.functions.note_scratch(self.hold, &begun.name).await?)?;
        if !begun.prepare.is_empty() {
            self.functions.pool().run_in(&begun.name, &begun.prepare).await?;
        }
        for statement in &begun.open {
            self.functions.pool().outside_transaction(statement).await?;
        }
        Ok(())
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
