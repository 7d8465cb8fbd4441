//! The books: what the client, the backend and the record in the log say of each connection must be one story.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use serde_json::Value;

use crate::stage::counted_as;
use crate::wire::{PATIENCE, Told};
use crate::words::Framing;

/// More complaints than these say nothing new.
const MOST_COMPLAINTS: usize = 40;

/// An order to drain is carried out one session after another, also when it was taken back meanwhile.
const AFTERMATH: Duration = Duration::from_secs(5);

/// What may happen to any connection while an operator, or a lack of descriptors, is at work.
const WEATHER: &[(&str, Told)] = &[
    ("drain", Told::Status(503)),
    ("drain", Told::Close(1012)),
    ("operator", Told::Close(1001)),
    ("out_of_descriptors", Told::Status(503)),
    ("out_of_descriptors", Told::Close(1013)),
    ("out_of_descriptors", Told::Nothing),
];

/// The same to those who do wrong, and may be gone before they are told.
const UNHEARD: &[&str] = &["drain", "operator"];

/// Ways to end at which every record must be accounted for, to the byte.
const ORDERLY: &[&str] = &["client_closed", "backend_closed", "drain", "max_age", "shutdown"];

/// Those of them that a session is asked for.
const ASKED: &[&str] = &["drain", "max_age", "shutdown"];

/// What a client has seen of its connection.
#[derive(Debug)]
pub struct ClientView {
    /// What kind of client it is.
    pub kind: &'static str,
    /// Its session is of the kind that keeps books of every message; `None` where it is there to do wrong.
    pub framing: Option<Framing>,
    pub opened: Instant,
    /// Causes that its record may have, each with what the client is told then.
    pub expected: &'static [(&'static str, Told)],
    pub told: Told,
    /// Bytes of each message that was sent, as far as it counts them.
    pub sent: Vec<u32>,
    /// Messages that came whole, and their bytes.
    pub received: (u64, u64),
    /// It has read all there was to read.
    pub complete: bool,
}

/// What a backend has seen of a session.
#[derive(Debug, Default)]
pub struct BackendView {
    /// Whole records that came, and the bytes in them.
    pub records: u64,
    /// Payload bytes of each record that was sent, and what all took on the wire.
    pub sent: Vec<u32>,
    pub wire: u64,
    /// It has read to an orderly end of the stream, with no part of a record before it.
    pub clean: bool,
}

#[derive(Debug)]
struct Record {
    client: String,
    cause: String,
    code: Option<u64>,
    status: Option<u64>,
    route: String,
    session: bool,
    messages: [u64; 2],
    bytes: [u64; 2],
    lost: [u64; 2],
    json: String,
}

#[derive(Default)]
struct Entry {
    /// Whom a PROXY header told to be the client.
    announced: Option<SocketAddr>,
    client: Option<ClientView>,
    backend: Option<BackendView>,
    record: Option<Record>,
}

/// Sums over the records in the log, by the names and labels that metrics have.
pub type Sums = BTreeMap<String, u64>;

#[derive(Default)]
struct Ledger {
    open: HashMap<SocketAddr, Entry>,
    /// The peer of each client that a PROXY header announced.
    behind: HashMap<SocketAddr, SocketAddr>,
    sums: Sums,
    /// How often each kind of client ended in which way.
    met: BTreeMap<(&'static str, String), u64>,
    complaints: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
    weather: Option<Weather>,
}

/// The time in which something happened that may concern anybody.
struct Weather {
    bad: bool,
    until: Instant,
}

/// See the module's documentation.
#[derive(Default)]
pub struct Books(Mutex<Ledger>);

impl Books {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap()
    }

    /// Notes that something is not as it must be.
    pub fn complain(&self, what: impl Into<String>) {
        let mut ledger = self.ledger();
        ledger.complain(what.into());
    }

    /// Counts something for the report.
    pub fn count(&self, what: &'static str, times: u64) {
        *self.ledger().counts.entry(what).or_default() += times;
    }

    /// Begins or ends a time in which anybody may be turned away or told to come again.
    pub fn weather(&self, bad: bool) {
        self.ledger().weather = Some(Weather {
            bad,
            until: Instant::now() + AFTERMATH,
        });
    }

    /// A client has connected.
    pub fn open(&self, client: SocketAddr) {
        let mut ledger = self.ledger();
        if ledger.open.insert(client, Entry::default()).is_some() {
            ledger.complain(format!(
                "{client} connects, and its last connection is not closed in the books"
            ));
        }
    }

    /// A peer is about to say that it speaks for this client.
    pub fn announce(&self, peer: SocketAddr, client: SocketAddr) {
        self.entry(peer, |entry| entry.announced = Some(client));
        self.ledger().behind.insert(client, peer);
    }

    /// Waits until the record of a client is in the log: whoever holds still until then gives sealock all the time it takes to
    /// lose its patience. Not for ever, should it have too much.
    pub async fn recorded(&self, client: SocketAddr) {
        let start = Instant::now();
        let open = |ledger: &Ledger| {
            ledger
                .open
                .get(&client)
                .is_some_and(|entry| entry.record.is_none())
        };
        while open(&self.ledger()) && start.elapsed() < PATIENCE {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Nothing has happened since then that may concern anybody.
    pub fn calm_since(&self, begin: Instant) -> bool {
        self.ledger()
            .weather
            .as_ref()
            .is_none_or(|weather| !weather.bad && weather.until <= begin)
    }

    /// A client has ended.
    pub fn client(&self, client: SocketAddr, view: ClientView) {
        self.entry(client, |entry| entry.client = Some(view));
    }

    /// A backend's connection has ended.
    pub fn backend(&self, client: SocketAddr, view: BackendView) {
        let mut ledger = self.ledger();
        let client = ledger.behind.get(&client).copied().unwrap_or(client);
        if !ledger.open.contains_key(&client) {
            // Whoever was refused after all, or left during the dial, has been looked at already.
            if view.records > 0 {
                ledger.complain(format!("a backend has records of {client}, which is no session"));
            }
            return;
        }
        drop(ledger);
        self.entry(client, |entry| entry.backend = Some(view));
    }

    /// A connection's record.
    pub fn record(&self, json: &Value) {
        let Some(client) = json["peer"].as_str().and_then(|peer| peer.parse().ok()) else {
            return self.complain(format!("a record without its peer: {json}"));
        };
        let record = Record::new(json);
        let mut ledger = self.ledger();
        ledger.add(&record);
        match ledger.open.get(&client) {
            None => ledger.complain(format!("a record of nobody, or a second one: {json}")),
            Some(Entry { record: Some(_), .. }) => ledger.complain(format!("a second record: {json}")),
            Some(_) => {
                drop(ledger);
                self.entry(client, |entry| entry.record = Some(record));
            }
        }
    }

    fn entry(&self, client: SocketAddr, change: impl FnOnce(&mut Entry)) {
        let mut ledger = self.ledger();
        let Some(entry) = ledger.open.get_mut(&client) else {
            return ledger.complain(format!("nobody knows {client}"));
        };
        change(entry);
        let needs_backend = entry
            .record
            .as_ref()
            .is_some_and(|record| record.session && record.route != "flappy");
        if entry.client.is_none() || entry.record.is_none() || needs_backend && entry.backend.is_none() {
            return;
        }
        if let Some(Entry {
            announced,
            client: Some(view),
            backend,
            record: Some(record),
        }) = ledger.open.remove(&client)
        {
            let known = announced.unwrap_or(client);
            ledger.behind.remove(&known);
            // Who is turned away before its PROXY header was read stands for itself.
            if record.client != known.to_string() && (record.session || record.client != client.to_string()) {
                ledger.complain(format!(
                    "{client} was taken for another than {known}: {}",
                    record.json
                ));
            }
            let by_weather = ledger
                .weather
                .as_ref()
                .is_some_and(|weather| weather.bad || weather.until > view.opened);
            if let Err(what) = judge(&view, &backend.unwrap_or_default(), &record, by_weather) {
                let json = &record.json;
                ledger.complain(format!("{client}, {}: {what}\n    {json}", view.kind));
            }
            *ledger.met.entry((view.kind, record.cause)).or_default() += 1;
        }
    }

    /// Connections whose story is not complete.
    pub fn unfinished(&self) -> Vec<String> {
        let ledger = self.ledger();
        let told = |entry: &Entry| {
            let kind = entry
                .client
                .as_ref()
                .map_or("a client under way", |view| view.kind);
            let missing = [
                ("its client", entry.client.is_none()),
                ("its record", entry.record.is_none()),
                ("its backend", entry.backend.is_none()),
            ];
            let missing: Vec<&str> = missing
                .into_iter()
                .filter(|(_, none)| *none)
                .map(|(what, _)| what)
                .collect();
            format!("{kind} lacks {}", missing.join(" and "))
        };
        ledger
            .open
            .iter()
            .map(|(client, entry)| format!("{client}, {}", told(entry)))
            .collect()
    }

    /// What is not as it must be.
    pub fn complaints(&self) -> Vec<String> {
        self.ledger().complaints.clone()
    }

    /// The sums of the records.
    pub fn sums(&self) -> Sums {
        self.ledger().sums.clone()
    }

    /// How often each kind of client ended in which way.
    pub fn met(&self) -> BTreeMap<(&'static str, String), u64> {
        self.ledger().met.clone()
    }

    /// What was counted for the report.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.ledger().counts.clone()
    }
}

impl Ledger {
    fn complain(&mut self, what: String) {
        if self.complaints.len() < MOST_COMPLAINTS {
            eprintln!("soak: {what}");
            self.complaints.push(what);
        }
    }

    fn add(&mut self, record: &Record) {
        let route = &record.route;
        let mut add = |name: String, value| *self.sums.entry(counted_as(&name)).or_default() += value;
        add("sealock_connections_total".into(), 1);
        if !record.session {
            if record.lost[0] > 0 {
                let name = format!("sealock_lost_bytes_total{{route=\"{route}\",direction=\"up\"}}");
                add(name, record.lost[0]);
            }
            return add(format!("sealock_refusals_total{{cause=\"{}\"}}", record.cause), 1);
        }
        let cause = &record.cause;
        add(
            format!("sealock_session_ends_total{{route=\"{route}\",cause=\"{cause}\"}}"),
            1,
        );
        add(format!("sealock_session_seconds_count{{route=\"{route}\"}}"), 1);
        for (at, way) in ["up", "down"].into_iter().enumerate() {
            let labels = format!("{{route=\"{route}\",direction=\"{way}\"}}");
            add(format!("sealock_messages_total{labels}"), record.messages[at]);
            add(format!("sealock_message_bytes_total{labels}"), record.bytes[at]);
            add(format!("sealock_lost_bytes_total{labels}"), record.lost[at]);
        }
    }
}

impl Record {
    fn new(json: &Value) -> Self {
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        let both = |up: &str, down: &str| [up, down].map(|name| json[name].as_u64().unwrap_or_default());
        Self {
            client: text("client"),
            cause: text("cause"),
            code: json["code"].as_u64(),
            status: json["status"].as_u64(),
            route: text("route"),
            session: json["backend"].is_string(),
            messages: both("messages_up", "messages_down"),
            bytes: both("bytes_up", "bytes_down"),
            lost: both("lost_up", "lost_down"),
            json: json.to_string(),
        }
    }
}

fn check(right: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if right { Ok(()) } else { Err(what()) }
}

/// Compares what the three say.
fn judge(client: &ClientView, backend: &BackendView, record: &Record, weather: bool) -> Result<(), String> {
    let Record {
        cause,
        messages: [up, down],
        bytes: [bytes_up, bytes_down],
        lost: [lost_up, lost_down],
        ..
    } = record;
    let end = (cause.as_str(), client.told);
    let unheard = client.framing.is_none() && client.told == Told::Nothing && UNHEARD.contains(&end.0);
    check(
        client.expected.contains(&end) || weather && (unheard || WEATHER.contains(&end)),
        || format!("ended by {cause}, and was told {:?}", client.told),
    )?;
    match client.told {
        Told::Status(told) if record.status.is_some() => {
            check(record.status == Some(told.into()), || format!("was told {told}"))?;
        }
        Told::Close(told) => check(record.code == Some(told.into()), || format!("was told {told}"))?,
        _ => {}
    }
    if !record.session {
        return check(backend.records == 0, || {
            "a backend has records of a refusal".into()
        });
    }
    let raw = client.framing == Some(Framing::Raw);
    // Raw messages leave no trace on the stream: there only bytes can be compared.
    if !raw {
        let (sent, received) = (client.sent.len() as u64, client.received.0);
        check(*up <= sent, || format!("only {sent} messages were sent"))?;
        check(received <= *down, || format!("{received} messages were received"))?;
        check(backend.records <= *up, || {
            format!("the backend has {} records", backend.records)
        })?;
        check(!backend.clean || backend.records == *up, || {
            format!("the backend has {} records", backend.records)
        })?;
        check(!client.complete || received == *down, || {
            format!("{received} messages were received")
        })?;
    }
    let Some(framing) = client.framing else {
        return Ok(());
    };
    if !ORDERLY.contains(&cause.as_str()) {
        return Ok(());
    }
    let sum = |sizes: &[u32]| sizes.iter().map(|size| u64::from(*size)).sum::<u64>();
    let (sent, sent_bytes) = (client.sent.len() as u64, sum(&client.sent));
    let (moved, dropped) = client.sent.split_at(client.sent.len().min(*up as usize));
    check((*bytes_up, *lost_up) == (sum(moved), sum(dropped)), || {
        format!("{sent} messages of {sent_bytes} bytes were sent")
    })?;
    // What a busy client sends while it is about to be told to go is dropped where each message had its answer.
    check(dropped.is_empty() || ASKED.contains(&cause.as_str()), || {
        "messages were dropped".into()
    })?;
    check(backend.clean, || "the backend has seen no clean end".into())?;
    check(backend.records == *up, || {
        format!("the backend has {} records of {up}", backend.records)
    })?;
    check(client.complete, || "the client has not read to the end".into())?;
    if raw {
        return check(
            client.received.1 == *bytes_down && bytes_down + lost_down == backend.wire,
            || {
                format!(
                    "the backend sent {} bytes, and {} came",
                    backend.wire, client.received.1
                )
            },
        );
    }
    let taken = backend.sent.get(..*down as usize).unwrap_or_default();
    check(sum(taken) == *bytes_down, || {
        format!("the backend put {} bytes into them", sum(taken))
    })?;
    let image: u64 = taken
        .iter()
        .map(|size| u64::from(*size) + framing.overhead(*size as usize) as u64)
        .sum();
    check(image + lost_down == backend.wire, || {
        format!(
            "the backend sent {} bytes, and {image} made messages",
            backend.wire
        )
    })
}
