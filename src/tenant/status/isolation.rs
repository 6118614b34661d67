//! Whether the tenant's roles can do anything beyond its schema, as a condition of its own.
//!
//! It is beside `Ready`: a tenant that reaches too far works, and a single `GRANT` must not make a thousand applications look
//! broken. It says what the latest look found, and no time: a look that finds the same writes nothing.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    api::condition::{ConditionType, Reason, Verdict, find, put, whole_seconds},
    contract::{Hole, HoleKind},
};

/// Puts the condition among those of the verdict. `holes` are nothing while nobody looked.
pub(super) fn tell(
    conditions: &mut Vec<Condition>,
    schema: &str,
    is_closed: bool,
    holes: Option<&[Hole]>,
    generation: i64,
    now: Timestamp,
) {
    let (status, reason, message) = match holes {
        _ if is_closed => ("Unknown", Reason::AccessClosed, format!("schema {schema} is suspended")),
        None => ("Unknown", Reason::NotLookedAt, "no survey has looked at the rights of the tenant's roles yet".into()),
        Some([]) => ("True", Reason::NoHoleFound, format!("the tenant's roles can do nothing beyond schema {schema}")),
        Some(holes @ [first, ..]) => ("False", reason(&first.kind), told(holes)),
    };
    let type_ = ConditionType::Isolated;
    let since = find(conditions, type_)
        .filter(|before| before.status == status)
        .map_or_else(|| whole_seconds(now), |before| before.last_transition_time.clone());
    let told = Condition {
        type_: type_.as_str().to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message: Verdict::of(reason, message, true).message().to_owned(),
        observed_generation: Some(generation),
        last_transition_time: since,
    };
    put(conditions, told);
}

fn reason(kind: &HoleKind) -> Reason {
    match kind {
        HoleKind::Attribute | HoleKind::Membership => Reason::RoleTooPowerful,
        HoleKind::Function => Reason::FunctionTooPowerful,
        HoleKind::Database | HoleKind::Schema | HoleKind::Table | HoleKind::Other(_) => Reason::RightsTooWide,
    }
}

fn told(holes: &[Hole]) -> String {
    let tell = |hole: &Hole| match &hole.statement {
        Some(statement) if hole.repairable => format!("{}; the operator runs, or a DBA can: {statement}", hole.what),
        Some(statement) => format!("{}; a DBA can run: {statement}", hole.what),
        None => hole.what.clone(),
    };
    holes.iter().map(tell).collect::<Vec<_>>().join("; ")
}
