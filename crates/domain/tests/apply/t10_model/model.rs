//! The naive model: plain maps, everything counted anew each time, nothing shared with the code under test.

use std::collections::{BTreeMap, BTreeSet};

/// Room for the four names of a walk and a handful of versions.
pub(super) const MAX_VAULT_BYTES: u64 = 3_000;
pub(super) const MAX_CIPHERTEXT_BYTES: u64 = 200;
pub(super) const MAX_VERSIONS: u32 = 3;
pub(super) const UNDELETE_MS: u64 = 60_000;
const KEY_TTL_MS: u64 = 600_000;
const HOLD_MS: u64 = 3_600_000;
/// What a version counts besides its ciphertext and its name.
const OVERHEAD_BYTES: u64 = 256;
/// What a name that was ever written counts besides itself and the text about it.
const NAME_OVERHEAD_BYTES: u64 = 256;

/// One request of a walk.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) client: &'static str,
    /// The bearer token shown; the header alone if `None`.
    pub(super) token: Option<u8>,
    /// Idempotency key and the request's MAC; looked at for mutations only.
    pub(super) key: Option<(u8, u8)>,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Write(Vec<Put>),
    Delete {
        name: &'static str,
        cas: Option<u64>,
    },
    Undelete {
        name: &'static str,
    },
    Destroy {
        name: &'static str,
        versions: Option<Vec<u64>>,
    },
    Read {
        name: &'static str,
        version: Option<u64>,
    },
    Versions {
        name: &'static str,
    },
    List,
    CreateToken {
        token: u8,
        of: &'static str,
        ttl_ms: Option<u64>,
    },
    RevokeToken {
        token: u8,
    },
    SetPolicy {
        which: u8,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Put {
    pub(super) name: &'static str,
    pub(super) bytes: u64,
    pub(super) cas: Option<u64>,
    /// Length of the description that comes with it; without one the old one stays.
    pub(super) text: Option<u64>,
    /// Encrypted under an epoch that is not current.
    pub(super) stale: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Value { version: u64, current: bool },
    View,
    Written(Vec<u64>),
    Deleted { until: u64 },
    Undeleted(u64),
    Destroyed(Vec<u64>),
    Policy { version: u64, changed: bool },
    Created(Option<u64>),
    Done,
    Unauthenticated,
    NotAuthorized,
    NotFound,
    IsDeleted,
    Conflict(u64),
    KeyReused,
    StaleEpoch,
    Quota,
    Invalid,
}

/// An answer with its place in log and trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) answer: Answer,
    pub(super) index: u64,
    pub(super) seq: u64,
    pub(super) repeated: bool,
}

#[derive(Default)]
pub(super) struct Secret {
    last: u64,
    /// Number and ciphertext bytes, ascending.
    pub(super) versions: Vec<(u64, u64)>,
    /// Length of the description.
    pub(super) text: u64,
    /// Until when it can be undeleted; only while there are versions.
    deleted: Option<u64>,
}

struct Kept {
    mac: u8,
    expected: Expected,
    expires: u64,
}

/// What the requirements say the state is.
pub(super) struct Model {
    pub(super) now: u64,
    hold_until: u64,
    /// Events so far.
    pub(super) seq: u64,
    policy: u8,
    pub(super) policy_version: u64,
    pub(super) secrets: BTreeMap<&'static str, Secret>,
    /// Client and expiry.
    pub(super) tokens: BTreeMap<u8, (&'static str, Option<u64>)>,
    keys: BTreeMap<(&'static str, u8), Kept>,
    /// Things that happened and are no answer to anyone.
    pub(super) happened: BTreeSet<&'static str>,
}

impl Model {
    pub(super) fn new(now: u64, seq: u64) -> Self {
        Self {
            now,
            hold_until: 0,
            seq,
            policy: 0,
            policy_version: 1,
            secrets: BTreeMap::new(),
            tokens: BTreeMap::new(),
            keys: BTreeMap::new(),
            happened: BTreeSet::new(),
        }
    }

    /// An entry with this stamp begins.
    pub(super) fn pass_time(&mut self, stamp: u64, stepped: bool) {
        self.now = self.now.max(stamp);
        let now = self.now;
        // A step is said by every entry until one is applied: within ten seconds it is the same one.
        if stepped && self.hold_until <= now + HOLD_MS - 10_000 {
            self.hold_until = now + HOLD_MS;
            self.seq += 1;
        }
        self.keys.retain(|_, kept| kept.expires > now);
        let tokens_before = self.tokens.len();
        self.tokens
            .retain(|_, (_, expires)| expires.is_none_or(|at| at > now));
        if self.tokens.len() < tokens_before {
            self.happened.insert("a token expiry");
            self.seq += (tokens_before - self.tokens.len()) as u64;
        }
        if now < self.hold_until {
            return;
        }
        for secret in self.secrets.values_mut() {
            if secret.deleted.is_some_and(|until| until <= now) {
                secret.versions.clear();
                secret.deleted = None;
                secret.text = 0;
                self.happened.insert("a retention destruction");
                self.seq += 1;
            }
        }
    }

    /// One request of the entry at `index`.
    pub(super) fn perform(&mut self, operation: &Operation, index: u64) -> Expected {
        if let Some(refused) = self.forbidden(operation) {
            return self.expect(refused, index);
        }
        let is_access = matches!(
            operation.what,
            What::Read { .. } | What::Versions { .. } | What::List
        );
        let key = operation.key.filter(|_| !is_access);
        if let Some((key, mac)) = key
            && let Some(kept) = self.keys.get(&(operation.client, key))
        {
            if kept.mac != mac {
                return self.expect(Answer::KeyReused, index);
            }
            self.happened.insert("an idempotent repeat");
            return Expected {
                repeated: true,
                ..kept.expected.clone()
            };
        }
        let answer = self.effect(operation);
        let forgettable = matches!(answer, Answer::StaleEpoch | Answer::Quota | Answer::Invalid);
        let expected = self.expect(answer, index);
        if let Some((key, mac)) = key
            && !forgettable
        {
            let kept = Kept {
                mac,
                expected: expected.clone(),
                expires: self.now + KEY_TTL_MS,
            };
            self.keys.insert((operation.client, key), kept);
        }
        expected
    }

    /// Counts the events of an answer: one, but one per write, and none for an encryption to be repeated.
    fn expect(&mut self, answer: Answer, index: u64) -> Expected {
        self.seq += match &answer {
            Answer::StaleEpoch => 0,
            Answer::Written(numbers) => numbers.len() as u64,
            _ => 1,
        };
        Expected {
            answer,
            index,
            seq: self.seq,
            repeated: false,
        }
    }

    fn forbidden(&self, operation: &Operation) -> Option<Answer> {
        let client = operation.client;
        let genuine = operation.token.is_none_or(|token| {
            self.tokens.get(&token).is_some_and(|(of, expires)| {
                *of == client && expires.is_none_or(|at| at > self.now)
            })
        });
        if !genuine {
            return Some(Answer::Unauthenticated);
        }
        let may = |verb: &str, name: &str| allows(self.policy, client, verb, name);
        let allowed = match &operation.what {
            What::Write(puts) => puts.iter().all(|put| may("write", put.name)),
            What::Delete { name, .. } | What::Undelete { name } | What::Destroy { name, .. } => {
                may("delete", name)
            }
            What::Read { name, .. } | What::Versions { name } => may("read", name),
            What::List => names(self.policy, client),
            What::CreateToken { .. } | What::RevokeToken { .. } | What::SetPolicy { .. } => {
                administers(self.policy, client)
            }
        };
        (!allowed).then_some(Answer::NotAuthorized)
    }

    fn effect(&mut self, operation: &Operation) -> Answer {
        match &operation.what {
            What::Write(puts) => self.write(puts),
            What::Delete { name, cas } => self.delete(name, *cas),
            What::Undelete { name } => self.undelete(name),
            What::Destroy { name, versions } => self.destroy(name, versions.as_deref()),
            What::Read { name, version } => self.read(name, *version),
            What::Versions { name } => match self.secrets.get(name) {
                Some(secret) if !secret.versions.is_empty() => Answer::View,
                _ => Answer::NotFound,
            },
            What::List => Answer::View,
            What::CreateToken { token, of, ttl_ms } => {
                if self.tokens.contains_key(token) {
                    return Answer::Conflict(1);
                }
                let expires = ttl_ms.map(|ttl_ms| self.now + ttl_ms);
                self.tokens.insert(*token, (*of, expires));
                Answer::Created(expires)
            }
            What::RevokeToken { token } => match self.tokens.remove(token) {
                Some(_) => Answer::Done,
                None => Answer::NotFound,
            },
            What::SetPolicy { which } => {
                let changed = self.policy != *which;
                self.policy = *which;
                self.policy_version += u64::from(changed);
                Answer::Policy {
                    version: self.policy_version,
                    changed,
                }
            }
        }
    }

    fn write(&mut self, puts: &[Put]) -> Answer {
        let distinct: BTreeSet<_> = puts.iter().map(|put| put.name).collect();
        if distinct.len() != puts.len() {
            return Answer::Invalid;
        }
        for put in puts {
            let actual = self.current(put.name).unwrap_or(0);
            if put.stale {
                return Answer::StaleEpoch;
            } else if put.bytes > MAX_CIPHERTEXT_BYTES {
                return Answer::Invalid;
            } else if put.cas.is_some_and(|wanted| wanted != actual) {
                return Answer::Conflict(actual);
            }
        }
        let added: u64 = puts
            .iter()
            .map(|put| {
                let known = self.secrets.contains_key(put.name);
                let name = if known { 0 } else { name_cost(put.name) };
                cost(put.name, put.bytes) + name + put.text.unwrap_or(0)
            })
            .sum();
        if self.bytes() + added > MAX_VAULT_BYTES {
            return Answer::Quota;
        }
        let mut numbers = Vec::new();
        for put in puts {
            let secret = self.secrets.entry(put.name).or_default();
            if secret.deleted.take().is_some() {
                secret.versions.clear();
                secret.text = 0;
            }
            secret.text = put.text.unwrap_or(secret.text);
            secret.last += 1;
            secret.versions.push((secret.last, put.bytes));
            if secret.versions.len() > MAX_VERSIONS as usize {
                secret.versions.remove(0);
            }
            numbers.push(secret.last);
        }
        Answer::Written(numbers)
    }

    fn delete(&mut self, name: &str, cas: Option<u64>) -> Answer {
        let until = self.now + UNDELETE_MS;
        let Some(secret) = self.secrets.get_mut(name) else {
            return Answer::NotFound;
        };
        match secret.versions.last() {
            None => Answer::NotFound,
            Some(_) if secret.deleted.is_some() => Answer::IsDeleted,
            Some(&(current, _)) if cas.is_some_and(|wanted| wanted != current) => {
                Answer::Conflict(current)
            }
            Some(_) => {
                secret.deleted = Some(until);
                Answer::Deleted { until }
            }
        }
    }

    fn undelete(&mut self, name: &str) -> Answer {
        let Some(secret) = self.secrets.get_mut(name) else {
            return Answer::NotFound;
        };
        match secret.versions.last() {
            None => Answer::NotFound,
            Some(&(current, _)) => match secret.deleted.take() {
                Some(_) => Answer::Undeleted(current),
                None => Answer::Conflict(current),
            },
        }
    }

    fn destroy(&mut self, name: &str, versions: Option<&[u64]>) -> Answer {
        let Some(secret) = self.secrets.get_mut(name) else {
            return Answer::NotFound;
        };
        let there: BTreeSet<u64> = secret.versions.iter().map(|(number, _)| *number).collect();
        let wanted = versions.map_or_else(|| there.clone(), |list| list.iter().copied().collect());
        if wanted.is_empty() || !wanted.is_subset(&there) {
            return Answer::NotFound;
        }
        secret
            .versions
            .retain(|(number, _)| !wanted.contains(number));
        if secret.versions.is_empty() {
            secret.deleted = None;
            secret.text = 0;
        }
        Answer::Destroyed(wanted.into_iter().collect())
    }

    fn read(&self, name: &str, version: Option<u64>) -> Answer {
        let Some(secret) = self.secrets.get(name) else {
            return Answer::NotFound;
        };
        if secret.deleted.is_some() {
            return Answer::IsDeleted;
        }
        let Some(&(current, _)) = secret.versions.last() else {
            return Answer::NotFound;
        };
        let version = version.unwrap_or(current);
        if secret.versions.iter().any(|(number, _)| *number == version) {
            Answer::Value {
                version,
                current: version == current,
            }
        } else {
            Answer::NotFound
        }
    }

    /// The version a read would get.
    pub(super) fn current(&self, name: &str) -> Option<u64> {
        let secret = self.secrets.get(name)?;
        let current = secret.versions.last().map(|(number, _)| *number);
        current.filter(|_| secret.deleted.is_none())
    }

    /// What counts against the quota: each version, and each name that was ever written.
    pub(super) fn bytes(&self) -> u64 {
        let of = |(name, secret): (&&str, &Secret)| {
            let versions = secret.versions.iter().map(|(_, bytes)| cost(name, *bytes));
            name_cost(name) + secret.text + versions.sum::<u64>()
        };
        self.secrets.iter().map(of).sum()
    }
}

fn name_cost(name: &str) -> u64 {
    name.len() as u64 + NAME_OVERHEAD_BYTES
}

fn cost(name: &str, bytes: u64) -> u64 {
    bytes + name.len() as u64 + OVERHEAD_BYTES
}

/// The three policies of [`super::walk`] in plain words.
fn allows(policy: u8, client: &str, verb: &str, name: &str) -> bool {
    match (policy, client) {
        (2, "admin") => !(verb == "write" && name.starts_with("db/")),
        (_, "admin") => true,
        (0, "backend") => name.starts_with("app/") && !name.starts_with("app/root"),
        (0, "reader") => verb == "read",
        (1, "backend") => verb == "read" && name.starts_with("app/") && name.len() == 5,
        (2, "backend") => true,
        (2, "reader") => name == "db/x" && verb != "delete",
        _ => false,
    }
}

fn names(policy: u8, client: &str) -> bool {
    matches!(
        (policy, client),
        (_, "admin" | "backend") | (0 | 2, "reader")
    )
}

fn administers(policy: u8, client: &str) -> bool {
    client == "admin" || (policy == 2 && client == "backend")
}
