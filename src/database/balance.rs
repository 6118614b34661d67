//! How replicas share databases. Pure.
//!
//! The replica that holds fewer asks the one that holds more. The difference must be two: at one, moving a database
//! would only swap their numbers.

use std::collections::BTreeMap;

/// What the Lease of a database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The Lease's name.
    pub lease: &'a str,
    /// The replica that holds it.
    pub holder: Option<&'a str>,
    /// The replica that asks for it.
    pub wanted_by: Option<&'a str>,
}

/// The Lease that this replica asks for: the first by name of the replica that holds the most, if it holds at least two more
/// than this one. What is asked for counts as given already, and one question at a time is enough.
#[must_use]
pub fn asks_for<'a>(claims: &[Claim<'a>], identity: &str) -> Option<&'a str> {
    if claims.iter().any(|claim| claim.wanted_by == Some(identity)) {
        return None;
    }
    let mut loads = BTreeMap::<_, usize>::new();
    for replica in claims.iter().filter_map(|claim| claim.wanted_by.or(claim.holder)) {
        *loads.entry(replica).or_default() += 1;
    }
    let enough = loads.get(identity).copied().unwrap_or_default() + 2;
    let most = loads.values().copied().max().filter(|most| *most >= enough)?;
    // All replicas see the same one, and the API server lets only one of them ask.
    let rich = |claim: &&Claim| claim.holder.and_then(|holder| loads.get(holder)) == Some(&most);
    claims.iter().filter(|claim| claim.wanted_by.is_none()).filter(rich).map(|claim| claim.lease).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claims such as `l1 a, l2 a>b`: the holder, and the replica that asks.
    fn check(claims: &str, identity: &str, expected: Option<&str>) {
        let name = |name: &'static str| Some(name).filter(|name| !name.is_empty());
        let claims: Vec<_> = claims.to_owned().leak().split(", ").filter(|claim| !claim.is_empty()).collect();
        let claims: Vec<_> = claims
            .into_iter()
            .map(|claim| {
                let (lease, replicas) = claim.split_once(' ').unwrap();
                let (holder, asking) = replicas.split_once('>').unwrap_or((replicas, ""));
                Claim { lease, holder: name(holder), wanted_by: name(asking) }
            })
            .collect();
        assert_eq!(asks_for(&claims, identity), expected, "{identity}: {claims:?}");
    }

    #[test]
    fn who_holds_two_fewer_asks() {
        check("", "b", None);
        check("l1 a", "b", None);
        check("l1 a, l2 a", "b", Some("l1"));
        check("l1 a, l2 a", "a", None);
        check("l1 a, l2 b", "b", None);
        check("l1 a, l2 a, l3 b", "b", None);
        check("l1 a, l2 a, l3 b", "c", Some("l1"));
        check("l1 b, l2 a, l3 a, l4 a", "b", Some("l2"));
        // Of the richest replica, in any order of the claims.
        check("l4 c, l3 c, l2 c, l1 a, l0 a", "b", Some("l2"));
        check("l3 c, l2 c, l1 a, l0 a", "b", Some("l0"));
    }

    #[test]
    fn a_question_counts_as_answered() {
        check("l1 a>b, l2 a", "b", None);
        check("l1 a>b, l2 a", "c", None);
        check("l1 a>b, l2 a, l3 a", "c", Some("l2"));
        check("l1 a>b, l2 a, l3 a, l4 a", "b", None);
        // No replica asks in turn for what is being given away.
        check("l1 a>b, l2 a>c, l3 a", "a", None);
    }

    #[test]
    fn a_database_without_a_holder_is_for_the_first_that_asks() {
        check("l1 , l2 ", "b", None);
        check("l1 , l2 a, l3 a", "b", Some("l2"));
    }

    #[test]
    fn questions_end_in_balance_in_any_order() {
        for (databases, replicas) in [(2, 2), (3, 2), (7, 3), (20, 4), (3, 5)] {
            let names: Vec<_> = (0..replicas).map(|replica| format!("r{replica}")).collect();
            let leases: Vec<_> = (0..databases).map(|database| format!("l{database:02}")).collect();
            let mut holders = vec![names[0].as_str(); databases];
            let parts = |holders: &[&str]| -> Vec<usize> {
                names.iter().map(|name| holders.iter().filter(|holder| *holder == name).count()).collect()
            };
            let unevenness = |holders: &[&str]| parts(holders).iter().map(|part| part * part).sum::<usize>();
            loop {
                let claim = |(lease, holder)| Claim { lease, holder: Some(holder), wanted_by: None };
                let claims: Vec<_> =
                    leases.iter().map(String::as_str).zip(holders.iter().copied()).map(claim).collect();
                let asked = names.iter().rev().find_map(|name| Some((name, asks_for(&claims, name)?)));
                let Some((name, lease)) = asked else { break };
                let before = unevenness(&holders);
                holders[leases.iter().position(|other| other == lease).unwrap()] = name;
                assert!(unevenness(&holders) < before, "nothing goes back and forth");
            }
            let parts = parts(&holders);
            assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1, "{holders:?}");
        }
    }
}
