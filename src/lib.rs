//! jarvis-secretsd: a secrets server that keeps working when a machine dies.
//!
//! Reading order: [`server`] is the order in which a node starts and stops; [`api`] the route table; [`service`] what
//! the server can do; below it are the crates `jarvis_cluster` (the replicated node), `jarvis_domain` (the rules),
//! `jarvis_crypto` and `jarvis_audit`. [`cli`] is the command line, [`setup`] makes and joins clusters, [`dev`] runs
//! one on this machine.

pub mod api;
pub mod cli;
pub mod config;

pub mod dev;
pub mod hardening;
pub mod limits;
pub mod metrics;
pub mod policy_file;
pub mod server;
pub mod service;
pub mod setup;
pub mod telemetry;
