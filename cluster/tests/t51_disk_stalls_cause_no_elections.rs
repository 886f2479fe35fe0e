//! Slow disks elect nobody: Raft's core only queues what it appends, and heartbeats go on while the log waits for
//! fdatasync. Only a flush of more than a second makes the leader hand over, in good order (DESIGN 7).
//!
//! Three whole nodes in one process, over real sockets with TLS, with the product's own timing. Only the disks are not
//! real: each sync of a log takes as long as the story wants.

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use jarvis_cluster::Node;
use jarvis_domain::command::{Change, Command, Write};
use jarvis_domain::name::SecretName;
use jarvis_domain::outcome::Outcome;
use jarvis_domain::secret::{About, SealedValue};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

#[path = "disk_stalls_support/cluster.rs"]
mod cluster;
#[path = "disk_stalls_support/disk.rs"]
mod disk;

use cluster::{Cluster, mutation};

/// What DESIGN 7 promises to be harmless.
const STALL: Duration = Duration::from_millis(100);
const LEADERS_STALL: Duration = Duration::from_millis(150);
/// Longer than a follower ever waits for a heartbeat (a lease of 400 ms, then at most 400 ms more), so that a core which
/// waits for its disk loses its office; and shorter than what makes a leader hand over.
const CORE_TEST_STALL: Duration = Duration::from_millis(850);
/// A flush of more than this makes the leader hand over.
const SLOW_FLUSH: Duration = Duration::from_secs(1);
/// Does not end before the leader has handed over.
const ENDLESS_STALL: Duration = Duration::from_secs(60);

/// How long nobody may be elected, per kind of stall: ten seconds in all.
const WATCHED: [Duration; 3] = [
    Duration::from_millis(4_000),
    Duration::from_millis(2_500),
    Duration::from_millis(3_500),
];
/// Through every node something is acknowledged this often. It takes a fraction of a second.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(2);
/// When the machine let nobody run for so long, an election is no wonder, and the phase is tried again.
const STOOD_STILL: Duration = Duration::from_millis(50);
const TRIES: usize = 3;

/// Between two writes of one writer: the disks are never idle, the processors are.
const BETWEEN_WRITES: Duration = Duration::from_millis(40);
const VALUE_BYTES: usize = 100;
/// Names that a writer writes to in turn.
const NAMES: u64 = 16;

/// Far above what an idle machine needs.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What a request waits for its answer.
const DEADLINE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t51_disk_stalls_cause_no_elections() {
    phase("three nodes under load");
    let cluster = Box::pin(Cluster::start()).await;
    let load = Load::start(&cluster.nodes);
    let pulse = Pulse::start();
    let story = Story {
        cluster,
        load,
        pulse,
    };

    phase("every sync of every log takes 100 ms");
    story.nobody_is_elected(STALL, STALL, WATCHED[0]).await;

    phase("every sync of the leader's log takes 150 ms");
    story
        .nobody_is_elected(LEADERS_STALL, Duration::ZERO, WATCHED[1])
        .await;

    phase("every sync of the leader's log takes longer than any election timeout");
    story
        .nobody_is_elected(CORE_TEST_STALL, Duration::ZERO, WATCHED[2])
        .await;

    phase("a sync of the leader's log does not come to an end");
    story.the_leader_hands_over().await;

    phase("a leader whose disk hangs is asked to hand over");
    story.who_asks_for_a_hand_over_learns_of_it().await;

    let Story { cluster, load, .. } = story;
    load.stop().await;
    assert_eq!(Box::pin(cluster.stop()).await, Vec::<String>::new());
}

struct Story {
    cluster: Cluster,
    load: Load,
    pulse: Pulse,
}

impl Story {
    /// With such stalls the leader stays, and serves.
    async fn nobody_is_elected(&self, on_leader: Duration, on_others: Duration, span: Duration) {
        for _ in 0..TRIES {
            let leader = self.cluster.leader().await;
            self.pulse.take_worst();
            self.cluster.stall(leader, on_leader, on_others);
            let outcome = self.watch(leader, span).await;
            let last_flushes: Vec<Duration> = self
                .cluster
                .nodes
                .iter()
                .map(|node| Duration::from_micros(node.wal().last_flush_micros()))
                .collect();
            self.cluster.release();
            let stood_still = self.pulse.take_worst();
            match outcome {
                Ok(()) => {
                    for (position, flush) in last_flushes.iter().enumerate() {
                        let stall = if position == leader {
                            on_leader
                        } else {
                            on_others
                        };
                        assert!(*flush >= stall, "the disks did not stall: {last_flushes:?}");
                    }
                    return;
                }
                Err(reason) if stood_still >= STOOD_STILL => {
                    eprintln!("the machine stood still for {stood_still:?}, so again: {reason}");
                }
                Err(reason) => panic!("{reason} (and the machine did not stand still)"),
            }
        }
        panic!("this machine stands still too often to tell anything");
    }

    /// What went wrong within that time, if anything did.
    async fn watch(&self, leader: usize, span: Duration) -> Result<(), String> {
        let nodes = &self.cluster.nodes;
        let (leader_id, term) = (nodes[leader].id(), nodes[leader].probe().term);
        let end = Instant::now() + span;
        let mut writers: Vec<(u64, Instant)> = self
            .load
            .acknowledged()
            .into_iter()
            .map(|count| (count, Instant::now()))
            .collect();
        while Instant::now() < end {
            for node in nodes {
                let (named, its_term) = (node.leader(), node.probe().term);
                if (named, its_term) != (Some(leader_id), term) {
                    return Err(format!(
                        "node {} has {named:?} lead in term {its_term}; it was {leader_id} in {term}",
                        node.id()
                    ));
                }
            }
            // Heartbeats go on: a majority has answered one lately.
            if !nodes[leader].leads() {
                return Err("no majority answers the leader".to_owned());
            }
            for (writer, count) in writers.iter_mut().zip(self.load.acknowledged()) {
                if count > writer.0 {
                    *writer = (count, Instant::now());
                } else if writer.1.elapsed() > ACKNOWLEDGED_WITHIN {
                    return Err(format!(
                        "nothing was acknowledged for {:?}",
                        writer.1.elapsed()
                    ));
                }
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// A leader whose disk hangs gives its office away while the disk still hangs, and follows once it is back.
    async fn the_leader_hands_over(&self) {
        let old = self.cluster.leader().await;
        self.pulse.take_worst();
        let begun = Instant::now();
        self.cluster.stall(old, ENDLESS_STALL, Duration::ZERO);
        self.the_others_have_another(old).await;
        let (took, stood_still) = (begun.elapsed(), self.pulse.take_worst());
        eprintln!("handed over after {took:?}");
        assert!(
            took >= SLOW_FLUSH || stood_still >= STOOD_STILL,
            "it was voted out after {took:?}, before it could hand over"
        );

        let before = self.load.acknowledged();
        until("the others serve while that disk hangs", || {
            self.load
                .acknowledged()
                .iter()
                .zip(&before)
                .enumerate()
                .all(|(position, (now, before))| position == old || now > before)
        })
        .await;

        self.the_old_leader_follows(old).await;
    }

    /// The old leader's Raft saves the new leader's vote before it knows of it, and waits for the disk that hangs.
    async fn who_asks_for_a_hand_over_learns_of_it(&self) {
        let old = self.cluster.leader().await;
        let node = &self.cluster.nodes[old];
        self.cluster.stall(old, ENDLESS_STALL, Duration::ZERO);
        until("a sync of the leader's log hangs", || {
            node.wal()
                .pending_flush()
                .is_some_and(|since| since > STALL)
        })
        .await;
        assert_eq!(node.transfer_leader(None).await, Ok(()));
        self.the_others_have_another(old).await;
        self.the_old_leader_follows(old).await;
    }

    async fn the_others_have_another(&self, old: usize) {
        let nodes = self.cluster.nodes.iter().enumerate();
        let others: Vec<&Node> = nodes
            .filter(|(position, _)| *position != old)
            .map(|(_, node)| node)
            .collect();
        until("the others have another leader", || {
            others.iter().all(|node| self.names_another(node, old))
        })
        .await;
    }

    /// Once its disk is back, and all three serve.
    async fn the_old_leader_follows(&self, old: usize) {
        self.cluster.release();
        until("the old leader follows", || {
            self.names_another(&self.cluster.nodes[old], old)
        })
        .await;
        let before = self.load.acknowledged();
        until("all three serve", || {
            let now = self.load.acknowledged();
            now.iter().zip(&before).all(|(now, before)| now > before)
        })
        .await;
    }

    /// Whether a node takes another one for the leader than that.
    fn names_another(&self, node: &Node, old: usize) -> bool {
        let old_id = self.cluster.nodes[old].id();
        node.leader().is_some_and(|leader| leader != old_id)
    }
}

/// One writer per node.
struct Load {
    counts: Vec<Arc<AtomicU64>>,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(nodes: &[Node]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut counts = Vec::new();
        let mut writers = Vec::new();
        for (writer, node) in (0_u8..).zip(nodes) {
            let count = Arc::new(AtomicU64::new(0));
            counts.push(count.clone());
            let writing = write_on(node.clone(), writer, count, stop.clone());
            writers.push(tokio::spawn(writing));
        }
        Self {
            counts,
            stop,
            writers,
        }
    }

    /// Writes acknowledged so far, in the order of the nodes.
    fn acknowledged(&self) -> Vec<u64> {
        let counts = self.counts.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.unwrap();
        }
    }
}

/// Writes until it is told to stop. What is not acknowledged is not counted.
async fn write_on(node: Node, writer: u8, acknowledged: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let command = write(writer, number);
        match node.propose(command, Instant::now() + DEADLINE).await {
            Ok(reply) => {
                assert!(
                    matches!(reply.outcome, Outcome::Written(_)),
                    "{:?}",
                    reply.outcome
                );
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => eprintln!("writer {writer}: {error}"),
        }
        sleep(BETWEEN_WRITES).await;
    }
}

/// A value as the cluster sees it: bytes. No two version ids are equal.
fn write(writer: u8, number: u64) -> Command {
    let mut version_id = [writer; 32];
    version_id[..8].copy_from_slice(&number.to_be_bytes());
    let name = SecretName::parse(&format!("load/{writer}/{}", number % NAMES)).unwrap();
    let write = Write {
        name,
        value: SealedValue {
            version_id,
            epoch: 1,
            ciphertext: vec![writer; VALUE_BYTES],
            binary: false,
        },
        cas: None,
        about: About::default(),
    };
    mutation(
        format!("write-{writer}-{number}"),
        Change::Write(vec![write]),
    )
}

/// A thread that wants to run every few milliseconds, and notes how late it was at worst.
struct Pulse {
    worst_ms: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Pulse {
    fn start() -> Self {
        const BEAT: Duration = Duration::from_millis(5);
        let pulse = Self {
            worst_ms: Arc::default(),
            stop: Arc::default(),
        };
        let (worst_ms, stop) = (pulse.worst_ms.clone(), pulse.stop.clone());
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let before = Instant::now();
                thread::sleep(BEAT);
                let late = before.elapsed().saturating_sub(BEAT).as_millis();
                worst_ms.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        pulse
    }

    /// The worst since the last question.
    fn take_worst(&self) -> Duration {
        Duration::from_millis(self.worst_ms.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let patience = Instant::now() + LIMIT;
    while !holds() {
        assert!(
            Instant::now() < patience,
            "not within {} s: {what}",
            LIMIT.as_secs()
        );
        sleep(LOOK_AGAIN).await;
    }
}

fn phase(what: &str) {
    eprintln!("--- {what}");
}
