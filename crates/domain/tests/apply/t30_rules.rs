//! One story per rule of apply: what clients and nodes meet at its edges.

mod access;
mod deletion;
mod epochs;
mod idempotency;
mod members;
mod proposals;
mod trail;
mod versions;
