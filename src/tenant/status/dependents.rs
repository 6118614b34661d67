//! Views and functions of the tenant that ended with one that gave it a grant, as a condition of its own.
//!
//! It is beside `Ready`: the tenant works, and only what it made over another's tables is not there.

use serde_json::from_value;

use crate::{
    api::{
        RECONCILE_REQUESTED_AT,
        command::Object,
        condition::{Reason, Verdict},
    },
    contract::{Call, TakenRow, TakenWord, TenantRow},
    plan::Applied,
    tenant::desired::Desired,
    text::DOCS,
};

/// What the condition says; nothing when nothing is missing.
pub(super) fn dependents(desired: &Desired, row: Option<&TenantRow>, applied: &Applied) -> Option<Verdict> {
    let answer = applied.results.iter().rev().find(|result| result.call == Call::RemakeDependents);
    let told =
        answer.and_then(|answer| from_value::<Option<Box<[TakenRow]>>>(answer.detail.get("taken")?.clone()).ok());
    let taken = told.unwrap_or_else(|| row?.taken.clone())?;
    let command = || {
        Object::tenant(&desired.owner.namespace, &desired.owner.name)
            .annotate(RECONCILE_REQUESTED_AT, "<now>".to_owned())
    };
    let line = |taken: &TakenRow| match taken.state {
        TakenWord::Away => {
            format!("{taken} ended when that was set aside; made again when it is back and gives its grant")
        }
        TakenWord::Due | TakenWord::Other(_) => format!("{taken} can be made again now"),
        TakenWord::Left => format!(
            "{taken} could not be made again: {}; how to find what makes them: {DOCS}/operations.md#what-ended-with-another-tenant; to try it again: {}",
            taken.note.as_deref().unwrap_or("no reason is known"),
            command()
        ),
        TakenWord::Gone => format!(
            "{taken} ended with that for good; what they were is kept for 90 days: {DOCS}/operations.md#what-ended-with-another-tenant; to forget it: {}",
            command()
        ),
    };
    let lines: Vec<_> = taken.iter().map(line).collect();
    let is_lost = taken.iter().any(|taken| matches!(taken.state, TakenWord::Left | TakenWord::Gone));
    let reason = if is_lost { Reason::NotMadeAgain } else { Reason::GrantorAway };
    (!lines.is_empty()).then(|| Verdict::of(reason, lines.join("; "), false))
}
