//! One keep-alive HTTP/1.1 connection, one request at a time.
//!
//! A request is written from bytes that were prepared beforehand, and of its answer no more is read
//! than its status and where it ends. A client for every purpose would take more of the cores that
//! the load generator shares with the servers it measures.
//!
//! After any error the connection must be dropped: what comes next on it belongs to nobody.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::alarm::Alarm;
use super::answer::Answer;
use super::answer_parser::{AnswerParser, Keep, Malformed};
use super::endpoint::{ByteStream, Endpoint};
use super::requests::Message;

/// On one machine or in one data centre a connection that takes longer is as good as refused.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Room for one read: answers of small values in one system call.
const READ_BYTES: usize = 16 * 1024;

/// Larger bodies are written from where they lie; smaller ones go out in one piece with their head.
const COPIED_BODY_BYTES: usize = 64 * 1024;

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
    Http {
        #[from]
        source: Malformed,
    },
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

/// An open connection.
pub(super) struct Connection {
    wire: Wire,
    alarm: Alarm,
}

impl Connection {
    /// Connects to an endpoint.
    ///
    /// # Errors
    /// `Connect` when nobody accepts within [`CONNECT_TIMEOUT`].
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, ExchangeError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect()).await {
            Ok(Ok(stream)) => Ok(Self::over(stream)),
            Ok(Err(source)) => Err(ExchangeError::Connect { source }),
            Err(_) => {
                let source = io::Error::from(io::ErrorKind::TimedOut);
                Err(ExchangeError::Connect { source })
            }
        }
    }

    fn over(stream: Box<dyn ByteStream>) -> Self {
        let wire = Wire {
            stream,
            outgoing: Vec::new(),
            incoming: vec![0; READ_BYTES].into_boxed_slice(),
            ended: false,
        };
        Self {
            wire,
            alarm: Alarm::new(),
        }
    }

    /// Sends one request and receives its answer to the end.
    ///
    /// # Errors
    /// Any [`ExchangeError`]; the connection is of no use afterwards.
    pub(super) async fn exchange(
        &mut self,
        message: Message<'_>,
        allowed: Duration,
    ) -> Result<Answer, ExchangeError> {
        self.exchange_keeping(Keep::Refusals, message, allowed)
            .await
    }

    /// As [`Connection::exchange`], and the body of a success is kept too.
    ///
    /// # Errors
    /// As [`Connection::exchange`].
    pub(super) async fn exchange_in_full(
        &mut self,
        message: Message<'_>,
        allowed: Duration,
    ) -> Result<Answer, ExchangeError> {
        self.exchange_keeping(Keep::Everything, message, allowed)
            .await
    }

    async fn exchange_keeping(
        &mut self,
        keep: Keep,
        message: Message<'_>,
        allowed: Duration,
    ) -> Result<Answer, ExchangeError> {
        self.alarm.set(allowed);
        tokio::select! {
            biased;
            outcome = self.wire.exchange(keep, message) => outcome,
            () = self.alarm.ring() => Err(ExchangeError::TimedOut),
        }
    }
}

/// The two directions of a connection.
struct Wire {
    stream: Box<dyn ByteStream>,
    /// The request that is being sent; kept for its memory.
    outgoing: Vec<u8>,
    incoming: Box<[u8]>,
    /// The server said that it takes no more requests here.
    ended: bool,
}

impl Wire {
    async fn exchange(
        &mut self,
        keep: Keep,
        message: Message<'_>,
    ) -> Result<Answer, ExchangeError> {
        if self.ended {
            return Err(ExchangeError::Closed);
        }
        // A server may refuse and hang up before it has taken a long request: its answer counts.
        let sent = self.send(message).await;
        let (answer, stays_open) = self.receive(keep).await?;
        self.ended = sent.is_err() || !stays_open;
        Ok(answer)
    }

    async fn send(&mut self, message: Message<'_>) -> io::Result<()> {
        self.outgoing.clear();
        message.write_head(&mut self.outgoing);
        let body = message.body();
        if body.len() <= COPIED_BODY_BYTES {
            self.outgoing.extend_from_slice(body);
            self.stream.write_all(&self.outgoing).await?;
        } else {
            self.stream.write_all(&self.outgoing).await?;
            self.stream.write_all(body).await?;
        }
        self.stream.flush().await
    }

    /// The answer, and whether the connection can be used for another one.
    async fn receive(&mut self, keep: Keep) -> Result<(Answer, bool), ExchangeError> {
        let mut parser = AnswerParser::new(keep);
        loop {
            let read = self.stream.read(&mut self.incoming).await;
            let is_complete = match read.map_err(|_| ExchangeError::Closed)? {
                0 if parser.may_end_here() => true,
                0 => return Err(ExchangeError::Closed),
                bytes => parser.feed(&self.incoming[..bytes])?,
            };
            if is_complete {
                return Ok(parser.finish());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, Method};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::cli::Target;
    use crate::cli::bench::requests::{HeaderLines, PreparedRequest};

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

    /// What a message is made of.
    struct Parts {
        request: PreparedRequest,
        headers: HeaderLines,
    }

    impl Parts {
        fn of(body: Vec<u8>) -> Self {
            Self {
                request: PreparedRequest::new(Method::GET, "/a", body).unwrap(),
                headers: HeaderLines::of(&HeaderMap::new()),
            }
        }

        fn message(&self) -> Message<'_> {
            self.request.to(&self.headers)
        }
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
        let parts = Parts::of(Vec::new());
        for _ in 0..2 {
            let answer = connection.exchange(parts.message(), PLENTY).await.unwrap();
            assert_eq!(answer.label(), "200");
            assert!(answer.body.is_empty());
        }
        let whole = connection.exchange_in_full(parts.message(), PLENTY).await;
        assert_eq!(whole.unwrap().body, b"ok");
        let refused = connection.exchange(parts.message(), PLENTY).await.unwrap();
        assert_eq!(refused.label(), "503 no_leader");
        assert!(refused.may_pass_later());
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_told_from_one_that_is_slow() {
        let parts = Parts::of(Vec::new());
        let mut ended = open_against(&[], true).await;
        let outcome = ended.exchange(parts.message(), PLENTY).await;
        assert!(matches!(outcome, Err(ExchangeError::Closed)));

        let mut silent = open_against(&[], false).await;
        let brief = Duration::from_millis(20);
        let outcome = silent.exchange(parts.message(), brief).await;
        assert!(matches!(outcome, Err(ExchangeError::TimedOut)));

        let cut_short = &["HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok"];
        let mut cut = open_against(cut_short, false).await;
        let outcome = cut.exchange(parts.message(), brief).await;
        assert!(matches!(outcome, Err(ExchangeError::TimedOut)));
    }

    #[tokio::test]
    async fn what_is_not_http_is_told_from_a_closed_connection() {
        let parts = Parts::of(Vec::new());
        for answer in [
            &["SSH-2.0-example\r\n"],
            &["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nmore"],
        ] {
            let mut connection = open_against(answer, false).await;
            let outcome = connection.exchange(parts.message(), PLENTY).await;
            let Err(error) = outcome else {
                panic!("{answer:?} is an answer");
            };
            assert_eq!(error.label(), "protocol error");
        }
    }

    #[tokio::test]
    async fn a_server_that_says_good_bye_gets_no_further_request() {
        let answers = &[
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
        ];
        let parts = Parts::of(Vec::new());
        let mut connection = open_against(answers, false).await;
        let last = connection.exchange(parts.message(), PLENTY).await;
        assert_eq!(last.unwrap().label(), "200");
        let outcome = connection.exchange(parts.message(), PLENTY).await;
        assert!(matches!(outcome, Err(ExchangeError::Closed)));
    }

    /// The narrowest stream there is: every read and every write is one byte.
    #[tokio::test]
    async fn requests_and_answers_survive_a_stream_of_single_bytes() {
        let (near, mut far) = tokio::io::duplex(1);
        let mut connection = Connection::over(Box::new(near));
        let server = tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..3 {
                while !seen.ends_with(b"end") {
                    seen.push(far.read_u8().await.unwrap());
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";
                far.write_all(answer).await.unwrap();
                seen.push(b'|');
            }
            seen
        });
        for body in ["end", "a longer one, to its end", "end"] {
            let parts = Parts::of(body.as_bytes().to_vec());
            let answer = connection.exchange_in_full(parts.message(), PLENTY).await;
            assert_eq!(answer.unwrap().body, b"fine");
        }
        let seen = String::from_utf8(server.await.unwrap()).unwrap();
        let expected = "GET /a HTTP/1.1\r\ncontent-length: 3\r\n\r\nend|\
                        GET /a HTTP/1.1\r\ncontent-length: 24\r\n\r\na longer one, to its end|\
                        GET /a HTTP/1.1\r\ncontent-length: 3\r\n\r\nend|";
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn a_long_body_arrives_whole() {
        let (near, mut far) = tokio::io::duplex(4096);
        let mut connection = Connection::over(Box::new(near));
        let body = b"0123456789".repeat(COPIED_BODY_BYTES / 10 + 1);
        assert!(body.len() > COPIED_BODY_BYTES);
        let parts = Parts::of(body.clone());
        let mut head = Vec::new();
        parts.message().write_head(&mut head);
        let length = head.len() + body.len();
        let server = tokio::spawn(async move {
            let mut seen = vec![0; length];
            far.read_exact(&mut seen).await.unwrap();
            far.write_all(b"HTTP/1.1 204\r\n\r\n").await.unwrap();
            seen
        });
        let answer = connection.exchange(parts.message(), PLENTY).await;
        assert_eq!(answer.unwrap().label(), "204");
        let seen = server.await.unwrap();
        assert!(seen == [head, body].concat(), "the request was changed");
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
