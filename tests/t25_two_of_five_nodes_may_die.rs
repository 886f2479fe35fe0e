//! C1, C4, C5, C7: five voters. The leader and another node die and stay dead; every node that is left takes writes, and
//! reads what any other acknowledged. A third death is one too many: that nothing is answered then shows that all five
//! voted.
//!
//! ```text
//! n1 … n5 ── a write each ── leader ✗ and another ✗ ── each of three: write, read everywhere ── ✗ ── no_leader ×2
//! ```

#![allow(
    clippy::expect_used,
    reason = "a test program: it panics with what happened"
)]

use jarvis_harness::{DevCluster, DevOptions, Programs, Request, eventually, phase, programs};
use serde_json::Value;

const JARVIS: Programs = programs!();

/// Each survivor is asked first, in the middle and last.
const ROUNDS: usize = 3;

#[test]
fn two_of_five_nodes_may_die_and_not_a_third() {
    let mut cluster = JARVIS.dev(&options());
    cluster.wait_until_ready();
    let voters = voters(&cluster.status(0));
    assert_eq!(voters, 5, "{}", cluster.status(0));
    for index in cluster.all() {
        assert_eq!(cluster.put(index, &name_of(index), "example-before"), 1);
    }

    phase("the leader dies, and another one with it");
    let leader = cluster.wait_for_leader();
    let other = (leader + 1) % cluster.count();
    cluster.kill(leader);
    cluster.kill(other);
    let alive: Vec<usize> = cluster
        .all()
        .filter(|index| *index != leader && *index != other)
        .collect();
    let heir = cluster.wait_for_leader_other_than(leader);
    assert!(alive.contains(&heir), "node {heir} leads and is dead");

    phase("each of the others takes writes, and what it acknowledged is read everywhere");
    for index in cluster.all() {
        for asked in &alive {
            let read = cluster.get(*asked, &name_of(index));
            assert_eq!(read["value"], "example-before", "node {asked}: {read}");
        }
    }
    for round in 0..ROUNDS {
        for written in &alive {
            let value = format!("example-{round}-{written}");
            let version = cluster.put(*written, "t25/shared", &value);
            // At once and without another try.
            for asked in &alive {
                let read = cluster.get(*asked, "t25/shared");
                assert_eq!(read["value"], value.as_str(), "node {asked}: {read}");
                assert_eq!(read["version"], version, "node {asked}: {read}");
            }
        }
    }
    eventually("the status tells who is there", || {
        let status = cluster.status(heir);
        let reachable = nodes(&status).filter(|node| node["reachable"] == true);
        (reachable.count() == alive.len()).then_some(())
    });

    phase("two of five are no majority");
    cluster.kill(heir);
    let left: Vec<usize> = alive.into_iter().filter(|index| *index != heir).collect();
    eventually("nobody calls itself ready", || {
        let is_ready = |index: &usize| cluster.is_well(*index, "/readyz");
        (!left.iter().any(is_ready)).then_some(())
    });
    refuse_everything(&cluster, &left);
    cluster.stop();
}

/// Timeouts at which five nodes on two busy cores elect nobody without need, and a deadline that allows for them.
fn options() -> DevOptions {
    DevOptions {
        nodes: 5,
        restarts: false,
        environment: vec![
            ("JARVIS_SECRETSD_RAFT_HEARTBEAT_MS", "100"),
            ("JARVIS_SECRETSD_RAFT_ELECTION_MIN_MS", "500"),
            ("JARVIS_SECRETSD_RAFT_ELECTION_MAX_MS", "1000"),
            ("JARVIS_SECRETSD_LIMITS_REQUEST_DEADLINE_MS", "3000"),
        ],
    }
}

fn name_of(index: usize) -> String {
    format!("t25/node-{index}")
}

fn nodes(status: &Value) -> impl Iterator<Item = &Value> {
    status["nodes"].as_array().expect("a list").iter()
}

fn voters(status: &Value) -> usize {
    nodes(status).filter(|node| node["voter"] == true).count()
}

/// All at once: each takes the whole deadline.
fn refuse_everything(cluster: &DevCluster, left: &[usize]) {
    std::thread::scope(|scope| {
        for index in left.iter().copied() {
            for request in [
                Request::write("t25/shared", "example-late"),
                Request::read("t25/shared", ""),
            ] {
                scope.spawn(move || {
                    cluster
                        .ask_as_admin(index, request)
                        .refused(503, "no_leader");
                });
            }
        }
    });
}
