//! The `Date` header of an answer, from the node's own wall clock: like every other time the server tells.

use std::sync::{Mutex, PoisonError};

use axum::http::HeaderValue;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// RFC 9110, 5.6.7: always 29 characters.
const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// The header of the current second. Made once a second: answers come by the thousand.
#[derive(Default)]
pub(super) struct DateHeader {
    last: Mutex<Option<(u64, HeaderValue)>>,
}

impl DateHeader {
    /// `None` for a moment that has no such form (the year 10,000).
    pub(super) fn at(&self, wall_ms: u64) -> Option<HeaderValue> {
        let second = wall_ms / 1_000;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((at, header)) if *at == second => Some(header.clone()),
            _ => {
                let header = header(second)?;
                *last = Some((second, header.clone()));
                Some(header)
            }
        }
    }
}

fn header(unix_s: u64) -> Option<HeaderValue> {
    let moment = OffsetDateTime::from_unix_timestamp(i64::try_from(unix_s).ok()?).ok()?;
    HeaderValue::from_str(&moment.format(HTTP_DATE).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_that_of_rfc_9110() {
        let date = DateHeader::default();
        let text = |ms| {
            let header: HeaderValue = date.at(ms).unwrap();
            header.to_str().unwrap().to_owned()
        };
        assert_eq!(text(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(784_111_778_000), "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(text(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date.at(u64::MAX), None);
    }
}
