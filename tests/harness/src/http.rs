//! A small HTTP/1.1 client: one request, one answer, nothing repeated by itself.
//!
//! ```text
//! Request::send      a connection of its own; tells a request that never left from one without an answer   Failure
//! Request::send_on   a connection that goes on; anything unexpected is a panic
//! Caller             an address and who asks: most tests speak through one
//! ```
//! For clients that are slow, wordy or rude there are the pieces: [`Caller::connect`], [`Caller::head`], [`read_answer`].

mod answer;
mod caller;
mod request;

pub use answer::{Answer, Failure, read_answer};
pub use caller::Caller;
pub use request::{Request, secret_path};
