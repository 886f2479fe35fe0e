//! Answers in every division into reads, and what is no answer.

use super::*;

/// Complete answers, their status, their body, and whether the connection stays open.
const ANSWERS: [(&str, u16, &str, bool); 11] = [
    (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\
         x-jarvis-index: 7\r\n\r\n{\"a\":\"\r\n\"}\n",
        200,
        "{\"a\":\"\r\n\"}\n",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        200,
        "",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\n{\"a\r\n00A;x=y\r\n\":\"\r\n\r\n\r\n\"\r\n1 \r\n}\r\n0\r\n\r\n",
        200,
        "{\"a\":\"\r\n\r\n\r\n\"}",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\nx-sum: 1\r\nx-more:\r\n\r\n",
        200,
        "",
        true,
    ),
    (
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length:\t21 \r\nretry-after: 1\r\n\r\n\
         {\"error\":\"no_leader\"}",
        503,
        "{\"error\":\"no_leader\"}",
        true,
    ),
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103\r\nlink: x\r\ncontent-length: 9\r\n\r\n\
         HTTP/1.1 201 Created\r\ncontent-length: 1\r\n\r\nx",
        201,
        "x",
        true,
    ),
    (
        "HTTP/1.1 204 No Content\r\ndate: now\r\n\r\n",
        204,
        "",
        true,
    ),
    ("HTTP/1.1 304\r\ncontent-length: 5\r\n\r\n", 304, "", true),
    (
        "HTTP/1.1 404 \r\nconnection: x, Close\r\ncontent-length: 2\r\n\r\nno",
        404,
        "no",
        false,
    ),
    (
        "HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\
         content-length: 2\r\n\r\nok",
        200,
        "ok",
        true,
    ),
    (
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        200,
        "ok",
        false,
    ),
];

/// Reads an answer that comes in these pieces. It must be complete at the end, and not before.
fn read(keep: Keep, pieces: &[&[u8]]) -> (u16, Vec<u8>, bool) {
    let mut parser = AnswerParser::new(keep);
    let whole: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut fed = 0;
    for piece in pieces {
        fed += piece.len();
        let is_complete = parser.feed(piece).unwrap();
        assert_eq!(is_complete, fed == whole, "after {fed} of {whole} bytes");
        assert!(!parser.may_end_here());
    }
    let (answer, stays_open) = parser.finish();
    (answer.status.as_u16(), answer.body, stays_open)
}

/// What comes of bytes that are read at once, and byte by byte: the same.
fn refusal(text: &str) -> Malformed {
    let at_once = AnswerParser::new(Keep::Everything).feed(text.as_bytes());
    let mut parser = AnswerParser::new(Keep::Everything);
    let one_by_one = text
        .as_bytes()
        .iter()
        .find_map(|byte| parser.feed(&[*byte]).err());
    let at_once = at_once.expect_err(text);
    assert_eq!(one_by_one, Some(at_once), "{text:?}");
    at_once
}

#[test]
fn an_answer_is_the_same_however_it_is_divided() {
    for (text, status, body, stays_open) in ANSWERS {
        let bytes = text.as_bytes();
        let expected = (status, body.as_bytes().to_vec(), stays_open);
        assert_eq!(read(Keep::Everything, &[bytes]), expected, "{text:?}");
        for first in 0..=bytes.len() {
            let (start, rest) = bytes.split_at(first);
            let pieces: Vec<&[u8]> = [start, rest]
                .into_iter()
                .filter(|piece| !piece.is_empty())
                .collect();
            assert_eq!(read(Keep::Everything, &pieces), expected, "{text:?}");
            for second in 1..rest.len() {
                let (middle, end) = rest.split_at(second);
                let pieces: Vec<&[u8]> = [start, middle, end]
                    .into_iter()
                    .filter(|piece| !piece.is_empty())
                    .collect();
                assert_eq!(read(Keep::Everything, &pieces), expected, "{text:?}");
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(Keep::Everything, &single), expected, "{text:?}");
    }
}

#[test]
fn the_body_of_a_success_is_kept_only_if_it_is_wanted() {
    for (text, status, body, stays_open) in ANSWERS {
        let kept = if (200..300).contains(&status) {
            ""
        } else {
            body
        };
        let expected = (status, kept.as_bytes().to_vec(), stays_open);
        assert_eq!(read(Keep::Refusals, &[text.as_bytes()]), expected);
    }
}

#[test]
fn without_a_length_the_body_ends_with_the_connection() {
    let text = "HTTP/1.1 400 Bad Request\r\n\r\nall of it";
    for first in 0..text.len() {
        let (start, rest) = text.as_bytes().split_at(first);
        let mut parser = AnswerParser::new(Keep::Refusals);
        assert_eq!(parser.feed(start), Ok(false));
        assert_eq!(parser.feed(rest), Ok(false));
        assert!(parser.may_end_here());
        let (answer, stays_open) = parser.finish();
        assert_eq!(answer.body, b"all of it");
        assert!(!stays_open);
    }
}

#[test]
fn a_byte_after_the_end_is_refused_at_once_or_later() {
    for (text, ..) in ANSWERS {
        let mut parser = AnswerParser::new(Keep::Refusals);
        assert_eq!(parser.feed(text.as_bytes()), Ok(true), "{text:?}");
        assert_eq!(parser.feed(b"H"), Err(Malformed::Unasked), "{text:?}");
        assert_eq!(refusal(&format!("{text}\r\n")), Malformed::Unasked);
    }
}

#[test]
fn each_malformed_answer_is_told_apart() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (start, rest, expected) in [
        ("", "\r\n", Malformed::StatusLine),
        ("", "HTTP/2.0 200 OK\r\n", Malformed::StatusLine),
        ("", "http/1.1 200 OK\r\n", Malformed::StatusLine),
        ("", "HTTP/1.1  200 OK\r\n", Malformed::StatusLine),
        ("", "HTTP/1.1 20 OK\r\n", Malformed::StatusLine),
        ("", "HTTP/1.1 2000 OK\r\n", Malformed::StatusLine),
        ("", "HTTP/1.1 099 OK\r\n", Malformed::StatusLine),
        ("", "HTTP/1.1\r\n", Malformed::StatusLine),
        ("", "SSH-2.0-example\r\n", Malformed::StatusLine),
        ("", "HTTP/1.1 101 OK\r\n\r\n", Malformed::StatusLine),
        ("", "HTTP/1.1 200 OK\n", Malformed::Line),
        (OK, "a: b\n", Malformed::Line),
        (OK, "\n", Malformed::Line),
        (OK, "a: b\rc: d\r\n", Malformed::Line),
        (OK, "a: \0\r\n", Malformed::Line),
        (OK, "a: \u{7f}\r\n", Malformed::Line),
        (OK, "no colon\r\n", Malformed::Field),
        (OK, ": no name\r\n", Malformed::Field),
        (OK, "content-length : 1\r\n", Malformed::Field),
        (OK, "a: b\r\n folded: c\r\n", Malformed::Field),
        (OK, "content-length: \r\n", Malformed::Length),
        (OK, "content-length: +1\r\n", Malformed::Length),
        (OK, "content-length: -1\r\n", Malformed::Length),
        (OK, "content-length: 0x1\r\n", Malformed::Length),
        (OK, "content-length: 1, 1\r\n", Malformed::Length),
        (
            OK,
            "content-length: 18446744073709551616\r\n",
            Malformed::Length,
        ),
        (
            OK,
            "content-length: 1\r\ncontent-length: 2\r\n",
            Malformed::Length,
        ),
        (OK, "transfer-encoding: gzip\r\n", Malformed::Length),
        (
            OK,
            "transfer-encoding: gzip, chunked\r\n",
            Malformed::Length,
        ),
        (
            OK,
            "transfer-encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Malformed::Length,
        ),
        (
            OK,
            "transfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n",
            Malformed::Length,
        ),
        (CHUNKED, "\r\n", Malformed::Chunk),
        (CHUNKED, ";x\r\n", Malformed::Chunk),
        (CHUNKED, "+1\r\n", Malformed::Chunk),
        (CHUNKED, " 1\r\n", Malformed::Chunk),
        (CHUNKED, "g\r\n", Malformed::Chunk),
        (CHUNKED, "10000000000000000\r\n", Malformed::Chunk),
        (CHUNKED, "1\n", Malformed::Line),
        (CHUNKED, "1\r\nab\r\n", Malformed::Chunk),
        (CHUNKED, "1\r\na0\r\n\r\n", Malformed::Chunk),
        (CHUNKED, "1\r\na\n", Malformed::Line),
        (CHUNKED, "0\r\nno colon\r\n", Malformed::Field),
    ] {
        let text = format!("{start}{rest}");
        assert_eq!(refusal(&text), expected, "{text:?}");
    }
}

#[test]
fn rule_10_heads_lines_and_kept_bodies_are_bounded() {
    let long = "x".repeat(MOST_HEAD_BYTES);
    let endless_line = format!("HTTP/1.1 200 {long}");
    assert_eq!(refusal(&endless_line), Malformed::TooLong);
    let many_fields = format!(
        "HTTP/1.1 200 OK\r\n{}",
        "a: b\r\n".repeat(MOST_HEAD_BYTES / 6)
    );
    assert_eq!(refusal(&many_fields), Malformed::TooLong);
    let many_heads = "HTTP/1.1 100\r\n\r\n".repeat(MOST_HEAD_BYTES / 16 + 1);
    assert_eq!(refusal(&many_heads), Malformed::TooLong);
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let long_size = format!("{chunked}1;{}", &long[..MOST_SIZE_BYTES]);
    assert_eq!(refusal(&long_size), Malformed::TooLong);
    let long_trailer = format!("{chunked}0\r\nx: {long}");
    assert_eq!(refusal(&long_trailer), Malformed::TooLong);

    let body = "y".repeat(KEPT_BODY_BYTES + 1);
    let whole = format!(
        "HTTP/1.1 500\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (_, kept, _) = read(Keep::Refusals, &[whole.as_bytes()]);
    assert_eq!(kept.len(), KEPT_BODY_BYTES);
    let many_chunks = format!("{chunked}{}0\r\n\r\n", "1\r\nz\r\n".repeat(100_000));
    let (_, kept, _) = read(Keep::Everything, &[many_chunks.as_bytes()]);
    assert_eq!(kept.len(), KEPT_BODY_BYTES);
}
