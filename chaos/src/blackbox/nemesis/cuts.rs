//! Who can hear whom.

use std::sync::Arc;
use std::time::Duration;

use super::{Done, Rig};
use crate::blackbox::faults::FaultKind;
use crate::blackbox::network::{self, Pairs};
use crate::blackbox::schedule::Step;
use crate::dice::Dice;

pub(super) async fn run(rig: Arc<Rig>, steps: Vec<Step>) {
    for step in steps {
        let waited = rig.wait_for(&step).await;
        let start_ns = rig.now_ns();
        let done = match waited {
            Ok(()) => cut(&rig, &step).await,
            Err(reason) => Done::skipped(reason),
        };
        rig.record(step.kind, start_ns, done);
    }
}

async fn cut(rig: &Rig, step: &Step) -> Done {
    let mut dice = Dice::new(step.luck);
    let Some((places, pairs)) = shape(rig, step.kind, &mut dice).await else {
        return Done::skipped("nobody led");
    };
    let held_before = rig.network.held();
    rig.network.cut(&pairs, true);
    rig.ground.set_heard(rig.now_ns(), &pairs, false);
    tokio::time::sleep(Duration::from_millis(step.hold_ms)).await;
    rig.network.cut(&pairs, false);
    rig.ground.set_heard(rig.now_ns(), &pairs, true);
    let held = rig.network.held() - held_before;
    Done::if_seen(places, held > 0, "nothing was under way there")
}

/// The nodes that it is about, and the ways that are cut.
async fn shape(rig: &Rig, kind: FaultKind, dice: &mut Dice) -> Option<(Vec<usize>, Pairs)> {
    let nodes = rig.nodes();
    let any = rig.any(dice);
    let order = rig.several(dice, nodes);
    Some(match kind {
        FaultKind::IsolateLeader => {
            let leader = rig.leader().await?;
            (vec![leader], network::isolated(nodes, leader))
        }
        FaultKind::SplitMajority => {
            let minority = order[..nodes / 2].to_vec();
            let pairs = network::split(nodes, &minority);
            (minority, pairs)
        }
        FaultKind::OneWayIn => (vec![any], network::deaf(nodes, any)),
        FaultKind::OneWayOut => (vec![any], network::mute(nodes, any)),
        FaultKind::Bridge => (vec![order[nodes / 2]], network::bridge(&order)),
        FaultKind::Ring => {
            let pairs = network::ring(&order);
            (order, pairs)
        }
        _ => (vec![any], network::isolated(nodes, any)),
    })
}
