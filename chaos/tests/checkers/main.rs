//! Every checker on histories that it must refuse and on histories that it must accept: told by hand, and made by a
//! simulated register of which an exhaustive search says what they are.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

mod dice;
mod mutations;
mod oracle;
mod steps;
mod tale;
mod trails;
mod world;

mod t10_a_history_is_read_as_it_was_written;
mod t20_append;
mod t20_audit;
mod t20_batch;
mod t20_register;
mod t20_revocation;
mod t20_rotation;
mod t20_secrecy;
mod t20_set;
mod t20_staleness;
mod t20_versioned;
mod t30_generated_histories;
mod t30_the_search_agrees_with_an_exhaustive_one;
mod t40_large_histories;
