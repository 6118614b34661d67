//! What a person reads of policies on a tenant's tables.

use crate::{
    api::{
        condition::{Reason, Verdict},
        row_security::{RowSecurityMode, RowSecurityStatus},
    },
    contract::{Call, RowSecurityState, TenantRow, Uncovered},
    plan::Applied,
    tenant::desired::Desired,
    text::count,
};

/// How the policies stand after a pass, if the spec asks for any and the database told: what the status has, and the condition.
pub(super) fn policies(
    desired: &Desired,
    row: Option<&TenantRow>,
    applied: &Applied,
) -> Option<(RowSecurityStatus, Verdict)> {
    let wanted = desired.row_security.as_ref()?;
    let answer = applied.results.iter().rev().find(|result| result.call == Call::SetRowSecurity);
    let told = answer.and_then(|answer| RowSecurityState::of(&answer.detail));
    let found = row.and_then(|row| row.row_security.as_deref()).filter(|found| found.digest == wanted.digest);
    let state = told.or_else(|| Some(found?.state.clone()))?;
    let status = RowSecurityStatus {
        tables: Some(state.tables),
        uncovered: Some(state.uncovered.iter().map(|open| open.what.clone()).collect()),
    };
    let mode = wanted.mode.unwrap_or_default();
    let verdict = verdict(&state, mode);
    Some((status, verdict))
}

fn verdict(state: &RowSecurityState, mode: RowSecurityMode) -> Verdict {
    let covered = count(i64::from(state.tables), "table");
    let forced = forced(&state.forced);
    if state.left > 0 {
        let left = count(state.left, "table, view or function");
        let held = state.held.as_ref().map_or_else(String::new, |table| format!("; a session holds table {table}"));
        return Verdict::of(
            Reason::PoliciesPending,
            format!("{covered} with policies; looked at again: {left}{held}{forced}"),
            false,
        );
    }
    if state.uncovered_count > 0 {
        let closed = match mode {
            RowSecurityMode::Required => "are closed to all but the owner and its members until they are safe",
            RowSecurityMode::BestEffort => "are as open as their owner made them",
        };
        let listed: Vec<_> = state.uncovered.iter().map(line).collect();
        let others = state.uncovered_count - i64::try_from(listed.len()).unwrap_or_default();
        let others = if others > 0 { format!("; and {others} more") } else { String::new() };
        return Verdict::of(
            Reason::PastPolicies,
            format!("{covered} with policies; these pass them, and {closed}: {}{others}{forced}", listed.join("; ")),
            false,
        );
    }
    Verdict::of(Reason::PoliciesInForce, format!("{covered} with policies{forced}"), true)
}

fn line(open: &Uncovered) -> String {
    match &open.statement {
        Some(statement) => format!("{}: {statement}", open.what),
        None => open.what.clone(),
    }
}

/// Policies that bind the owner hide rows from its backups. What is told are the statements that end that.
fn forced(statements: &[String]) -> String {
    if statements.is_empty() {
        return String::new();
    }
    format!("; the owner is bound as well, so that its backups are refused: {}", statements.join("; "))
}
