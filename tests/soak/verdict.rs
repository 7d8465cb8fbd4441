//! What it all comes to.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use crate::config::SERVICES;
use crate::log::Order;
use crate::stage::{Rest, Stage};
use crate::wire::PATIENCE;
use crate::{faults, traffic};

/// Memory in KiB that the process may have more than after the warm-up. The allocator keeps pages for each of its threads
/// and sizes,
/// and gives them back over some ten seconds; what it keeps depends on which sessions met. A leak grows with the sessions,
/// this does not.
const SLACK: u64 = 8 * 1024;

/// How long it takes until nothing is under way any more: drains look after their sessions for `shutdown_timeout`, and the
/// allocator
/// gives back what is free in about as long.
const SETTLES: Duration = Duration::from_secs(12);

/// See the module's documentation.
pub struct Verdict {
    stage: Arc<Stage>,
    begin: Instant,
    /// After the warm-up, and after it all.
    rests: Vec<Rest>,
    sums: usize,
    warnings: BTreeMap<String, u64>,
    records_before: Option<u64>,
}

impl Verdict {
    pub fn new(stage: Arc<Stage>) -> Self {
        Self {
            stage,
            begin: Instant::now(),
            rests: Vec::new(),
            sums: 0,
            warnings: BTreeMap::new(),
            records_before: None,
        }
    }

    fn complain(&self, what: impl Into<String>) {
        self.stage.books.complain(what);
    }

    fn records(&self) -> u64 {
        self.stage
            .books
            .counts()
            .get("records in the log")
            .copied()
            .unwrap_or_default()
    }

    /// Waits until nobody uses sealock any more, and looks at what it holds.
    pub async fn at_rest(&mut self) {
        let ended = async {
            for name in ["sealock_connections_opening", "sealock_buffer_bytes"] {
                self.stage.until(name, |now| now == 0.0).await?;
            }
            for service in SERVICES {
                let sample = format!("sealock_sessions{{route=\"{}\"}}", service.name);
                self.stage.until(&sample, |now| now == 0.0).await?;
            }
            std::io::Result::Ok(())
        };
        if let Err(error) = ended.await {
            self.complain(format!("sessions do not end: {error}"));
        }
        self.settle("records").await;
        let start = Instant::now();
        let before = self.rests.first().cloned();
        let mut least: Option<Rest> = None;
        loop {
            match self.stage.rest().await {
                Ok(rest) => least = Some(least.map_or(rest.clone(), |least| least.least(&rest))),
                Err(error) => return self.complain(format!("the process cannot be looked at: {error}")),
            }
            sleep(Duration::from_millis(200)).await;
            let Some(rest) = &least else { continue };
            let patient = start.elapsed() < if before.is_some() { 3 * SETTLES } else { SETTLES };
            let differs = before
                .as_ref()
                .map_or(Vec::new(), |before| differences(before, rest));
            if start.elapsed() < SETTLES || patient && !differs.is_empty() {
                continue;
            }
            for difference in differs {
                self.complain(difference);
            }
            self.records_before.get_or_insert(self.records());
            return self.rests.push(rest.clone());
        }
    }

    /// Waits until every connection's story is complete.
    async fn settle(&self, what: &str) {
        let start = Instant::now();
        loop {
            let unfinished = self.stage.books.unfinished();
            if unfinished.is_empty() {
                return;
            }
            if start.elapsed() > PATIENCE {
                for one in unfinished.into_iter().take(10) {
                    self.complain(format!("{what} are missing: {one}"));
                }
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The sums of the records must be those of `/metrics`.
    pub async fn compare_sums(&mut self) {
        let metrics = match self.stage.metrics().await {
            Ok(metrics) => metrics,
            Err(error) => return self.complain(format!("no metrics: {error}")),
        };
        let sums = self.stage.books.sums();
        let families: BTreeSet<&str> = sums.keys().map(|name| family(name)).collect();
        let of_families = metrics.keys().filter(|name| families.contains(family(name)));
        let names: BTreeSet<&String> = sums.keys().chain(of_families).collect();
        for name in &names {
            let of_records = sums.get(*name).copied().unwrap_or_default();
            let of_metrics = metrics.get(*name).copied().unwrap_or_default();
            if of_records as f64 != of_metrics {
                self.complain(format!(
                    "{name} is {of_metrics}, and the records make {of_records}"
                ));
            }
        }
        self.sums = names.len();
        for name in [
            "sealock_log_lines_lost_total",
            "sealock_reload_failed",
            "sealock_reload_waiting",
        ] {
            let value = metrics.get(name).copied().unwrap_or(f64::NAN);
            if value != 0.0 {
                self.complain(format!("{name} is {value}"));
            }
        }
    }

    /// SIGTERM with sessions open: all are told, and the process ends.
    pub async fn end(&mut self, process: &mut Child, log: &mpsc::Sender<Order>, sessions: usize) {
        let (mut open, mut beginning) = traffic::to_the_end(&self.stage, sessions);
        if timeout(PATIENCE, beginning.recv()).await.is_err() {
            self.complain("the last sessions do not begin");
        }
        self.stage.signal("TERM").await;
        while let Some(done) = open.join_next().await {
            done.unwrap();
        }
        match timeout(PATIENCE, process.wait()).await {
            Ok(Ok(status)) if status.success() => {}
            other => self.complain(format!("the process has not ended well: {other:?}")),
        }
        if TcpStream::connect(self.stage.ports.admin).await.is_ok() {
            self.complain("somebody listens on the admin port still");
        }
        let (done, finished) = oneshot::channel();
        // The reader ends only when it is told to.
        self.settle("the last records").await;
        let met = self.stage.books.met();
        if !met.keys().any(|(_, cause)| cause == "shutdown") {
            self.complain("nobody was told that the process ends");
        }
        log.send(Order::Finish(done)).await.unwrap();
        self.warnings = finished.await.unwrap();
    }

    /// Prints it all.
    pub fn report(&self) -> ExitCode {
        let books = &self.stage.books;
        let met = books.met();
        let title = |text: &str| println!("\n{text}\n{}", "-".repeat(text.len()));
        title("Ends, by kind of client");
        let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for ((kind, cause), count) in &met {
            kinds.entry(kind).or_default().push(format!("{cause} {count}"));
        }
        for (kind, ends) in &kinds {
            table(kind, ends);
        }
        for kind in faults::missing(books) {
            self.complain(format!("{kind}: has not come to its own end once"));
        }
        title("What was done");
        for (what, count) in books.counts() {
            println!("{count:>10}  {what}");
        }
        title("Warnings and errors in the log");
        for (what, count) in &self.warnings {
            println!("{count:>10}  {}", what.chars().take(66).collect::<String>());
        }
        title("Accounts");
        let sums = books.sums();
        let sum = |name: &str, label: &str| -> u64 {
            let of = sums
                .iter()
                .filter(|(known, _)| family(known) == name && known.contains(label));
            of.map(|(_, value)| value).sum()
        };
        for way in ["up", "down"] {
            let of = |name: &str| sum(name, &format!("direction=\"{way}\""));
            let (messages, bytes) = (of("sealock_messages_total"), of("sealock_message_bytes_total"));
            let lost = of("sealock_lost_bytes_total");
            println!("{messages:>10}  messages {way}, {bytes} bytes, {lost} with nobody to take them");
        }
        let connections = sum("sealock_connections_total", "");
        println!("{connections:>10}  connections, each with one record that client and backend confirm");
        println!(
            "{:>10}  sums of /metrics that are those of the records",
            self.sums
        );
        if let [before, after] = &self.rests[..] {
            title("At rest: after the warm-up, and at the end");
            let files = |rest: &Rest| rest.files.values().sum::<usize>();
            println!("{:>10} {:>10}  descriptors", files(before), files(after));
            println!("{:>10} {:>10}  tasks", before.tasks, after.tasks);
            println!("{:>10} {:>10}  bytes in buffers", before.buffers, after.buffers);
            println!(
                "{:>10} {:>10}  KiB of memory; {SLACK} more are the allocator's",
                before.memory, after.memory
            );
            let between = connections
                .saturating_sub(self.records_before.unwrap_or_default())
                .max(1);
            println!(
                "{:>21}  bytes leaked by each connection would show",
                SLACK * 1024 / between + 1
            );
        }
        let complaints = books.complaints();
        let time = self.begin.elapsed().as_secs();
        if complaints.is_empty() {
            println!("\nsoak: passed in {time} s");
            return ExitCode::SUCCESS;
        }
        title("What is not as it must be");
        for complaint in &complaints {
            println!("{complaint}");
        }
        println!("\nsoak: FAILED, {} complaints in {time} s", complaints.len());
        ExitCode::FAILURE
    }
}

/// What a process holds now that it did not hold before.
fn differences(before: &Rest, after: &Rest) -> Vec<String> {
    let mut differ = Vec::new();
    if after.files != before.files {
        differ.push(format!(
            "descriptors: {:?} instead of {:?}",
            after.files, before.files
        ));
    }
    if after.tasks != before.tasks {
        differ.push(format!("{} tasks instead of {}", after.tasks, before.tasks));
    }
    if after.memory > before.memory + SLACK {
        differ.push(format!(
            "{} KiB of memory instead of {}",
            after.memory, before.memory
        ));
    }
    if after.buffers > 0 {
        differ.push(format!("{} bytes are held for nobody", after.buffers));
    }
    differ
}

/// A name without its labels.
fn family(name: &str) -> &str {
    name.split('{').next().unwrap_or_default()
}

/// A line of a table, as many lines as it takes within 80 columns.
fn table(head: &str, cells: &[String]) {
    let mut line = format!("{head:<30}");
    let mut empty = true;
    for cell in cells {
        if !empty && line.len() + cell.len() + 2 > 79 {
            println!("{line},");
            line = " ".repeat(30);
            empty = true;
        }
        line += if empty { "  " } else { ", " };
        line += cell;
        empty = false;
    }
    println!("{line}");
}
