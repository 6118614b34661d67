//! Row-level security: which rows of its tenant an application reads and writes, by what it sets for its session.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Which rows the tenant's logins have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RowLevelSecurity {
    /// What becomes of that which reads or writes past the policies: views that read with the rights of their owner,
    /// materialized views, `SECURITY DEFINER` functions, and tables that can have no policy. `Required`: all but the owner lose
    /// their rights on it until it is safe, and new tables, views and functions are closed to all but the owner until the
    /// operator has looked at them. `BestEffort`: it is told and nothing more.
    ///
    /// Default: `Required`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<RowSecurityMode>,

    /// The policies; a row has to meet all that are about its table, the command and the role. At most 16.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub policies: Vec<RowPolicy>,
}

/// One policy: a column must be equal to a setting of the session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RowPolicy {
    /// The name of the policy, which is a part of its name in the database.
    #[schemars(length(min = 1, max = 40), regex(pattern = schema::NAMESPACE_NAME))]
    pub name: String,

    /// The column, of type `uuid`, `smallint`, `integer`, `bigint`, `text` or `varchar`.
    #[schemars(length(min = 1, max = 63))]
    pub column: String,

    /// The setting of the session that the column is compared with, such as `app.current_user_id`. Where it is not set, or is no
    /// value of the column's type, there are no rows.
    #[schemars(length(min = 3, max = 63), regex(pattern = schema::CUSTOM_SETTING))]
    pub setting: String,

    /// The tables, with their partitions and children; at most 64.
    ///
    /// Default: all that have the column.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub tables: Option<Vec<String>>,

    /// The commands that the policy is about.
    ///
    /// Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub commands: Option<Vec<RowCommand>>,

    /// The roles that the policy is about: `reader` and `writer` of this tenant, and who is a member of them. The logins of
    /// `spec.connectionSecret` are members of both.
    ///
    /// Default: all but the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub roles: Option<Vec<RowRole>>,
}

/// What becomes of that which reads or writes past policies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum RowSecurityMode {
    /// It is closed to all but the owner until it is safe.
    #[default]
    Required,
    /// It is told.
    BestEffort,
}

/// A command that a policy is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum RowCommand {
    /// To read rows.
    Select,
    /// To add rows.
    Insert,
    /// To change rows.
    Update,
    /// To remove rows.
    Delete,
}

/// A role that a policy is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::schema::undescribed)]
pub enum RowRole {
    /// The role that reads.
    Reader,
    /// The role that writes.
    Writer,
}

/// How far policies are in force.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RowSecurityStatus {
    /// How many tables have policies of the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub tables: Option<i32>,

    /// What reads or writes past the policies, the first five; the condition `RowSecurity` says how many there are, and the
    /// statements.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5), inner(length(max = 640)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub uncovered: Option<Vec<String>>,
}
