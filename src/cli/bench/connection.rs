//! One keep-alive HTTP/1.1 connection, one request at a time.
//!
//! The task that waits for the answer also drives the connection: a request costs no switch to
//! another task. After any error the connection must be dropped; hyper closes it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use super::endpoint::{ByteStream, Endpoint};

/// On one machine or in one data centre a connection that takes longer is as good as refused.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Error codes, log ids and the status of a cluster are far shorter; the rest is read and dropped.
const KEPT_BODY_BYTES: usize = 64 * 1024;

/// Error codes are short words; whatever is longer is cut, so that reports stay readable.
const ERROR_CODE_BYTES: usize = 60;

/// Why a request has no answer. None of them says whether the server acted on it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// No connection within [`CONNECT_TIMEOUT`], or none at all.
    #[error("no connection: {source}")]
    Connect { source: io::Error },
    /// No complete answer within the time that the caller allowed.
    #[error("timed out")]
    TimedOut,
    /// The server closed the connection before the answer was complete.
    #[error("the connection was closed")]
    Closed,
    /// What came back is not HTTP.
    #[error("protocol error: {source}")]
    Http { source: hyper::Error },
}

impl ExchangeError {
    /// A short name to count by.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Connect { source } => format!("no connection ({})", source.kind()),
            Self::TimedOut => "timed out".to_owned(),
            Self::Closed => "connection closed".to_owned(),
            Self::Http { .. } => "protocol error".to_owned(),
        }
    }
}

impl From<hyper::Error> for ExchangeError {
    fn from(source: hyper::Error) -> Self {
        if source.is_parse() {
            Self::Http { source }
        } else {
            Self::Closed
        }
    }
}

/// An answer that was received to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Empty after a success, which needs no explanation, unless it was asked for; cut at
    /// [`KEPT_BODY_BYTES`].
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Whether the same request may succeed a moment later: the server is at fault, or busy.
    pub(super) fn may_pass_later(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// A short name to count refusals by: the status and the error code of the body (A7).
    pub(super) fn label(&self) -> String {
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
        }
        let status = self.status.as_u16();
        match serde_json::from_slice::<Refusal>(&self.body) {
            Ok(refusal) => format!("{status} {}", printable_start(&refusal.error)),
            Err(_) => status.to_string(),
        }
    }
}

/// The start of a text from the server, fit for a terminal.
fn printable_start(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_ascii_graphic() {
                character
            } else {
                ' '
            }
        })
        .take(ERROR_CODE_BYTES)
        .collect()
}

/// An open connection.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
}

impl Connection {
    /// Connects to an endpoint.
    ///
    /// # Errors
    /// `Connect` when nobody accepts within [`CONNECT_TIMEOUT`].
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, ExchangeError> {
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect()).await {
            Ok(connected) => connected.map_err(|source| ExchangeError::Connect { source })?,
            Err(_) => {
                let source = io::Error::from(io::ErrorKind::TimedOut);
                return Err(ExchangeError::Connect { source });
            }
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = Driver {
            connection: Box::pin(connection),
            ended: false,
        };
        Ok(Self { sender, driver })
    }

    /// Sends one request and receives its answer to the end.
    ///
    /// # Errors
    /// Any [`ExchangeError`]; the connection is of no use afterwards.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        allowed: Duration,
    ) -> Result<Answer, ExchangeError> {
        self.exchange_keeping(Keep::Refusals, request, allowed)
            .await
    }

    /// As [`Connection::exchange`], and the body of a success is kept too.
    ///
    /// # Errors
    /// As [`Connection::exchange`].
    pub(super) async fn exchange_in_full(
        &mut self,
        request: Request<Full<Bytes>>,
        allowed: Duration,
    ) -> Result<Answer, ExchangeError> {
        self.exchange_keeping(Keep::Everything, request, allowed)
            .await
    }

    async fn exchange_keeping(
        &mut self,
        keep: Keep,
        request: Request<Full<Bytes>>,
        allowed: Duration,
    ) -> Result<Answer, ExchangeError> {
        match tokio::time::timeout(allowed, self.exchange_without_deadline(keep, request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ExchangeError::TimedOut),
        }
    }

    async fn exchange_without_deadline(
        &mut self,
        keep: Keep,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, ExchangeError> {
        self.driver.run_until(self.sender.ready()).await??;
        let response = self
            .driver
            .run_until(self.sender.send_request(request))
            .await??;
        let status = response.status();
        let keeps_body = keep == Keep::Everything || !status.is_success();
        let mut incoming = response.into_body();
        let mut body = Vec::new();
        while let Some(frame) = self.driver.run_until(incoming.frame()).await? {
            let frame = frame?;
            if let (true, Some(data)) = (keeps_body, frame.data_ref()) {
                let room = KEPT_BODY_BYTES - body.len();
                body.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
        Ok(Answer { status, body })
    }
}

/// Which bodies an exchange keeps: copying those that nobody reads would cost the load generator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Refusals,
    Everything,
}

/// hyper's connection over any stream.
type Http1 = http1::Connection<TokioIo<Box<dyn ByteStream>>, Full<Bytes>>;

/// The half of the connection that reads and writes the socket.
struct Driver {
    connection: Pin<Box<Http1>>,
    /// A finished connection must not be polled again.
    ended: bool,
}

impl Driver {
    /// Drives the connection until the future, which waits for the connection, is ready.
    async fn run_until<F: Future>(&mut self, future: F) -> Result<F::Output, ExchangeError> {
        let mut future = pin!(future);
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            if !self.ended {
                self.ended = self.connection.as_mut().poll(context).is_ready();
            }
            match future.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(Ok(output)),
                Poll::Pending if self.ended => Poll::Ready(Err(ExchangeError::Closed)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HOST, HeaderValue};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::cli::Target;

    const PLENTY: Duration = Duration::from_secs(10);

    /// A server for one connection: an answer for each request, then silence or the end.
    async fn open_against(answers: &'static [&'static str], ends: bool) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                read_request(&mut stream).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            read_request(&mut stream).await;
            if !ends {
                std::future::pending::<()>().await;
            }
        });
        let target = Target {
            urls: vec![url],
            ..Target::default()
        };
        let endpoint = Endpoint::all(&target).unwrap().remove(0);
        Connection::open(&endpoint).await.unwrap()
    }

    async fn read_request(stream: &mut TcpStream) {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else {
                return;
            };
            seen.push(byte);
        }
    }

    fn request() -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::new()));
        request
            .headers_mut()
            .insert(HOST, HeaderValue::from_static("127.0.0.1"));
        request
    }

    #[tokio::test]
    async fn one_connection_carries_many_requests_and_errors_keep_their_code() {
        let mut connection = open_against(
            &[
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
                "HTTP/1.1 503 Busy\r\ncontent-length: 21\r\n\r\n{\"error\":\"no_leader\"}",
            ],
            false,
        )
        .await;
        for _ in 0..2 {
            let answer = connection.exchange(request(), PLENTY).await.unwrap();
            assert_eq!(answer.label(), "200");
            assert!(answer.body.is_empty());
        }
        let whole = connection.exchange_in_full(request(), PLENTY).await;
        assert_eq!(whole.unwrap().body, b"ok");
        let refused = connection.exchange(request(), PLENTY).await.unwrap();
        assert_eq!(refused.label(), "503 no_leader");
        assert!(refused.may_pass_later());
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_told_from_one_that_is_slow() {
        let mut ended = open_against(&[], true).await;
        let outcome = ended.exchange(request(), PLENTY).await;
        assert!(matches!(outcome, Err(ExchangeError::Closed)));

        let mut silent = open_against(&[], false).await;
        let outcome = silent.exchange(request(), Duration::from_millis(20)).await;
        assert!(matches!(outcome, Err(ExchangeError::TimedOut)));
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let target = Target {
            urls: vec![url],
            ..Target::default()
        };
        let endpoint = Endpoint::all(&target).unwrap().remove(0);
        let outcome = Connection::open(&endpoint).await;
        assert!(matches!(outcome, Err(ExchangeError::Connect { .. })));
    }
}
