//! Writing answers: a plain column writer, and standard output that survives a closed pipe.

use std::io::{ErrorKind, Write};

use super::error::CliError;

/// Spaces between two columns: two keep a name that holds one space apart from the next column.
const GAP: &str = "  ";

/// Writes bytes to standard output as they are. A reader that has left (`| head`) is not an error.
pub(crate) fn print(bytes: &[u8]) -> Result<(), CliError> {
    let mut output = std::io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(CliError::Other(format!(
            "can not write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Writes text and exactly one final newline.
pub(crate) fn print_line(text: &str) -> Result<(), CliError> {
    let line = zeroize::Zeroizing::new(format!("{}\n", text.strip_suffix('\n').unwrap_or(text)));
    print(line.as_bytes())
}

/// A value as pretty JSON. The wire's types serialize without fail: their keys are strings.
pub(crate) fn json_text(value: &impl serde::Serialize) -> Result<String, CliError> {
    serde_json::to_string_pretty(value)
        .map_err(|error| CliError::Other(format!("can not write JSON: {error}")))
}

/// Rows under one header line; the columns are as wide as their widest cell.
pub(crate) struct Columns {
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// A table with its header line.
    pub(crate) fn new<const N: usize>(header: [&str; N]) -> Self {
        Self {
            rows: vec![header.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    /// Adds one row; control characters are shown, not sent to the terminal.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows
            .push(cells.iter().map(|cell| printable(cell)).collect());
    }

    /// The table as text with a final newline.
    pub(crate) fn render(&self) -> String {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..count).map(|column| self.width(column)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, &width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(
                    ' ',
                    width.saturating_sub(cell.chars().count()),
                ));
                line.push_str(GAP);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        self.rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    }
}

/// Control characters as escapes, so that stored text can not steer the terminal or break a line.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A cell for something that may be missing.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l1_one_header_line_and_columns_that_line_up() {
        let mut columns = Columns::new(["NAME", "VERSION"]);
        columns.row(["db/main/password".into(), "12".into()]);
        columns.row(["a".into(), "1".into()]);
        assert_eq!(
            columns.render(),
            "NAME              VERSION\ndb/main/password  12\na                 1\n"
        );
    }

    #[test]
    fn l1_control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
        assert_eq!(printable("zażółć"), "zażółć");
    }
}
