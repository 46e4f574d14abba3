//! Logs: one JSON object a line on standard output. Text from outside is only ever a field, and JSON escapes it.
//!
//! Lines are collected for a moment and written together, by a thread of their own: a call must not wait for whoever
//! reads the log, and a system call each would cost more than the rest of the audit trail.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::audit;

/// The environment variable that chooses what is logged, in the syntax of `tracing`'s `EnvFilter`.
pub const FILTER: &str = "GATEHOUSE_LOG";

/// How long a line waits for others at most.
const PAUSE: Duration = Duration::from_millis(50);
/// While this much waits, in bytes, further lines are written by whoever logs them: nothing is dropped.
const FULL: usize = 1024 * 1024;

/// Installs the process's logger. A filter that cannot be read is named and `info` used instead. Dropping the guard
/// writes what still waits.
#[must_use]
pub fn init() -> Guard {
    let wanted = std::env::var(FILTER).ok();
    let (filter, bad) = match wanted.as_deref().map(EnvFilter::try_new) {
        None => (EnvFilter::new("info"), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new("info"), Some(error)),
    };
    let guard = Guard::start();
    let lines = guard.lines.clone();
    let json = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
    let json = json.with_writer(move || lines.clone());
    // A second call (two gateways in one process) keeps the first logger.
    let _ = tracing_subscriber::registry().with(filter).with(json).try_init();
    if let Some(error) = bad {
        tracing::warn!(variable = FILTER, found = wanted, %error, "the log filter is not valid, using \"info\"");
    }
    guard
}

/// Keeps the log going; what still waits is written when this is dropped.
#[derive(Debug)]
pub struct Guard {
    lines: Lines,
    writer: Option<JoinHandle<()>>,
}

impl Guard {
    fn start() -> Self {
        let lines = Lines::default();
        let theirs = lines.clone();
        let writer =
            std::thread::Builder::new().name("log".to_owned()).spawn(move || theirs.write_out()).ok();
        Self { lines, writer }
    }

    /// The log as the place of audit events, whatever its filter says.
    pub fn audit(&self) -> Arc<dyn audit::Sink> {
        Arc::new(self.lines.clone())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.lines.lock().ended = true;
        self.lines.0.1.notify_one();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing more to write.
            let _ = writer.join();
        }
    }
}

/// The lines that wait.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<(Mutex<Waiting>, Condvar)>);

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    ended: bool,
}

impl Lines {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to those that wait.
    fn add(&self, line: impl FnOnce(&mut Vec<u8>)) {
        let mut waiting = self.lock();
        let (first, ended) = (waiting.bytes.is_empty(), waiting.ended);
        line(&mut waiting.bytes);
        if ended || waiting.bytes.len() > FULL {
            let bytes = std::mem::take(&mut waiting.bytes);
            put(&bytes);
        } else if first {
            self.0.1.notify_one();
        }
    }

    /// Writes until the guard is dropped.
    fn write_out(&self) {
        let mut spare = Vec::new();
        loop {
            let idle = |waiting: &mut Waiting| waiting.bytes.is_empty() && !waiting.ended;
            let waiting = self.0.1.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
            let ended = waiting.ended;
            drop(waiting);
            if !ended {
                std::thread::sleep(PAUSE);
            }
            std::mem::swap(&mut spare, &mut self.lock().bytes);
            put(&spare);
            spare.clear();
            if ended && self.lock().bytes.is_empty() {
                return;
            }
        }
    }
}

/// Where a log that cannot be written could be told, there is nobody to read it.
fn put(bytes: &[u8]) {
    let _ = io::stdout().lock().write_all(bytes);
}

impl audit::Sink for Lines {
    fn take(&self, record: &audit::Record<'_>) {
        self.add(|bytes| record.json(bytes));
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.add(|bytes| bytes.extend_from_slice(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
