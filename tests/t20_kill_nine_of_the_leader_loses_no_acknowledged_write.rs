//! C3, C4, C7, A11: eight writers over all nodes while the leader is killed four times, then a follower, then all
//! nodes at once. No acknowledged write is lost, every answer is right, and every acknowledged operation has exactly
//! one event in each node's trail.
//!
//! ```text
//! writers   ──w──w──r──w──────────w──r──w───────…──w──r──┐ stop
//! leader        ✗ (back in 1 s)      ‖ paused ✗          │
//!                                                        └─ ✗✗✗ all ─ read everything ─ trails
//! ```
//! A leader that `dev` starts again before the others miss it goes on leading, in the same term. So every second time
//! the leader is paused until another one leads, and killed then.

#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test program: it panics with what happened, and looks at the machine's own clock"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use jarvis_harness::{
    Answer, DevCluster, DevOptions, Programs, Request, eventually, phase, programs, trail,
};

/// What Cargo built.
const JARVIS: Programs = programs!();

/// Each with its own client id and its own names.
const WRITERS: usize = 8;
/// Deaths of a leader; every second one is deposed first.
const LEADER_KILLS: usize = 4;
/// Fewer than a name keeps (R2), so that every acknowledged version can be read at the end.
const VERSIONS_PER_NAME: u64 = 8;
/// Every so many writes one read, through another node.
const WRITES_PER_READ: u64 = 4;
/// A client's pause between two operations: 1,000 keys a client (A11) must last for the whole run.
const BETWEEN_OPERATIONS: Duration = Duration::from_millis(40);
/// Before a client asks the next node.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(20);
/// One operation over all its attempts: a paused node answers nothing for as long as it is paused.
const OPERATION_LIMIT: Duration = Duration::from_secs(45);
/// Acknowledged writes between two faults: a run in which nothing happened proves nothing.
const WRITES_BETWEEN_FAULTS: usize = 60;

#[test]
fn kill_nine_of_the_leader_loses_no_acknowledged_write() {
    let mut cluster = JARVIS.dev(&DevOptions::default());
    cluster.apply_policy(0, &policy());
    let term = cluster.status(0)["term"].as_u64().expect("a term");

    phase("eight writers; leaders and a follower die");
    let journals = write_while_nodes_die(&cluster);
    let mut trouble: BTreeMap<&str, u64> = BTreeMap::new();
    for journal in &journals {
        let writes = journal.writes.len();
        assert!(writes >= 20, "a writer got only {writes} writes done");
        for (kind, count) in &journal.trouble {
            *trouble.entry(kind).or_default() += count;
        }
    }
    let writes: usize = journals.iter().map(|journal| journal.writes.len()).sum();
    println!("{writes} writes acknowledged; seen on the way: {trouble:?}");

    phase("the killed follower and the old leaders catch up");
    cluster.wait_until_ready();
    cluster.wait_until_caught_up();
    let now = cluster.status(0)["term"].as_u64().expect("a term");
    let elections = usize::try_from(now.saturating_sub(term)).unwrap_or(usize::MAX);
    assert!(
        elections >= LEADER_KILLS / 2,
        "leaders were deposed, and yet the term went from {term} to {now}"
    );

    phase("all nodes die at once");
    let pids = cluster.kill_all();
    for (index, pid) in pids.into_iter().enumerate() {
        cluster.wait_until_restarted(index, pid);
    }

    phase("everything acknowledged is there");
    read_everything(&cluster, &journals);
    cluster.wait_until_states_agree();

    phase("exactly one event for each acknowledged operation, in each trail");
    let marker = Request::write("t20/marker", "example").request_id("t20-marker");
    cluster.ask_as_admin(0, marker).done();
    for index in cluster.all() {
        let events = cluster.events_up_to(index, "t20-marker");
        check_trail(index, &events, &journals);
    }
    let heads: Vec<Value> = cluster
        .all()
        .map(|index| cluster.verify_trail(index))
        .collect();
    for report in &heads {
        assert_eq!(
            report["first_seq"], 1,
            "the whole trail is verified: {report}"
        );
    }
    cluster.stop();
}

/// `admin` may do everything, each writer what is its own.
fn policy() -> String {
    let mut policy = "clients:\n  admin:\n    allow: [\"*\"]\n".to_owned();
    for writer in 0..WRITERS {
        policy.push_str(&format!(
            "  writer-{writer}:\n    allow:\n      - {{ name: \"t20/writer-{writer}/*\", verbs: [read, write] }}\n"
        ));
    }
    policy
}

/// What one client did and saw.
#[derive(Default)]
struct Journal {
    /// Every acknowledged write.
    writes: Vec<Acknowledged>,
    /// The ids of requests for a read that were answered.
    reads: Vec<String>,
    /// How often an attempt ended otherwise, by kind.
    trouble: BTreeMap<&'static str, u64>,
}

/// An acknowledged write. Its request id is also its idempotency key.
struct Acknowledged {
    name: String,
    value: String,
    version: u64,
    request_id: String,
}

/// Ends the writers, also when the faults' own code panics: nobody waits for them for ever.
struct StopAtTheEnd<'a>(&'a AtomicBool);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn write_while_nodes_die(cluster: &DevCluster) -> Vec<Journal> {
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (stop, done) = (&stop, &done);
    std::thread::scope(|scope| {
        let at_the_end = StopAtTheEnd(stop);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || write_until(stop, done, cluster, writer)))
            .collect();
        for round in 0..LEADER_KILLS {
            wait_for_writes(done);
            let leader = cluster.wait_for_leader();
            if round % 2 == 1 {
                cluster.pause(leader);
                let next = cluster.wait_for_leader_other_than(leader);
                println!("node {leader} is paused, node {next} leads");
            }
            let pid = cluster.kill(leader);
            println!("killed node {leader}, a leader");
            cluster.wait_until_restarted(leader, pid);
        }
        wait_for_writes(done);
        let leader = cluster.wait_for_leader();
        let follower = (leader + 1) % cluster.count();
        let pid = cluster.kill(follower);
        println!("killed node {follower}, a follower");
        cluster.wait_until_restarted(follower, pid);
        wait_for_writes(done);
        drop(at_the_end);
        let join = |writer: std::thread::ScopedJoinHandle<'_, Journal>| {
            writer
                .join()
                .expect("a writer saw what it must not; its own message says what")
        };
        writers.into_iter().map(join).collect()
    })
}

/// Work goes on before the next fault comes.
fn wait_for_writes(done: &AtomicUsize) {
    let wanted = done.load(Ordering::Relaxed) + WRITES_BETWEEN_FAULTS;
    eventually("writes are acknowledged", || {
        (done.load(Ordering::Relaxed) >= wanted).then_some(())
    });
}

/// One client: it alone writes its names, one operation after the other, so it knows what each read must show.
fn write_until(
    stop: &AtomicBool,
    done: &AtomicUsize,
    cluster: &DevCluster,
    writer: usize,
) -> Journal {
    let client = format!("writer-{writer}");
    let mut journal = Journal::default();
    let mut turn = writer;
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("t20/{client}/{}", number / VERSIONS_PER_NAME);
        let request_id = format!("t20-{client}-{number}");
        let value = format!("example-{client}-{number}");
        let write = Request::write(&name, &value)
            .client(&client)
            .request_id(&request_id)
            .idempotency_key(&request_id);
        let answer = until_answered(cluster, &mut turn, &mut journal.trouble, |_| write.clone());
        let version = answer.json()["version"].as_u64();
        // Once and only once (A11): a write applied twice, or one that was lost, would show here.
        assert_eq!(
            version,
            Some(number % VERSIONS_PER_NAME + 1),
            "{name}: {}",
            answer.text()
        );
        let write = Acknowledged {
            name,
            value,
            version: version.unwrap_or_default(),
            request_id,
        };
        done.fetch_add(1, Ordering::Relaxed);
        if number % WRITES_PER_READ == 0 {
            let read_id = |attempt: u64| format!("t20-{client}-{number}-read-{attempt}");
            let mut attempts = 0;
            let answer = until_answered(cluster, &mut turn, &mut journal.trouble, |attempt| {
                attempts = attempt;
                Request::read(&write.name, "")
                    .client(&client)
                    .request_id(&read_id(attempt))
            });
            check_value(&answer, &write);
            journal.reads.push(read_id(attempts));
        }
        journal.writes.push(write);
        std::thread::sleep(BETWEEN_OPERATIONS);
    }
    journal
}

/// What a good client does: the same operation to the next node until one answers; the last node asked is in `turn`.
///
/// # Panics
/// At any answer that a client must not see while nodes die.
fn until_answered(
    cluster: &DevCluster,
    turn: &mut usize,
    trouble: &mut BTreeMap<&'static str, u64>,
    mut attempt: impl FnMut(u64) -> Request,
) -> Answer {
    let started = Instant::now();
    for number in 0.. {
        *turn = (*turn + 1) % cluster.count();
        let kind = match cluster.send(*turn, &attempt(number)) {
            Ok(answer) if answer.status == 200 => return answer,
            Ok(answer) => match (answer.status, answer.error().as_str()) {
                (503, "no_leader") => "no_leader",
                (504, "unknown_outcome") => "unknown_outcome",
                _ => panic!("node {turn} answers {}: {}", answer.status, answer.text()),
            },
            Err(failure) => failure.kind(),
        };
        *trouble.entry(kind).or_default() += 1;
        assert!(
            started.elapsed() < OPERATION_LIMIT,
            "no node answered for {} s: {trouble:?}",
            OPERATION_LIMIT.as_secs()
        );
        std::thread::sleep(BETWEEN_ATTEMPTS);
    }
    unreachable!("attempts are numbered without end")
}

fn check_value(answer: &Answer, write: &Acknowledged) {
    let found = answer.json();
    let is_right = found["name"] == write.name.as_str()
        && found["value"] == write.value.as_str()
        && found["version"] == write.version;
    assert!(
        is_right,
        "{} at version {} reads as {found}",
        write.name, write.version
    );
}

/// Every version that was ever acknowledged, each through one of the nodes.
fn read_everything(cluster: &DevCluster, journals: &[Journal]) {
    std::thread::scope(|scope| {
        for (writer, journal) in journals.iter().enumerate() {
            scope.spawn(move || {
                for (number, write) in journal.writes.iter().enumerate() {
                    let node = (writer + number) % cluster.count();
                    let query = format!("?version={}", write.version);
                    let answer = cluster.ask_as_admin(node, Request::read(&write.name, &query));
                    assert_eq!(answer.status, 200, "{}: {}", write.name, answer.text());
                    check_value(&answer, write);
                }
                // The newest is current, through every node.
                for node in cluster.all() {
                    let newest = journal.writes.last().expect("a writer has written");
                    let answer = cluster.ask_as_admin(node, Request::read(&newest.name, ""));
                    check_value(&answer, newest);
                }
            });
        }
    });
}

/// C3: one event for each operation that was acknowledged, at most one for each attempt that was not.
fn check_trail(node: usize, events: &[Value], journals: &[Journal]) {
    let requests = trail::by_request(events);
    let none = Vec::new();
    for journal in journals {
        for write in &journal.writes {
            let found = requests.get(write.request_id.as_str()).unwrap_or(&none);
            assert_eq!(
                found.len(),
                1,
                "node {node}: {} {found:?}",
                write.request_id
            );
            let event = found[0];
            let is_right = event["event"] == "secret.write"
                && event["outcome"] == "allow"
                && event["name"] == write.name.as_str()
                && event["version"] == write.version;
            assert!(is_right, "node {node}: {event}");
        }
        for read in &journal.reads {
            let found = requests.get(read.as_str()).unwrap_or(&none);
            assert_eq!(found.len(), 1, "node {node}: {read} {found:?}");
            assert_eq!(found[0]["event"], "secret.read", "node {node}");
        }
    }
    for (id, found) in &requests {
        if id.starts_with("t20-") {
            assert!(found.len() <= 1, "node {node}: {id} {found:?}");
        }
    }
}
