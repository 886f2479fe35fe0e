//! Stories about the audit trail: how it is written, cut, compressed, read, damaged and verified (X4, C3).

mod builder;
mod t10_writing;
mod t20_recovery;
mod t30_damage;
mod t30_signatures;
mod t35_verification_beside_the_writer;
mod t40_lagging_node;
