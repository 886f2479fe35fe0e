//! Records a run while it happens: one clock for all clients and faults, each line whole, everything once.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::history::{Fault, Header, History, Kind, Leader, Operation, Recorder};

/// The record of a run that is going on.
#[derive(Debug)]
pub struct Journal {
    began: Instant,
    request_prefix: String,
    next: AtomicU64,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    history: History,
    recorder: Recorder<BufWriter<File>>,
    /// The first failure to write: the file is not whole then.
    failure: Option<io::Error>,
}

impl Journal {
    /// Begins a record in a new file. Time begins now.
    ///
    /// # Errors
    /// When the file can not be made or written.
    pub fn begin(path: &Path, header: Header) -> io::Result<Self> {
        let file = BufWriter::new(File::create_new(path)?);
        let recorder = Recorder::new(file, &header)?;
        Ok(Self {
            began: Instant::now(),
            request_prefix: header.request_prefix.clone(),
            next: AtomicU64::new(1),
            written: Mutex::new(Written {
                history: History {
                    header,
                    ..History::default()
                },
                recorder,
                failure: None,
            }),
        })
    }

    /// Now, on the clock of the record.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The moment of the record's clock as one that can be waited for.
    #[must_use]
    pub fn instant(&self, at_ns: u64) -> Instant {
        self.began + std::time::Duration::from_nanos(at_ns)
    }

    /// A number that nobody else gets.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// An operation that begins now.
    pub fn begin_operation(&self, process: u64, node: u64, kind: Kind, key: &str) -> Operation {
        Operation {
            id: self.number(),
            process,
            node,
            kind,
            key: key.to_owned(),
            start_ns: self.now_ns(),
            ..Operation::default()
        }
    }

    /// How an operation is named in the trail.
    #[must_use]
    pub fn request_id(&self, operation: &Operation) -> String {
        format!("{}{}", self.request_prefix, operation.id)
    }

    /// Records an operation that is over.
    pub fn operation(&self, operation: Operation) {
        let mut written = self.written();
        let result = written.recorder.operation(&operation);
        written.note(result);
        written.history.operations.push(operation);
    }

    /// Records a fault that is over.
    pub fn fault(&self, fault: Fault) {
        let mut written = self.written();
        let result = written.recorder.fault(&fault);
        written.note(result);
        written.history.faults.push(fault);
    }

    /// Records who leads.
    pub fn leader(&self, leader: Leader) {
        let mut written = self.written();
        let result = written.recorder.leader(&leader);
        written.note(result);
        written.history.leaders.push(leader);
    }

    /// Looks at what is recorded so far.
    pub fn look<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        look(&self.written().history)
    }

    /// Ends the record; the file is whole.
    ///
    /// # Errors
    /// When any line could not be written.
    pub fn finish(&self) -> io::Result<History> {
        let mut written = self.written();
        let flushed = written.recorder.flush();
        written.note(flushed);
        match written.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(std::mem::take(&mut written.history)),
        }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    fn note(&mut self, result: io::Result<()>) {
        if let Err(failure) = result
            && self.failure.is_none()
        {
            self.failure = Some(failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;
    use crate::history::Outcome;

    #[tokio::test]
    async fn what_was_recorded_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let header = Header {
            format: crate::history::FORMAT,
            request_prefix: "t-".to_owned(),
            ..Header::default()
        };
        let journal = Journal::begin(&path, header).unwrap();
        let mut operation = journal.begin_operation(1, 2, Kind::Write, "a");
        assert_eq!(journal.request_id(&operation), "t-1");
        operation.value = Some("v".to_owned());
        operation.end_ns = Some(journal.now_ns());
        operation.outcome = Outcome::Ok;
        journal.operation(operation);
        journal.leader(Leader {
            at_ns: 5,
            node: 1,
            term: 1,
        });
        assert_eq!(journal.look(|history| history.operations.len()), 1);
        let history = journal.finish().unwrap();
        let read = History::read(BufReader::new(File::open(&path).unwrap())).unwrap();
        assert_eq!(read, history);
        assert!(Journal::begin(&path, Header::default()).is_err());
    }
}
