//! Every state that can come about, and what can be said of all of them together.

use std::collections::HashMap;

use crate::rules::{Model, State};

/// A step from one state to another, by their numbers.
struct Edge {
    from: usize,
    to: usize,
    passes_on: bool,
}

/// All states, in the order in which they were found.
pub struct Explored {
    pub states: Vec<State>,
    edges: Vec<Edge>,
    /// The first thing that must never be, and where.
    pub wrong: Option<(&'static str, State)>,
}

/// Takes every step from every state, with failures or without. Ends at the first that is wrong.
pub fn explore(model: &Model, failures: bool) -> Explored {
    let mut explored = Explored { states: vec![model.begin()], edges: Vec::new(), wrong: None };
    let mut numbers = HashMap::from([(model.begin(), 0)]);
    let mut from = 0;
    while from < explored.states.len() {
        for step in model.steps(&explored.states[from].clone()) {
            if step.is_failure && !failures {
                continue;
            }
            if let Some(wrong) = step.wrong {
                explored.wrong = Some((wrong, step.after));
                return explored;
            }
            let next = explored.states.len();
            let to = *numbers.entry(step.after.clone()).or_insert(next);
            if to == next {
                explored.states.push(step.after);
            }
            explored.edges.push(Edge { from, to, passes_on: step.passes_on });
        }
        from += 1;
    }
    explored
}

impl Explored {
    /// A state from which no replica ever comes to work.
    pub fn stuck(&self) -> Option<&State> {
        let served = (0..self.states.len()).filter(|state| self.states[*state].is_served());
        let reaches = self.spread(served.collect(), |edge| (edge.to, edge.from));
        self.states.iter().zip(reaches).find(|(_, reaches)| !reaches).map(|(state, _)| state)
    }

    /// A state in which two replicas believe to hold the Lease.
    pub fn two_believe(&self) -> Option<&State> {
        let believe = |state: &&State| state.replicas.iter().filter(|replica| replica.believes).count() > 1;
        self.states.iter().find(believe)
    }

    /// A state to which the steps lead back after the Lease was passed on.
    pub fn passed_on_for_ever(&self) -> Option<&State> {
        let leads_back = |edge: &&Edge| self.spread(vec![edge.to], |edge| (edge.from, edge.to))[edge.from];
        let passes_on = self.edges.iter().filter(|edge| edge.passes_on);
        passes_on.clone().find(leads_back).map(|edge| &self.states[edge.from])
    }

    /// Some replica passes the Lease on to another.
    pub fn is_passed_on(&self) -> bool {
        self.edges.iter().any(|edge| edge.passes_on)
    }

    /// Which states are reached from these along the edges, in the direction that is asked for.
    fn spread(&self, begin: Vec<usize>, direction: impl Fn(&Edge) -> (usize, usize)) -> Vec<bool> {
        let mut next = vec![Vec::new(); self.states.len()];
        for (from, to) in self.edges.iter().map(direction) {
            next[from].push(to);
        }
        let mut reached = vec![false; self.states.len()];
        let mut left = begin;
        while let Some(state) = left.pop() {
            if !std::mem::replace(&mut reached[state], true) {
                left.extend(&next[state]);
            }
        }
        reached
    }
}
