//! Real processes for integration tests: a cluster started by `jarvis-secretsd dev`, a client, and witnesses.
//!
//! A test includes it with `#[path = "support/harness.rs"] mod support;`. Everything panics with what happened: these
//! are tests. Nothing waits blindly: [`wait::wait_until`] looks for a condition and gives up at its limit.
//!
//! Reading order: [`cluster`] starts, kills and stops; [`client`] sends one request; [`trail`] reads what a node wrote
//! about it; [`canary`] searches files for bytes that must not be there.

#![allow(dead_code, reason = "each test uses its own part of the harness")]

#[path = "canary.rs"]
pub(crate) mod canary;
#[path = "client.rs"]
pub(crate) mod client;
#[path = "cluster.rs"]
pub(crate) mod cluster;
#[path = "process.rs"]
pub(crate) mod process;
#[path = "trail.rs"]
pub(crate) mod trail;
#[path = "wait.rs"]
pub(crate) mod wait;
