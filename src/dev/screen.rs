//! What `dev` prints: lines on standard output, for people.
//!
//! A thread of its own writes them, so that a reader who stopped reading never stops the
//! supervision; what does not fit the queue by then is lost.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Lines that wait for a slow reader: many minutes of a cluster in trouble.
const MAX_WAITING: usize = 1_024;
/// At the end a reader gets this many looks to take the last lines, this far apart: half a second.
const LAST_LOOKS: u32 = 100;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Standard output that never blocks.
pub(super) struct Screen {
    lines: SyncSender<String>,
    writer: Option<JoinHandle<()>>,
}

impl Screen {
    /// Starts the writer.
    pub(super) fn start() -> Self {
        let (lines, waiting) = sync_channel(MAX_WAITING);
        let writer = std::thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || write_all(&waiting));
        Self {
            lines,
            writer: writer.ok(),
        }
    }

    /// Prints text and a newline.
    pub(super) fn say(&self, text: impl Into<String>) {
        let _lost_if_full = self.lines.try_send(text.into());
    }

    /// Prints what is still waiting, if somebody reads it.
    pub(super) fn finish(self) {
        drop(self.lines);
        let Some(writer) = self.writer else {
            return;
        };
        for _ in 0..LAST_LOOKS {
            if writer.is_finished() {
                return;
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }
}

fn write_all(waiting: &Receiver<String>) {
    for line in waiting {
        let mut output = std::io::stdout().lock();
        // A reader who has left is no reason to stop the cluster.
        let _unread = writeln!(output, "{line}").and_then(|()| output.flush());
    }
}

/// Rows as columns, as wide as their widest cell; the first row is the header.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A word that a shell takes as it is.
pub(super) fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,=@".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            columns(&[row(["NODE", "PID"]), row(["n1", "12345"])]),
            "NODE  PID\nn1    12345"
        );
    }

    #[test]
    fn a_path_with_a_space_can_be_pasted() {
        assert_eq!(shell_word("/tmp/a/ca.pem"), "/tmp/a/ca.pem");
        assert_eq!(shell_word("/tmp/a b"), "'/tmp/a b'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
    }

    #[test]
    fn nobody_has_to_read() {
        let screen = Screen {
            lines: sync_channel(1).0,
            writer: None,
        };
        for _ in 0..10 {
            screen.say("a line");
        }
        screen.finish();
    }
}
