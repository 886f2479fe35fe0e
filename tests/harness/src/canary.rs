//! Searching files for bytes that must not be there, in every form in which they could have been written.

use std::fs;
use std::path::{Path, PathBuf};

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A leak may be partial: each piece of this length counts. Sixteen random bytes do not occur by accident.
const PIECE_BYTES: usize = 16;
/// Slots of the filter over the first four bytes of what is searched for.
const FILTER_SLOTS: usize = 1 << 20;

/// What is searched for.
#[derive(Debug)]
pub struct Search {
    needles: Vec<Needle>,
    /// Whether some needle begins with four bytes of this slot: one pass over a file, however many needles.
    starts: Vec<bool>,
}

#[derive(Debug)]
struct Needle {
    form: &'static str,
    bytes: Vec<u8>,
}

impl Search {
    /// For these bytes and each piece of them: as they are, hex, base64 at any offset, a list of numbers.
    #[must_use]
    pub fn for_bytes(secret: &[u8]) -> Self {
        Self::for_all(&[secret])
    }

    /// For several.
    #[must_use]
    pub fn for_all(secrets: &[&[u8]]) -> Self {
        let needles: Vec<Needle> = secrets
            .iter()
            .flat_map(|secret| secret.chunks_exact(PIECE_BYTES))
            .flat_map(forms)
            .collect();
        assert!(!needles.is_empty(), "too short to be searched for");
        let mut starts = vec![false; FILTER_SLOTS];
        for needle in &needles {
            let first = needle.bytes.iter().take(4);
            starts[slot(first.fold(0, |window, byte| push(window, *byte)))] = true;
        }
        Self { needles, starts }
    }

    /// The form and place of the first occurrence.
    #[must_use]
    pub fn find(&self, bytes: &[u8]) -> Option<(&'static str, usize)> {
        let mut window = 0;
        for (at, byte) in bytes.iter().enumerate() {
            window = push(window, *byte);
            if at < 3 || !self.starts[slot(window)] {
                continue;
            }
            let place = at - 3;
            let here = |needle: &&Needle| bytes[place..].starts_with(&needle.bytes);
            if let Some(needle) = self.needles.iter().find(here) {
                return Some((needle.form, place));
            }
        }
        None
    }

    /// Every file with an occurrence, with its form and place.
    #[must_use]
    pub fn files_with(&self, files: &[PathBuf]) -> Vec<(PathBuf, &'static str, usize)> {
        files
            .iter()
            .filter_map(|path| {
                let bytes = fs::read(path).expect("a file of the cluster can be read");
                let (form, place) = self.find(&bytes)?;
                Some((path.clone(), form, place))
            })
            .collect()
    }
}

fn push(window: u32, byte: u8) -> u32 {
    (window << 8) | u32::from(byte)
}

/// Multiplicative hashing: the highest 20 bits.
fn slot(window: u32) -> usize {
    (window.wrapping_mul(0x9e37_79b1) >> 12) as usize
}

fn forms(piece: &[u8]) -> Vec<Needle> {
    let numbers = |between: &str| {
        let numbers: Vec<String> = piece.iter().map(u8::to_string).collect();
        numbers.join(between).into_bytes()
    };
    let mut forms = vec![
        ("as it is", piece.to_vec()),
        ("hex", hex::encode(piece).into_bytes()),
        ("upper-case hex", hex::encode_upper(piece).into_bytes()),
        ("a list of numbers", numbers(", ")),
        ("a compact list of numbers", numbers(",")),
    ];
    for offset in 0..3 {
        let standard = inner_base64(&STANDARD_NO_PAD, piece, offset);
        forms.push(("base64", standard));
        let url_safe = inner_base64(&URL_SAFE_NO_PAD, piece, offset);
        forms.push(("URL-safe base64", url_safe));
    }
    let needle = |(form, bytes)| Needle { form, bytes };
    forms.into_iter().map(needle).collect()
}

/// The characters that depend on the piece alone when it stands `offset` bytes after a group of three began.
fn inner_base64(engine: &impl base64::Engine, piece: &[u8], offset: usize) -> Vec<u8> {
    let mut shifted = vec![0; offset];
    shifted.extend_from_slice(piece);
    let text = engine.encode(&shifted);
    let first = (offset * 8).div_ceil(6);
    let end = shifted.len() * 8 / 6;
    text.as_bytes()[first..end].to_vec()
}

/// All files below a folder, sorted.
#[must_use]
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the cluster can be read") {
            let path = entry.expect("a folder of the cluster can be read").path();
            if path.is_dir() {
                pending.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
