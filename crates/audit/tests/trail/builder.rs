//! Makes trails as apply does, with an own implementation of the chain.

use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use jarvis_audit::{Checkpoint, ClosedSegment, Position, SegmentWriter, checkpoint};
use jarvis_disk::RealDisk;
use sha2::{Digest, Sha256};

/// The cluster id in every built trail.
pub(crate) const CLUSTER: [u8; 16] = [0xc1; 16];

/// One line and the mark that apply hands over with it.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) line: Vec<u8>,
    pub(crate) close: Option<ClosedSegment>,
}

/// The log that can be replayed, and the trail it makes.
#[derive(Debug, Clone)]
pub(crate) struct Builder {
    segment_events: u64,
    seq: u64,
    index: u64,
    position: Position,
    /// Chain heads; `heads[n]` is the one after event n.
    pub(crate) heads: Vec<[u8; 32]>,
    pub(crate) written: Vec<Written>,
}

impl Builder {
    pub(crate) fn new(segment_events: u64) -> Self {
        Self {
            segment_events,
            seq: 0,
            index: 0,
            position: Position::default(),
            heads: vec![[0; 32]],
            written: Vec::new(),
        }
    }

    /// A trail that begins with node 1 as the only voter.
    pub(crate) fn begun(segment_events: u64) -> Self {
        let mut builder = Self::new(segment_events);
        let members = format!(
            r#""cluster":"{}","recovery_epoch":0,"node":1,"audit_key":"{}""#,
            hex::encode(CLUSTER),
            public_key(1)
        );
        builder.event("cluster.init", "ok", &members);
        builder
    }

    pub(crate) fn event(&mut self, event: &str, outcome: &str, members: &str) {
        self.index += 1;
        self.event_at(self.index, event, outcome, members);
    }

    pub(crate) fn event_at(&mut self, index: u64, event: &str, outcome: &str, members: &str) {
        self.seq += 1;
        let (seq, comma) = (self.seq, if members.is_empty() { "" } else { "," });
        let body = format!(
            r#"{{"seq":{seq},"time":"2026-11-22T03:00:00.{:03}Z","index":{index},"event":"{event}","outcome":"{outcome}"{comma}{members}"#,
            seq % 1000
        );
        let mut hasher = Sha256::new();
        hasher.update(self.head());
        hasher.update(body.as_bytes());
        let head: [u8; 32] = hasher.finalize().into();
        let line = format!("{body},\"hash\":\"{}\"}}\n", hex::encode(head)).into_bytes();
        self.heads.push(head);
        self.position.open_bytes += line.len() as u64;
        let mut close = None;
        if seq + 1 - self.position.open_first_seq >= self.segment_events {
            let segment = ClosedSegment {
                first_seq: self.position.open_first_seq,
                last_seq: seq,
                head,
                bytes: self.position.open_bytes,
            };
            self.position.closed.push(segment);
            self.position.open_first_seq = seq + 1;
            self.position.open_bytes = 0;
            close = Some(segment);
        }
        self.written.push(Written { line, close });
    }

    pub(crate) fn reads(&mut self, count: u64) {
        for number in 0..count {
            self.event(
                "secret.read",
                "allow",
                &format!(r#""client":"backend","version":{number}"#),
            );
        }
    }

    pub(crate) fn join(&mut self, node: u64) {
        let members = format!(r#""node":{node},"audit_key":"{}""#, public_key(node));
        self.event("node.join", "ok", &members);
    }

    pub(crate) fn voters(&mut self, voters: &str) {
        self.event("voters", "ok", &format!(r#""voters":[{voters}]"#));
    }

    /// A checkpoint by `node` over everything up to the last event.
    pub(crate) fn checkpoint(&mut self, node: u64) {
        self.checkpoint_signed(node, self.seq, self.head(), &key(node));
    }

    pub(crate) fn checkpoint_signed(
        &mut self,
        node: u64,
        seq: u64,
        head: [u8; 32],
        key: &SigningKey,
    ) {
        let statement = Checkpoint {
            cluster: CLUSTER,
            recovery_epoch: 0,
            index: self.index,
            seq,
            head,
        };
        let signature = checkpoint::sign(key, &statement);
        let members = format!(
            r#""node":{node},"signed_index":{},"signed_seq":{seq},"signed_head":"{}","signature":"{}""#,
            self.index,
            hex::encode(head),
            hex::encode(signature)
        );
        self.event("audit.checkpoint", "ok", &members);
    }

    /// Retires the first `segments` closed segments; the files stay until the writer is told.
    pub(crate) fn retire(&mut self, segments: usize, extra: &str) -> u64 {
        let last = self.position.closed[segments - 1];
        self.position.closed.drain(..segments);
        let upto_seq = last.last_seq;
        let members = format!(
            r#""upto_seq":{upto_seq},"head":"{}"{extra}"#,
            hex::encode(last.head)
        );
        self.event("audit.retire", "ok", &members);
        upto_seq
    }

    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    pub(crate) fn head(&self) -> [u8; 32] {
        self.heads[self.heads.len() - 1]
    }

    pub(crate) fn position(&self) -> Position {
        self.position.clone()
    }

    /// All lines so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.written
            .iter()
            .flat_map(|written| written.line.clone())
            .collect()
    }

    /// Hands the events behind `seq` to a writer, as replaying the log does.
    pub(crate) fn replay(&self, writer: &mut SegmentWriter, seq: u64) {
        let from = usize::try_from(seq).expect("a small number");
        for written in &self.written[from..] {
            writer.append(&written.line, written.close).expect("append");
        }
    }

    /// Writes the whole trail into a new folder, synced, and compressed if asked.
    pub(crate) fn folder(&self, compressed: bool) -> Folder {
        let folder = Folder::new();
        let mut writer = folder.open(None);
        self.replay(&mut writer, 0);
        writer.sync().expect("sync");
        if compressed {
            while writer.compress_closed().expect("compress") > 0 {}
        }
        folder
    }
}

/// A temporary audit folder on the real file system.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn open(&self, position: Option<Position>) -> SegmentWriter {
        SegmentWriter::open(RealDisk::handle(), self.path(), position).expect("open")
    }

    /// Paths of the segments in order, the open one last.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(self.path())
            .expect("list")
            .map(|entry| entry.expect("entry").path())
            .filter(|path| path.to_string_lossy().contains(".jsonl"))
            .collect();
        paths.sort();
        paths
    }

    /// Changes the uncompressed content of a segment.
    pub(crate) fn edit(&self, path: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let stored = std::fs::read(path).expect("read");
        if path.extension().is_some_and(|extension| extension == "gz") {
            std::fs::write(path, gzip(&change(gunzip(&stored)))).expect("write");
        } else {
            std::fs::write(path, change(stored)).expect("write");
        }
    }
}

/// A node's signing key: not a secret, the same in every run.
pub(crate) fn key(node: u64) -> SigningKey {
    SigningKey::from_bytes(&[u8::try_from(node).expect("a small number"); 32])
}

pub(crate) fn public_key(node: u64) -> String {
    hex::encode(key(node).verifying_key().to_bytes())
}

/// The lines of a segment, newlines included.
pub(crate) fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(bytes);
    std::io::Read::read_to_end(&mut decoder, &mut plain).expect("gunzip");
    plain
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, bytes).expect("gzip");
    encoder.finish().expect("gzip")
}
