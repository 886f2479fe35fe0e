//! The audit trail on disk: segments of chained JSON lines, signed checkpoints, offline verification (X4).
//!
//! The events and the chain are made by apply in the domain crate; this crate only stores, reads and checks them.
//! A line is `{"seq":12,…,"hash":"<64 hex>"}` and a newline; with B = the bytes before `,"hash":"…"}`,
//! `hash_n = SHA-256(hash_{n-1} ‖ B)`, and `hash_0` is 32 zero bytes.
//!
//! ```text
//! <data_dir>/audit/
//!   0000000000000001-3f0c….jsonl.gz   closed and compressed: first seq, first 16 hex digits of the chain head after it
//!   0000000000004097-9a71….jsonl      closed, not yet compressed
//!   audit.jsonl                       open: apply's lines are appended here
//!   audit.head                        seq, head and length as of the last sync
//! ```
//!
//! Invariants:
//! - the bytes are the same on every node: apply decides the lines and where a segment closes;
//! - the writer goes through the disk seam, and so does a node that reads its own trail; other readers and the verifier
//!   use plain files and work beside a running node;
//! - a crash may cut the trail back to the last synced position, from where the log regenerates it byte for byte;
//! - a segment is removed only when the log says so (retirement), or when the position does not know it.
//!
//! Read in this order: [`position`], [`checkpoint`], [`writer`], [`compress`], [`reader`], [`mod@verify`].

pub mod checkpoint;
pub mod compress;
pub mod position;
pub mod reader;
pub mod verify;
pub mod writer;

mod cursor;
mod error;
mod head;
mod line;
mod names;

pub use checkpoint::Checkpoint;
pub use error::AuditError;
pub use position::{ClosedSegment, Position};
pub use verify::{Finding, FindingKind, Report, Trust, verify, verify_with};
pub use writer::SegmentWriter;
