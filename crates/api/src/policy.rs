//! What a tenant and the database that hosts it both speak about: how much room there is, and what happens at the end.
//!
//! Here are the words only. Which word wins when tenant and database differ is decided where the desired state is made.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{Bytes, QuantityError};

/// What happens to the schema when its `TenantSchema` is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum DeletionPolicy {
    /// The schema is set aside as the final backup, then the tenant is gone.
    #[default]
    BackupThenDrop,
    /// The schema is dropped without a backup, once that was confirmed.
    Drop,
    /// The schema stays as it is.
    Retain,
}

/// What happens when a tenant uses more than its quota.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum Enforcement {
    /// Status and metrics say so; the tenant goes on.
    #[default]
    Report,
    /// Nothing more is written to it; rows can be read and deleted.
    Block,
    /// The same, and at 110 % nobody comes in any more.
    Suspend,
}

/// How much storage a tenant may use, and what happens beyond.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// The storage that the tenant may use: tables, materialized views, indexes, sequences, TOAST and large objects together, such as
    /// `5Gi` (suffixes Ki, Mi, Gi, Ti, Pi, Ei of 1024; k, M, G, T, P, E of 1000; a bare number is bytes and needs quotes in
    /// YAML). More than 0 and at most `8Pi`.
    ///
    /// Default: the database's `defaults.quota.limit`, and without it no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        validation = Rule::new(super::schema::SIZE_RULE)
            .message("limit must be a size such as 5Gi, with one of the suffixes Ki Mi Gi Ti Pi Ei k M G T P E"),
        validation = Rule::new(super::schema::SIZE_BOUNDS_RULE).message("limit must be more than 0 and at most 8Pi")
    )]
    pub limit: Option<String>,

    /// From how many percent of the limit on the tenant is warned about.
    ///
    /// Default: the database's `defaults.quota.warningPercent`, and without it `80`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub warning_percent: Option<i32>,

    /// What happens when the limit is reached. `Report`: status and metrics say so and the tenant goes on. `Block`: its
    /// sessions end and nothing more is written, while rows can be read and deleted; writes come back below 95 %.
    /// `Suspend`: the same, and at 110 % nobody comes in any more until it is below 100 %, which a higher limit does.
    ///
    /// Default: the database's `defaults.quota.enforcement`, and without it `Report`; at least the database's
    /// `limits.enforcementAtLeast`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
}

impl DeletionPolicy {
    /// The word as manifests have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BackupThenDrop => "BackupThenDrop",
            Self::Drop => "Drop",
            Self::Retain => "Retain",
        }
    }

    /// The one of the two that takes less away.
    #[must_use]
    pub fn safer(self, other: Self) -> Self {
        let order = [Self::Retain, Self::BackupThenDrop, Self::Drop];
        order.into_iter().find(|policy| [self, other].contains(policy)).unwrap_or(self)
    }
}

impl Enforcement {
    /// The word as manifests have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Report => "Report",
            Self::Block => "Block",
            Self::Suspend => "Suspend",
        }
    }
}

impl Quota {
    /// From how many percent on nothing more is written, where that is enforced.
    pub const BLOCK_PERCENT: i32 = 100;
    /// Below how many percent writes come back.
    pub const ALLOW_PERCENT: i32 = 95;
    /// From how many percent on nobody comes in, where that is enforced.
    pub const SUSPEND_PERCENT: i32 = 110;
    /// From how many percent on a tenant is measured faster than by surveys, where the quota is enforced.
    pub const WATCH_PERCENT: i32 = 90;

    /// From how many percent on a tenant is warned about, if the spec does not say.
    pub const DEFAULT_WARNING_PERCENT: i32 = 80;

    /// The limit in bytes; `None` if this quota sets none.
    pub fn limit(&self) -> Result<Option<Bytes>, QuantityError> {
        self.limit.as_deref().map(Bytes::parse_quota).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::DeletionPolicy::{BackupThenDrop, Drop, Retain};
    use super::*;

    #[test]
    fn the_safer_policy_takes_less_away() {
        let check = |one: DeletionPolicy, other: DeletionPolicy, expected: DeletionPolicy| {
            assert_eq!((one.safer(other), other.safer(one)), (expected, expected));
        };
        check(Retain, BackupThenDrop, Retain);
        check(Retain, Drop, Retain);
        check(BackupThenDrop, Drop, BackupThenDrop);
        check(Drop, Drop, Drop);
    }

    #[test]
    fn a_word_is_the_one_of_manifests() {
        for policy in [BackupThenDrop, Drop, Retain] {
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.as_str());
        }
        for enforcement in [Enforcement::Report, Enforcement::Block, Enforcement::Suspend] {
            assert_eq!(serde_json::to_value(enforcement).unwrap(), enforcement.as_str());
        }
    }

    #[test]
    fn a_limit_that_is_left_out_is_none_and_one_of_nothing_is_refused() {
        let check = |limit: Option<&str>, expected: Result<Option<u64>, &str>| {
            let quota = Quota { limit: limit.map(str::to_owned), ..Quota::default() };
            let found = quota.limit().map(|limit| limit.map(Bytes::get)).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        check(None, Ok(None));
        check(Some("5Gi"), Ok(Some(5 << 30)));
        check(Some("1"), Ok(Some(1)));
        check(Some("0"), Err("\"0\" is nothing; a quota must be more than 0 bytes, leave it out for no limit"));
        check(Some("much"), Err("\"much\" is not a size; write a number and a unit, such as 5Gi"));
    }
}
