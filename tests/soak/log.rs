//! Reads sealock's log as it grows, and renames it now and then as logrotate does.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use crate::accounts::Books;
use crate::stage::Stage;
use crate::wire::PATIENCE;

/// What may be logged as an error: that a bad file was not taken.
const EXPECTED_ERRORS: &[&str] = &["not reloaded"];

/// What is asked of the reader.
pub enum Order {
    /// Renames the file, and lets go of it once sealock has.
    Rotate(oneshot::Sender<()>),
    /// Reads to the end, and tells which warnings and errors there were, by their first words.
    Finish(oneshot::Sender<BTreeMap<String, u64>>),
}

/// Starts to read.
pub fn read(stage: Arc<Stage>) -> mpsc::Sender<Order> {
    let (sender, orders) = mpsc::channel(1);
    tokio::spawn(Log::run(stage, orders));
    sender
}

struct Log {
    path: PathBuf,
    file: File,
    /// The start of a line.
    rest: Vec<u8>,
    books: Arc<Books>,
    warnings: BTreeMap<String, u64>,
}

impl Log {
    async fn run(stage: Arc<Stage>, mut orders: mpsc::Receiver<Order>) {
        let path = stage.log();
        let mut log = Self {
            file: File::open(&path).unwrap(),
            path,
            rest: Vec::new(),
            books: Arc::clone(&stage.books),
            warnings: BTreeMap::new(),
        };
        loop {
            log.take();
            match orders.try_recv() {
                Ok(Order::Rotate(done)) => {
                    log.rotate(&stage).await;
                    // Whoever asked may have stopped to wait.
                    done.send(()).unwrap_or_default();
                }
                Ok(Order::Finish(done)) => {
                    log.take();
                    drop(done.send(log.warnings));
                    return;
                }
                Err(mpsc::error::TryRecvError::Empty) => sleep(Duration::from_millis(50)).await,
                Err(mpsc::error::TryRecvError::Disconnected) => return,
            }
        }
    }

    /// Reads what is there.
    fn take(&mut self) {
        self.file.read_to_end(&mut self.rest).unwrap();
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return;
        };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(line) => self.line(&line),
                Err(error) => {
                    let line = String::from_utf8_lossy(line);
                    self.books
                        .complain(format!("a line of the log is no JSON: {error}: {line}"));
                }
            }
        }
    }

    fn line(&mut self, line: &Value) {
        let of_session = line["target"] == "sealock::session";
        if of_session && line["cause"].is_string() {
            self.books.count("records in the log", 1);
            return self.books.record(line);
        }
        let message = line["message"].as_str().unwrap_or_default();
        let head = message.lines().next().unwrap_or_default();
        let level = line["level"].as_str().unwrap_or_default();
        if level == "WARN" || level == "ERROR" {
            *self.warnings.entry(format!("{level} {head}")).or_default() += 1;
        }
        let expected = EXPECTED_ERRORS
            .iter()
            .any(|expected| message.starts_with(expected));
        if level == "ERROR" && !expected || message.contains("lost") {
            self.books.complain(format!("in the log: {line}"));
        }
    }

    async fn rotate(&mut self, stage: &Stage) {
        let old = self.path.with_extension("log.1");
        fs::rename(&self.path, &old).unwrap();
        stage.signal("USR1").await;
        let start = Instant::now();
        // Lines go to the old file until there is one in the new.
        while !fs::metadata(&self.path).is_ok_and(|new| new.len() > 0) {
            self.take();
            if start.elapsed() > PATIENCE {
                return self.books.complain("the renamed log was not let go of");
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.take();
        if !self.rest.is_empty() {
            self.books.complain("the renamed log ends inside a line");
        }
        self.file = File::open(&self.path).unwrap();
        fs::remove_file(old).unwrap();
    }
}
