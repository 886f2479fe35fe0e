//! One story per rule of apply: what clients and nodes meet at its edges.

mod access;
mod beginning;
mod deletion;
mod epochs;
mod idempotency;
mod members;
mod proposals;
mod quota;
mod refusals;
mod trail;
mod versions;
