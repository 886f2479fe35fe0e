//! The join lane: one question of a node without a certificate, one answer.
//!
//! The server proves itself by the pinned CA; the newcomer proves itself inside the body (join token).
//! The answer's first byte tells a body (0) from an error text (1).

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::env::Env;
use crate::network::calls::remote_error;
use crate::network::frame::Pipe;
use crate::network::handshake::dial_join;
use crate::network::{JoinSecurity, Lane, PeerError, PeerHandler};
use crate::tls::pinned_client_config;

/// The question must follow the handshake within this time: who has no certificate gets no patience.
const QUESTION_DEADLINE: Duration = Duration::from_secs(2);

/// Admission goes through the log, possibly across an election.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Writing the answer, at most 64 KiB.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

const STATUS_BODY: u8 = 0;
const STATUS_ERROR: u8 = 1;

/// The newcomer's side.
pub(super) async fn call(
    env: &Env,
    address: &str,
    security: JoinSecurity,
    body: Bytes,
    deadline: Duration,
) -> Result<Bytes, PeerError> {
    let tls = match security {
        JoinSecurity::PinnedCa(fingerprint) => {
            let configuration = pinned_client_config(Arc::clone(&env.clock), fingerprint)?;
            Some(TlsConnector::from(Arc::new(configuration)))
        }
        JoinSecurity::DangerPlain if env.simulated => None,
        JoinSecurity::DangerPlain => {
            let reason = String::from("peers without TLS are possible in a simulation only");
            return Err(PeerError::Refused { reason });
        }
    };
    let asking = async {
        let mut pipe = dial_join(env, address, tls).await?;
        pipe.set_limit(Lane::Join.frame_limit());
        pipe.send(&body).await?;
        read_answer(pipe.receive().await?)
    };
    timeout(deadline, asking)
        .await
        .unwrap_or(Err(PeerError::Timeout))
}

/// The member's side.
pub(super) async fn serve(mut pipe: Pipe, handler: &dyn PeerHandler) {
    pipe.set_limit(Lane::Join.frame_limit());
    let Ok(Ok(question)) = timeout(QUESTION_DEADLINE, pipe.receive()).await else {
        return;
    };
    let outcome = timeout(ANSWER_DEADLINE, handler.join(question)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(String::from("the join was not decided in time")));
    let writing = async {
        match pipe.send(&answer_frame(&outcome)).await {
            Err(PeerError::TooLarge { .. }) => {
                let excuse = Err(String::from("the answer does not fit the join lane"));
                pipe.send(&answer_frame(&excuse)).await
            }
            written => written,
        }
    };
    match timeout(WRITE_DEADLINE, writing).await {
        Ok(Ok(())) => pipe.close().await,
        Ok(Err(error)) => tracing::debug!(%error, "the answer to a join was not written"),
        Err(_) => tracing::debug!("the answer to a join was not taken in time"),
    }
}

fn answer_frame(outcome: &Result<Bytes, String>) -> Vec<u8> {
    let (status, body) = match outcome {
        Ok(body) => (STATUS_BODY, body.as_ref()),
        Err(message) => (STATUS_ERROR, message.as_bytes()),
    };
    let mut frame = Vec::with_capacity(1 + body.len());
    frame.push(status);
    frame.extend_from_slice(body);
    frame
}

fn read_answer(mut frame: Bytes) -> Result<Bytes, PeerError> {
    if frame.is_empty() {
        return Err(PeerError::Closed);
    }
    match frame.get_u8() {
        STATUS_BODY => Ok(frame),
        _ => Err(remote_error(&frame)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_keeps_its_bytes() {
        let welcome = Bytes::from_static(b"welcome");
        let frame = answer_frame(&Ok(welcome.clone()));
        assert_eq!(frame, b"\x00welcome");
        assert_eq!(read_answer(Bytes::from(frame)), Ok(welcome));

        let frame = answer_frame(&Err(String::from("no")));
        assert_eq!(frame, b"\x01no");
        let message = String::from("no");
        assert_eq!(
            read_answer(Bytes::from(frame)),
            Err(PeerError::Remote { message })
        );
    }
}
