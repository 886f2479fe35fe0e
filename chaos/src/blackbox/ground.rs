//! What is true of the cluster by our own doing: who runs, who can hear whom; and so, when a majority could go on.
//!
//! It errs on the side of "could not": a node counts as up again only when it answers. What is said here excuses silence,
//! and never a wrong answer.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who runs and who hears whom, and when there was a quorum.
#[derive(Debug)]
pub(crate) struct Ground(Mutex<State>);

#[derive(Debug)]
struct State {
    is_up: Vec<bool>,
    /// `hears[a][b]`: what b says reaches a.
    hears: Vec<Vec<bool>>,
    /// When it changed, and whether there was a quorum from then on.
    changes: Vec<(u64, bool)>,
}

impl Ground {
    /// All run and hear each other.
    pub(crate) fn new(nodes: usize) -> Self {
        Self(Mutex::new(State {
            is_up: vec![true; nodes],
            hears: vec![vec![true; nodes]; nodes],
            changes: vec![(0, true)],
        }))
    }

    /// From now on these nodes run, or do not.
    pub(crate) fn set_up(&self, now_ns: u64, nodes: &[usize], is_up: bool) {
        let mut state = self.state();
        for node in nodes {
            state.is_up[*node] = is_up;
        }
        state.note(now_ns);
    }

    /// From now on what the first of each pair says reaches the second, or does not.
    pub(crate) fn set_heard(&self, now_ns: u64, pairs: &[(usize, usize)], is_heard: bool) {
        let mut state = self.state();
        for (from, to) in pairs {
            state.hears[*to][*from] = is_heard;
        }
        state.note(now_ns);
    }

    /// The nodes that run.
    pub(crate) fn up(&self) -> Vec<usize> {
        let state = self.state();
        let all = state.is_up.iter().enumerate();
        all.filter(|(_, is_up)| **is_up)
            .map(|(node, _)| node)
            .collect()
    }

    /// Whether a majority could go on all the time between these moments.
    pub(crate) fn held_throughout(&self, from_ns: u64, to_ns: u64) -> bool {
        let lost = self.lost(to_ns);
        !lost
            .iter()
            .any(|(lost, back)| *lost <= to_ns && *back > from_ns)
    }

    /// When no majority could go on, up to that moment.
    pub(crate) fn lost(&self, until_ns: u64) -> Vec<(u64, u64)> {
        let state = self.state();
        let mut lost = Vec::new();
        let mut since = None;
        for (at_ns, has_quorum) in &state.changes {
            match (since, *has_quorum) {
                (None, false) => since = Some(*at_ns),
                (Some(from), true) => {
                    lost.push((from, *at_ns));
                    since = None;
                }
                _ => {}
            }
        }
        lost.extend(since.map(|from| (from, until_ns.saturating_add(1))));
        lost
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, now_ns: u64) {
        let has_quorum = self.has_quorum();
        if self
            .changes
            .last()
            .is_none_or(|(_, last)| *last != has_quorum)
        {
            self.changes.push((now_ns, has_quorum));
        }
    }

    /// A leader with a majority of nodes that it hears and that hear it.
    fn has_quorum(&self) -> bool {
        let nodes = self.is_up.len();
        let majority = nodes / 2 + 1;
        (0..nodes)
            .filter(|leader| self.is_up[*leader])
            .any(|leader| {
                let follows = |other: &usize| {
                    let other = *other;
                    let is_heard = self.hears[leader][other] && self.hears[other][leader];
                    self.is_up[other] && (other == leader || is_heard)
                };
                (0..nodes).filter(follows).count() >= majority
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_a_leader_with_a_majority_in_both_directions() {
        let ground = Ground::new(3);
        ground.set_up(10, &[0], false);
        assert!(ground.held_throughout(0, 100));
        ground.set_heard(20, &[(1, 2)], false);
        assert!(!ground.held_throughout(0, 100));
        assert!(ground.held_throughout(0, 19));
        ground.set_up(30, &[0], true);
        assert!(ground.held_throughout(30, 100));
        assert_eq!(ground.lost(100), [(20, 30)]);
        assert_eq!(ground.up(), [0, 1, 2]);
        ground.set_up(40, &[0, 1, 2], false);
        assert_eq!(ground.lost(100), [(20, 30), (40, 101)]);
    }

    #[test]
    fn a_ring_of_majorities_and_a_bridge_leave_a_quorum() {
        let ground = Ground::new(5);
        let far = (0..5).flat_map(|node| [(node, (node + 2) % 5), (node, (node + 3) % 5)]);
        let far: Vec<(usize, usize)> = far.collect();
        ground.set_heard(1, &far, false);
        assert!(ground.held_throughout(0, 9));
        ground.set_heard(10, &far, true);
        let halves = [0, 1].into_iter().flat_map(|a| [3, 4].map(|b| (a, b)));
        let halves: Vec<(usize, usize)> = halves.flat_map(|(a, b)| [(a, b), (b, a)]).collect();
        ground.set_heard(11, &halves, false);
        assert!(ground.held_throughout(0, 20));
        ground.set_up(21, &[2], false);
        assert!(!ground.held_throughout(0, 30));
    }
}
