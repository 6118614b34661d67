//! Whether the tenant's roles can do anything beyond its schema, as a condition of its own.
//!
//! It is beside `Ready`: a tenant that reaches too far works, and a single `GRANT` must not make a thousand applications look
//! broken. It says what the latest look found, and no time: a look that finds the same writes nothing.

use crate::{
    api::condition::{Readiness, Reason, Verdict},
    contract::{Hole, HoleKind},
};

/// What the condition says. `holes` are nothing while no survey has looked.
pub(super) fn isolation(schema: &str, is_closed: bool, holes: Option<&[Hole]>) -> Verdict {
    let (ready, reason, message) = match holes {
        _ if is_closed => (Readiness::Unknown, Reason::AccessClosed, format!("schema {schema} is suspended")),
        None => {
            let message = "no survey has looked at the rights of the tenant's roles yet".to_owned();
            (Readiness::Unknown, Reason::NotLookedAt, message)
        }
        Some([]) => {
            let message = format!("the tenant's roles can do nothing beyond schema {schema}");
            (Readiness::True, Reason::NoHoleFound, message)
        }
        Some(holes @ [first, ..]) => (Readiness::False, reason(&first.kind), told(holes)),
    };
    Verdict::of(reason, message, ready)
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
