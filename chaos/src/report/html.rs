//! The few pieces of HTML that a report needs. Nothing points outside of the page.

const STYLE: &str = "\
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; } h3 { font-size: 1rem; }
table { border-collapse: collapse; font-size: .88rem; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: var(--soft); overflow-x: auto; padding: .8rem; font-size: .8rem; }
.held { color: #2a7d2a; } .violated { color: #c22; font-weight: bold; } .vacuous { color: #b06a00; font-weight: bold; }
.scroll { overflow-x: auto; border: 1px solid var(--line); }
svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
.legend span { margin-right: 1.2rem; white-space: nowrap; }
.swatch { display: inline-block; width: .9em; height: .9em; vertical-align: -.1em; margin-right: .35em; }
";

/// A whole page.
pub(super) fn document(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

/// Text that is nothing but text, also inside of an attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(character),
            control if control.is_control() => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// One place of a table.
pub(super) struct Cell {
    text: String,
    class: &'static str,
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::marked(text, "")
    }

    pub(super) fn marked(text: impl Into<String>, class: &'static str) -> Self {
        Self {
            text: text.into(),
            class,
        }
    }

    pub(super) fn number(number: u64) -> Self {
        Self::marked(number.to_string(), "number")
    }
}

/// A table; without any head it has none.
pub(super) fn table(head: &[&str], rows: &[Vec<Cell>]) -> String {
    let mut text = String::from("<table>\n");
    if !head.is_empty() {
        let cells: String = head
            .iter()
            .map(|cell| format!("<th>{}</th>", escaped(cell)))
            .collect();
        text.push_str(&format!("<tr>{cells}</tr>\n"));
    }
    for row in rows {
        let cells: String = row
            .iter()
            .map(|Cell { text, class }| format!("<td class=\"{class}\">{}</td>", escaped(text)))
            .collect();
        text.push_str(&format!("<tr>{cells}</tr>\n"));
    }
    text.push_str("</table>\n");
    text
}
