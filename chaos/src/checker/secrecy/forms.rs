//! The forms in which bytes end up in a file, written by hand: no encoder of the server's is used to look for its leaks.

/// One form: its name, and the bytes to look for.
pub(super) type Form = (&'static str, Vec<u8>);

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// As it is, as hexadecimal digits, as base64 wherever it may begin, as lists of numbers.
pub(super) fn of_bytes(bytes: &[u8]) -> Vec<Form> {
    let mut forms = vec![
        ("as it is", bytes.to_vec()),
        ("hex", hex(bytes, b"0123456789abcdef")),
        ("upper-case hex", hex(bytes, b"0123456789ABCDEF")),
        ("a list of numbers", numbers(bytes, ", ")),
        ("a compact list of numbers", numbers(bytes, ",")),
    ];
    for offset in 0..3 {
        forms.push(("base64", base64(bytes, offset, STANDARD)));
        forms.push(("URL-safe base64", base64(bytes, offset, URL_SAFE)));
    }
    forms
}

/// As text in JSON, where that is not the text itself: escaped as little as possible, and as much as possible.
pub(super) fn of_text(bytes: &[u8]) -> Vec<Form> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Vec::new();
    };
    let (plain, ascii) = (json(text, false), json(text, true));
    let mut forms = Vec::new();
    if ascii != plain {
        forms.push(("JSON in ASCII", ascii.into_bytes()));
    }
    if plain != text {
        forms.push(("JSON", plain.into_bytes()));
    }
    forms
}

fn hex(bytes: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    let digit = |number: u8| digits[usize::from(number)];
    let pairs = bytes.iter();
    pairs
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn numbers(bytes: &[u8], between: &str) -> Vec<u8> {
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    numbers.join(between).into_bytes()
}

/// The characters that depend on these bytes alone, when they stand `offset` bytes after a group of three began.
fn base64(bytes: &[u8], offset: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let bit = |number: usize| {
        let byte = bytes[number / 8];
        usize::from((byte >> (7 - number % 8)) & 1)
    };
    // Characters take six bits each; the first whole one begins this far into the bytes.
    let first = (6 - offset * 8 % 6) % 6;
    let mut characters = Vec::new();
    let mut start = first;
    while start + 6 <= bytes.len() * 8 {
        let six = (start..start + 6).fold(0, |six, number| (six << 1) | bit(number));
        characters.push(alphabet[six]);
        start += 6;
    }
    characters
}

fn json(text: &str, only_ascii: bool) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\u{8}' => escaped.push_str("\\b"),
            '\u{c}' => escaped.push_str("\\f"),
            control if u32::from(control) < 0x20 => push_unit(&mut escaped, u32::from(control)),
            other if only_ascii && !other.is_ascii() => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    push_unit(&mut escaped, u32::from(*unit));
                }
            }
            other => escaped.push(other),
        }
    }
    escaped
}

fn push_unit(escaped: &mut String, unit: u32) {
    escaped.push_str(&format!("\\u{unit:04x}"));
}
