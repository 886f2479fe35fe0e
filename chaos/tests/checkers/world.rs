//! A correct register per key, and clients that use it: operations overlap, take effect at some moment in between, and
//! some answers are lost; of those some took effect, some long after, some never.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use jarvis_chaos::history::{Answer, Kind, Operation, Outcome};

use crate::dice::Dice;
use crate::tale::{Told, cas, delete, read, write};

#[derive(Debug, Clone, Copy)]
pub(crate) struct World {
    pub(crate) clients: usize,
    pub(crate) operations: usize,
    pub(crate) keys: usize,
    pub(crate) reads_percent: u64,
    pub(crate) cas_percent: u64,
    pub(crate) deletes_percent: u64,
    pub(crate) lost_percent: u64,
    /// Greatest delay of an effect whose answer was lost.
    pub(crate) late_ns: u64,
}

impl World {
    /// A few operations on one key: an exhaustive search can follow.
    pub(crate) const fn small() -> Self {
        Self {
            clients: 4,
            operations: 7,
            keys: 1,
            reads_percent: 40,
            cas_percent: 25,
            deletes_percent: 0,
            lost_percent: 25,
            late_ns: 2_000,
        }
    }

    pub(crate) fn run(self, dice: &mut Dice) -> Vec<Operation> {
        let mut run = Run {
            world: self,
            time: BinaryHeap::new(),
            ties: 0,
            operations: Vec::new(),
            secrets: vec![Secret::default(); self.keys],
            known: vec![vec![0; self.keys]; self.clients],
        };
        for client in 0..self.clients {
            let at = dice.below(100);
            run.then(at, Event::Begin(client));
        }
        while let Some(Reverse((now, _, event))) = run.time.pop() {
            match event {
                Event::Begin(client) => run.begin(dice, now, client),
                Event::Effect { operation, client } => run.effect(operation, client),
            }
        }
        run.operations
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Begin(usize),
    Effect { operation: usize, client: usize },
}

#[derive(Clone, Default)]
struct Secret {
    last_version: u64,
    current: Option<(u64, String)>,
}

struct Run {
    world: World,
    time: BinaryHeap<Reverse<(u64, u64, Event)>>,
    ties: u64,
    operations: Vec<Operation>,
    secrets: Vec<Secret>,
    /// Client, key → the version that it saw last.
    known: Vec<Vec<u64>>,
}

impl Run {
    fn then(&mut self, at: u64, event: Event) {
        self.ties += 1;
        self.time.push(Reverse((at, self.ties, event)));
    }

    fn begin(&mut self, dice: &mut Dice, now: u64, client: usize) {
        let number = self.operations.len();
        if number == self.world.operations {
            return;
        }
        let world = self.world;
        let key = dice.place(world.keys);
        let name = format!("key-{key}");
        let value = format!("value-{number}");
        let known = self.known[client][key];
        let draw = dice.below(100);
        let (reads, swaps) = (world.reads_percent, world.reads_percent + world.cas_percent);
        let asked = if draw < reads {
            read(&name)
        } else if draw < swaps {
            cas(&name, known, &value)
        } else if draw < swaps + world.deletes_percent {
            let expected = (known > 0 && dice.percent(50)).then_some(known);
            Operation {
                expected,
                ..delete(&name)
            }
        } else {
            write(&name, &value)
        };
        let longest = if dice.percent(30) { 2_000 } else { 100 };
        let end = now + 1 + dice.below(longest);
        let is_lost = dice.percent(world.lost_percent);
        let late = if is_lost && dice.percent(50) {
            dice.below(world.late_ns + 1)
        } else {
            0
        };
        let effect = now + dice.below(end - now + 1) + late;
        let mut operation = asked.at(now, end);
        if is_lost {
            operation = operation.unknown();
        } else {
            // For the moment: what it comes to is seen when it takes effect.
            operation.outcome = Outcome::Ok;
        }
        operation.process = client as u64;
        self.operations.push(operation);
        if !(is_lost && dice.percent(40)) {
            let operation = number;
            self.then(effect, Event::Effect { operation, client });
        }
        self.then(end + 1 + dice.below(50), Event::Begin(client));
    }

    fn effect(&mut self, number: usize, client: usize) {
        let operation = self.operations[number].clone();
        let key: usize = operation.key.strip_prefix("key-").unwrap().parse().unwrap();
        let secret = &mut self.secrets[key];
        let current = secret.current.as_ref().map_or(0, |(version, _)| *version);
        let expected = operation.expected.unwrap_or(current);
        let told = match operation.kind {
            Kind::Read => match &secret.current {
                Some((version, value)) => operation.clone().saw(value, *version),
                None => operation.clone().absent(),
            },
            Kind::Delete if current == 0 => operation.clone().absent(),
            _ if expected != current => operation.clone().conflict(current),
            Kind::Delete => {
                secret.current = None;
                operation.clone().ok(Answer::default())
            }
            _ => {
                secret.last_version += 1;
                let value = operation.value.clone().unwrap();
                secret.current = Some((secret.last_version, value));
                operation.clone().wrote(secret.last_version)
            }
        };
        if operation.outcome == Outcome::Ok {
            self.known[client][key] = secret.current.as_ref().map_or(0, |(version, _)| *version);
            self.operations[number] = told;
        }
    }
}
