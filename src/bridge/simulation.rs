//! Seeded simulation of whole sessions: the real pump between a client and a backend that misbehave at random, on a virtual clock.
//!
//! A failure prints its seed; `SEALOCK_SEED=n` runs only that one.

use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, WriteHalf, duplex,
};
use tokio::time::{sleep, timeout};

use super::buffers::{MAX_LEFT, STEP};
use super::{
    Accept, Both, Deliver, Ended, HalfClose, InvalidText, Live, RatePolicy, Rates, Settings, Sizes, Stop,
    Timeouts, run,
};
use crate::charset::{Charset, Unmappable};
use crate::close::CloseReason;
use crate::framing::{Embedded, Empty, Framing, Oversized, Partial, preset};
use crate::io::Connection;

const SEEDS: u64 = 400;
/// Sessions that ended at a good moment because they were asked to.
static DRAINED: AtomicUsize = AtomicUsize::new(0);
/// Sessions whose client got all that was sent to it, so that the books of the backend's bytes are exact.
static EXACT: AtomicUsize = AtomicUsize::new(0);
const MAX_MESSAGE: u64 = 5000;
/// What stands behind all that TLS says, and in no message.
const FAREWELL: &[u8] = b"~";

/// A connection that remembers whether it was to be reset, and may hold what it is given until it is flushed, as TLS does.
struct Wire {
    io: DuplexStream,
    reset: Arc<AtomicBool>,
    /// Takes this much without having handed it on.
    room: usize,
    held: Vec<u8>,
    /// What it says at its end, as TLS says close_notify.
    farewell: Vec<u8>,
    /// What the session has read of it.
    read: Arc<AtomicUsize>,
}

impl Wire {
    fn new(io: DuplexStream, reset: &Arc<AtomicBool>, room: usize) -> Self {
        Self {
            io,
            reset: Arc::clone(reset),
            room,
            read: Arc::default(),
            held: Vec::new(),
            farewell: Vec::new(),
        }
    }

    fn poll_hand_on(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.held.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, &self.held))?;
            self.held.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl Connection for Wire {
    fn reset_on_drop(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    fn backlog(&self) -> usize {
        self.held.len()
    }

    fn held_memory(&self) -> usize {
        self.held.capacity()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        // As TLS does, whose answers may wait for no write.
        if let Poll::Ready(Err(error)) = this.poll_hand_on(cx) {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut this.io).poll_read(cx, buf);
        this.read
            .fetch_add(buf.filled().len() - before, Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        if this.room == 0 {
            return Pin::new(&mut this.io).poll_write(cx, buf);
        }
        ready!(this.poll_hand_on(cx))?;
        let take = buf.len().min(this.room);
        this.held.extend_from_slice(&buf[..take]);
        Poll::Ready(Ok(take))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_hand_on(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_hand_on(cx))?;
        this.held = std::mem::take(&mut this.farewell);
        ready!(this.poll_hand_on(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

/// What a side sent and saw.
#[derive(Debug, Default)]
struct Seen {
    /// Every byte that it tried to send.
    wire: Vec<u8>,
    /// Whole messages sent, in order.
    sent: Vec<Vec<u8>>,
    /// Everything received: messages at the client; one entry with the stream at the backend.
    got: Vec<Vec<u8>>,
    /// Code of the Close frame that was received.
    close: Option<u16>,
    closes: usize,
    /// It ended its own direction in order, after all that it sent.
    clean: bool,
    /// It read everything up to the end of the stream.
    read_all: bool,
}

type Shared = Arc<Mutex<Seen>>;

/// Most sessions have none.
fn rate(random: &mut Rng, least: u64, most: u64) -> Option<NonZeroU64> {
    let rate = NonZeroU64::new(random.u64(least..most));
    rate.filter(|_| random.u8(..4) == 0)
}

fn settings(random: &mut Rng) -> Settings {
    let framing = preset(["lines", "crlf", "u16be", "u32le"][random.usize(..4)])
        .unwrap()
        .to_client;
    let second = Duration::from_secs(1);
    Settings {
        partial: if random.bool() {
            Partial::Error
        } else {
            framing.default_partial()
        },
        to_backend: framing.clone(),
        to_client: framing,
        accept: Accept::Any,
        deliver: [Deliver::Binary, Deliver::Auto][random.usize(..2)],
        charset: [None, Some("gbk"), Some("iso-2022-jp")][random.usize(..3)]
            .map(|name| Charset::named(name).unwrap()),
        unmappable: Unmappable::Reject,
        invalid_text: pick(random, InvalidText::Binary, InvalidText::Replace),
        max_message: MAX_MESSAGE,
        embedded: Embedded::Reject,
        oversized: Both {
            to_backend: pick(random, Oversized::Close, Oversized::Discard),
            to_client: pick(random, Oversized::Close, Oversized::Discard),
        },
        empty: Both {
            to_backend: pick(random, Empty::Deliver, Empty::Skip),
            to_client: pick(random, Empty::Deliver, Empty::Skip),
        },
        half_close: HalfClose::Never,
        rates: Rates {
            messages: rate(random, 5, 50),
            bytes: rate(random, 50_000, 500_000),
            policy: RatePolicy::Delay,
        },
        timeouts: Timeouts {
            record: second * 30,
            write: second * 60,
            close: second * 5,
            linger: second * 5,
            idle: random.bool().then_some(second * 600),
            ping: random.bool().then_some(second * 25),
            pong: second * 20,
            age: None,
            drain: second * random.u32(1..40),
        },
    }
}

fn pick<T>(random: &mut Rng, one: T, other: T) -> T {
    if random.bool() { one } else { other }
}

fn message(random: &mut Rng) -> Vec<u8> {
    // The last one is over the limit.
    let len = [0, 1, 1, 10, 10, 200, 200, 3000, 3000, 6000][random.usize(..10)];
    (0..len).map(|_| random.u8(b'a'..=b'z')).collect()
}

fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::from(fin) << 7 | opcode];
    if payload.len() < 126 {
        bytes.push(0x80 | payload.len() as u8);
    } else {
        bytes.push(0x80 | 126);
        bytes.extend((payload.len() as u16).to_be_bytes());
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A pause in the way that real peers pause.
async fn pause(random: &mut Rng) {
    if random.u8(..4) == 0 {
        sleep(Duration::from_millis(random.u64(..3000))).await;
    }
}

async fn client(io: DuplexStream, mut random: Rng, seen: Shared, answers: bool, reads: bool) {
    let (mut read, mut write) = tokio::io::split(io);
    let mut other = random.fork();
    let reader = async {
        if !reads {
            return std::future::pending().await;
        }
        let mut open: Option<Vec<u8>> = None;
        while let Ok(head) = read.read_u16().await {
            let [first, second] = head.to_be_bytes();
            let len = match second {
                126 => usize::from(read.read_u16().await.unwrap_or(0)),
                127 => read.read_u64().await.unwrap_or(0) as usize,
                len => usize::from(len),
            };
            let mut payload = vec![0; len];
            if read.read_exact(&mut payload).await.is_err() {
                break;
            }
            let mut seen = seen.lock().unwrap();
            match first & 0x0F {
                8 => {
                    seen.closes += 1;
                    seen.close = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                }
                9 | 10 => {}
                _ => {
                    assert_eq!(seen.closes, 0, "data behind a Close frame");
                    open.get_or_insert_default().extend(payload);
                    if first & 0x80 != 0 {
                        let message = open.take().unwrap();
                        seen.got.push(message);
                    }
                }
            }
        }
        seen.lock().unwrap().read_all = true;
    };
    let writer = async {
        let send = async |write: &mut WriteHalf<DuplexStream>, bytes: &[u8]| {
            seen.lock().unwrap().wire.extend_from_slice(bytes);
            write.write_all(bytes).await
        };
        for _ in 0..random.usize(..12) {
            pause(&mut other).await;
            if seen.lock().unwrap().closes > 0 {
                break;
            }
            let payload = message(&mut other);
            let sent = match other.u8(..12) {
                0 => send(&mut write, &frame(true, 9, b"ping")).await,
                1 => {
                    // Half a message, and perhaps never the rest.
                    let bytes = frame(true, 2, &message(&mut other));
                    let cut = other.usize(..bytes.len());
                    drop(send(&mut write, &bytes[..cut]).await);
                    return;
                }
                2 => send(&mut write, b"\xFF\xFF nonsense").await,
                3 => {
                    let cut = other.usize(..payload.len() + 1);
                    let mut bytes = frame(false, 1, &payload[..cut]);
                    bytes.extend(frame(true, 0, &payload[cut..]));
                    let written = send(&mut write, &bytes).await;
                    seen.lock().unwrap().sent.push(payload);
                    written
                }
                _ => {
                    let written = send(&mut write, &frame(true, 2, &payload)).await;
                    seen.lock().unwrap().sent.push(payload);
                    written
                }
            };
            if sent.is_err() {
                return;
            }
        }
        // Let the other side end it, close, or vanish.
        match other.u8(..3) {
            0 => {}
            1 => {
                let sent = send(&mut write, &frame(true, 8, &[0x03, 0xE8])).await;
                let mut seen = seen.lock().unwrap();
                seen.clean = sent.is_ok() && seen.closes == 0;
                return;
            }
            _ => {
                drop(write.shutdown().await);
                return;
            }
        }
        if answers {
            // The answer to a Close frame of sealock's, whenever it comes.
            loop {
                sleep(Duration::from_millis(100)).await;
                if seen.lock().unwrap().closes > 0 {
                    drop(send(&mut write, &frame(true, 8, &[0x03, 0xE8])).await);
                    return;
                }
            }
        }
    };
    // The connection lasts until sealock ends it.
    tokio::join!(reader, writer);
}

fn record(framing: &Framing, payload: &[u8]) -> Vec<u8> {
    match framing {
        Framing::LengthPrefix(rule) if rule.width == 2 => {
            [&(payload.len() as u16).to_be_bytes()[..], payload].concat()
        }
        Framing::LengthPrefix(_) => [&(payload.len() as u32).to_le_bytes()[..], payload].concat(),
        _ if *framing == preset("crlf").unwrap().to_client => [payload, b"\r\n"].concat(),
        _ => [payload, b"\n"].concat(),
    }
}

/// How many of the first `read` bytes of a client are frame headers and control frames, as long as they can be read.
fn frames(wire: &[u8], read: u64, oversized: Oversized) -> u64 {
    let mut rest = &wire[..read as usize];
    let (mut around, mut len) = (0, 0);
    while let [first, second @ 0x80..=0xFE, ..] = *rest {
        let (size, header) = match (second & 0x7F, rest) {
            (126, [_, _, a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 8),
            (126, _) => break,
            (size, _) => (usize::from(size), 6),
        };
        let is_control = first & 8 != 0;
        if rest.len() < header + if is_control { size } else { 0 } {
            break;
        }
        len = if first & 0x0F == 0 { len + size } else { size };
        if !is_control && len as u64 > MAX_MESSAGE && oversized == Oversized::Close {
            break;
        }
        around += header + if is_control { size } else { 0 };
        rest = &rest[rest.len().min(header + size)..];
        if first & 0x0F == 8 {
            break;
        }
    }
    around as u64
}

async fn backend(io: DuplexStream, mut random: Rng, seen: Shared, framing: Framing, reads: bool) {
    let (mut read, mut write) = tokio::io::split(io);
    let reader = async {
        if !reads {
            return std::future::pending().await;
        }
        let mut stream = Vec::new();
        let mut chunk = [0; 700];
        while let Ok(got @ 1..) = read.read(&mut chunk).await {
            stream.extend_from_slice(&chunk[..got]);
        }
        let mut seen = seen.lock().unwrap();
        seen.got.push(stream);
        seen.read_all = true;
    };
    let writer = async {
        for _ in 0..random.usize(..12) {
            pause(&mut random).await;
            let payload = message(&mut random);
            let bytes = record(&framing, &payload);
            if random.u8(..12) == 0 {
                // Ends inside a record, or stops there.
                drop(write.write_all(&bytes[..random.usize(..bytes.len())]).await);
                if random.bool() {
                    drop(write.shutdown().await);
                }
                return;
            }
            // Sent or lost, it was on its way before any later one.
            seen.lock().unwrap().sent.push(payload);
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        if random.bool() {
            seen.lock().unwrap().clean = true;
            drop(write.shutdown().await);
        }
    };
    tokio::join!(reader, writer);
}

async fn simulate(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let settings = settings(&mut random);
    // A side with much room may meet one with little: then not all that was read finds its way at once.
    let mut room = || [64, 1024, 100_000][random.usize(..3)];
    let (client_io, client_wire) = duplex(room());
    let (backend_io, backend_wire) = duplex(room());
    let resets = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let held = [0, 100, 50_000][random.usize(..3)];
    let client_wire = Wire::new(client_wire, &resets[0], held);
    let mut backend_wire = Wire::new(backend_wire, &resets[1], 0);
    if random.bool() {
        backend_wire.farewell = FAREWELL.to_vec();
    }
    let read = [&client_wire, &backend_wire].map(|wire| Arc::clone(&wire.read));
    let (client_seen, backend_seen) = (Shared::default(), Shared::default());
    let client_reads = random.u8(..10) > 0;
    let backend_reads = random.u8(..10) > 0;
    let answers = random.bool();
    let live = Arc::new(Live::default());

    let client_task = tokio::spawn(client(
        client_io,
        random.fork(),
        Arc::clone(&client_seen),
        answers,
        client_reads,
    ));
    let backend_task = tokio::spawn(backend(
        backend_io,
        random.fork(),
        Arc::clone(&backend_seen),
        settings.to_client.clone(),
        backend_reads,
    ));
    let told = Arc::clone(&live);
    let latest = [5_000, 2_000_000][random.usize(..2)];
    let drain_after = Duration::from_millis(random.u64(..latest));
    let stop_after = drain_after + Duration::from_secs(random.u64(..60));
    let patient = random.bool();
    let stopping = tokio::spawn(async move {
        sleep(drain_after).await;
        told.drain(Stop::Drain);
        sleep(stop_after - drain_after).await;
        if !patient {
            told.end(Stop::Shutdown);
        }
    });
    let shared = Arc::new(settings.clone());
    let sizes = Arc::<Sizes>::default();
    let session = run(
        client_wire,
        Vec::new(),
        backend_wire,
        shared,
        live,
        Arc::clone(&sizes),
    );
    // After the stop, and after the time of a drain, nobody is waited for any longer than for a Close frame's answer.
    let last = drain_after + settings.timeouts.drain;
    let last = if patient { last } else { last.min(stop_after) };
    let bound = last + settings.timeouts.close + Duration::from_secs(1);
    let ended = timeout(bound, session)
        .await
        .unwrap_or_else(|_| panic!("seed {seed}: the session does not end"));
    stopping.abort();
    // Peers that do not read would wait for ever.
    for task in [client_task, backend_task] {
        let abort = task.abort_handle();
        if timeout(Duration::from_secs(3600), task).await.is_err() {
            abort.abort();
        }
    }
    let (client, backend) = (client_seen.lock().unwrap(), backend_seen.lock().unwrap());
    let counters = &ended.counters;
    for (counts, moved) in [
        (&sizes.up, counters.messages_up),
        (&sizes.down, counters.messages_down),
    ] {
        let counted: u64 = counts.seen().map(|(_, count)| count).sum();
        assert_eq!(counted, moved, "seed {seed}: {sizes:?}");
    }
    DRAINED.fetch_add(usize::from(ended.reason == CloseReason::Drain), Ordering::Relaxed);
    let backend_reset = resets[1].load(Ordering::Relaxed);
    let read = read.map(|read| read.load(Ordering::Relaxed) as u64);
    check(seed, &settings, ended, [&client, &backend], read, backend_reset);
}

fn check(
    seed: u64,
    settings: &Settings,
    ended: Ended,
    [client, backend]: [&Seen; 2],
    read: [u64; 2],
    reset: bool,
) {
    let context = format!("seed {seed}: {ended:?}\n{settings:?}\nclient {client:?}\nbackend {backend:?}");
    // What is gathered; and for each way what one read gave and what was made of a step of it, what the wire holds, and the start of a
    // record. A Vec that grows has up to twice what it needs.
    let most = 2 * (settings.max_message + 2 * (100_000 + 3 * STEP + 50_000 + MAX_LEFT) as u64);
    assert!(ended.held_max <= most, "{context}");
    let wanted = |empty: Empty| {
        move |message: &&Vec<u8>| {
            message.len() as u64 <= MAX_MESSAGE && (empty == Empty::Deliver || !message.is_empty())
        }
    };

    // The client: a prefix of the records, at most one Close frame, and it says what the log says.
    let records: Vec<&Vec<u8>> = backend
        .sent
        .iter()
        .filter(wanted(settings.empty.to_client))
        .collect();
    let mut got = client.got.iter();
    let whole = got
        .by_ref()
        .zip(&records)
        .take_while(|(got, record)| got == *record)
        .count();
    let partial = client.got.len() - whole;
    assert!(
        partial <= usize::from(settings.partial == Partial::Deliver),
        "{context}"
    );
    assert!(client.closes <= 1, "{context}");
    if client.closes == 1 {
        assert_eq!(client.close, ended.code.map(|code| code.0), "{context}");
    }

    // The backend: whole records, in order, and a cut one only where the connection was reset.
    let messages: Vec<&Vec<u8>> = client
        .sent
        .iter()
        .filter(wanted(settings.empty.to_backend))
        .collect();
    let expected: Vec<u8> = messages
        .iter()
        .flat_map(|message| record(&settings.to_backend, message))
        .collect();
    if let Some(stream) = backend.got.first() {
        let common = stream.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        let stream = match stream.split_at(common) {
            (stream, FAREWELL) => stream,
            _ => stream,
        };
        let borders: Vec<usize> = std::iter::once(0)
            .chain(messages.iter().scan(0, |end, message| {
                *end += record(&settings.to_backend, message).len();
                Some(*end)
            }))
            .collect();
        let at_border = common == stream.len() && borders.contains(&common);
        assert!(
            at_border || reset || ended.reason == CloseReason::BackendReset,
            "{context}"
        );
        if client.clean && ended.reason == CloseReason::ClientClosed && backend.read_all {
            assert_eq!(
                stream.len(),
                expected.len(),
                "what came before the Close frame was lost: {context}"
            );
        }
    }
    if ended.reason == CloseReason::BackendClosed && backend.clean && client.read_all && client.closes == 1 {
        assert_eq!(
            client.got.len(),
            records.len(),
            "what came before the backend's end was lost: {context}"
        );
    }

    // The books balance.
    let counters = &ended.counters;
    let edges = counters.edges();
    assert!(counters.messages_up as usize <= messages.len(), "{context}");
    assert!(counters.messages_down as usize >= client.got.len(), "{context}");
    let bytes: usize = client.got.iter().map(Vec::len).sum();
    assert!(counters.bytes_down as usize >= bytes, "{context}");
    // Every byte that was read was passed on or counted as lost, but for frames that were read, and what stands around records that came
    // whole. What was passed on and did not leave any more is counted as lost besides; where all of it arrived, the books are exact.
    let [up, down] = read;
    let most = counters.bytes_up + counters.lost_up + frames(&client.wire, up, settings.oversized.to_backend);
    let image = backend
        .got
        .first()
        .map_or(0, |got| got.len() - usize::from(got.ends_with(FAREWELL))) as u64;
    let whole = counters.messages_up * record(&settings.to_backend, b"").len() as u64 + counters.bytes_up;
    // A client that is refused has frames that nobody reads.
    if counters.lost_up == 0 || (image == whole && ended.reason == CloseReason::ClientClosed) {
        assert_eq!(up, most, "up, {context}");
    }
    assert!(up <= most, "{up} of {most} up, {context}");
    let around = record(&settings.to_client, b"").len() as u64;
    let mut records = counters.messages_down + edges.empty_down;
    if matches!(settings.to_client, Framing::Delimiter(_)) {
        // Delivered without its end.
        records -= edges.partial_delivered;
    }
    let most = counters.bytes_down + counters.lost_down + records * around;
    if client.got.len() as u64 == counters.messages_down && client.closes == usize::from(ended.code.is_some())
    {
        assert_eq!(down, most, "down, {context}");
        EXACT.fetch_add(1, Ordering::Relaxed);
    }
    assert!(down <= most, "{down} of {most} down, {context}");
}

#[tokio::test(start_paused = true)]
async fn sessions_end_in_order_whatever_the_peers_do() {
    let only: Option<u64> = std::env::var("SEALOCK_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(0..SEEDS, |seed| seed..seed + 1);
    for seed in seeds {
        simulate(seed).await;
    }
    // Or the check of them checks nothing.
    let drained = DRAINED.load(Ordering::Relaxed);
    assert!(only.is_some() || drained > 20, "{drained}");
    let exact = EXACT.load(Ordering::Relaxed);
    assert!(only.is_some() || exact > 100, "{exact}");
}

/// A session that nobody looks at from outside.
fn alone(client: Wire, backend: Wire, settings: Settings) -> impl Future<Output = Ended> {
    let settings = Arc::new(settings);
    run(
        client,
        Vec::new(),
        backend,
        settings,
        Arc::default(),
        Arc::default(),
    )
}

/// On a virtual clock that stands still while anything moves: whoever waits for a timer here has missed a wake-up.
#[tokio::test(start_paused = true)]
async fn bulk_in_both_directions_waits_for_no_timer() {
    const BYTES: usize = 3_000_000;
    let ways = [
        (64, 0),
        (1000, 100),
        (1000, 50_000),
        (300_000, 50_000),
        (50_000, 50_000),
    ];
    for ((room, held), up) in ways.into_iter().flat_map(|way| [(way, BYTES), (way, 0)]) {
        let mut settings = settings(&mut Rng::with_seed(1));
        settings.to_backend = Framing::Raw;
        settings.to_client = Framing::Raw;
        settings.deliver = Deliver::Binary;
        settings.max_message = 1 << 30;
        settings.timeouts.ping = None;
        let (client_io, client_wire) = duplex(room);
        let (backend_io, backend_wire) = duplex(room);
        let reset = Arc::new(AtomicBool::new(false));
        let client_wire = Wire::new(client_wire, &reset, held);
        let backend_wire = Wire::new(backend_wire, &reset, 0);
        // A task of its own, so that nothing but its own wake-ups runs it.
        let session = tokio::spawn(alone(client_wire, backend_wire, settings));

        let (mut client_read, mut client_write) = tokio::io::split(client_io);
        let (mut backend_read, mut backend_write) = tokio::io::split(backend_io);
        let upload = async {
            for _ in 0..up / 3000 {
                client_write.write_all(&frame(true, 2, &[7; 3000])).await.unwrap();
            }
            client_write
        };
        let uploaded = async {
            let mut bytes = vec![0; up];
            backend_read.read_exact(&mut bytes).await.unwrap();
            // The end of the stream, after all of it.
            assert_eq!(backend_read.read(&mut [0; 1]).await.unwrap(), 0);
        };
        let download = async {
            backend_write.write_all(&vec![7; BYTES]).await.unwrap();
            backend_write
        };
        let downloaded = async {
            let mut seen = 0;
            while seen < BYTES {
                let [_, second] = client_read.read_u16().await.unwrap().to_be_bytes();
                let len = match second {
                    126 => usize::from(client_read.read_u16().await.unwrap()),
                    127 => client_read.read_u64().await.unwrap() as usize,
                    len => usize::from(len),
                };
                let mut payload = vec![0; len];
                client_read.read_exact(&mut payload).await.unwrap();
                seen += len;
            }
        };
        let peers = async {
            let upload = async {
                let (mut client_write, ()) = tokio::join!(upload, downloaded);
                client_write
                    .write_all(&frame(true, 8, &[0x03, 0xE8]))
                    .await
                    .unwrap();
            };
            let backend = async {
                let ((), mut backend_write) = tokio::join!(uploaded, download);
                backend_write.shutdown().await.unwrap();
            };
            tokio::join!(upload, backend);
        };
        let both = async { tokio::join!(session, peers) };
        let (ended, ()) = timeout(Duration::from_secs(1), both)
            .await
            .unwrap_or_else(|_| panic!("{room} {held} {up}"));
        assert_eq!(ended.unwrap().counters.bytes_up, up as u64);
    }
}

/// The last bytes of TLS may find the socket full, when everything else has left.
#[tokio::test(start_paused = true)]
async fn an_end_of_stream_that_has_to_wait_is_not_forgotten() {
    let close = frame(true, 8, &[0x03, 0xE8]);
    let echo = [0x88, 2, 0x03, 0xE8];
    let mut settings = settings(&mut Rng::with_seed(1));
    settings.timeouts.ping = None;
    settings.timeouts.idle = None;
    let (mut client, client_wire) = duplex(echo.len());
    let (mut backend, backend_wire) = duplex(100);
    let reset = Arc::new(AtomicBool::new(false));
    let mut client_wire = Wire::new(client_wire, &reset, 100);
    client_wire.farewell = b"bye".to_vec();
    let backend_wire = Wire::new(backend_wire, &Arc::default(), 0);
    let session = tokio::spawn(alone(client_wire, backend_wire, settings));
    let peers = async {
        client.write_all(&close).await.unwrap();
        assert_eq!(backend.read(&mut [0; 1]).await.unwrap(), 0);
        drop(backend);
        // Now nothing but the client itself can wake the session.
        sleep(Duration::from_millis(100)).await;
        let mut got = [0; 7];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(got[..], [&echo[..], b"bye"].concat());
        assert_eq!(client.read(&mut got).await.unwrap(), 0);
        session.await.unwrap()
    };
    let ended = timeout(Duration::from_secs(1), peers)
        .await
        .expect("the end of the stream was forgotten");
    assert_eq!(ended.reason, CloseReason::ClientClosed);
    assert!(!reset.load(Ordering::Relaxed));
}

/// As above, the other side: nobody else would ever end such a session.
#[tokio::test(start_paused = true)]
async fn a_backend_that_does_not_take_the_end_of_stream_is_given_up() {
    let mut settings = settings(&mut Rng::with_seed(1));
    settings.timeouts.ping = None;
    settings.timeouts.idle = None;
    let write = settings.timeouts.write;
    let (mut client, client_wire) = duplex(100);
    let (backend, backend_wire) = duplex(1);
    let reset = Arc::new(AtomicBool::new(false));
    let client_wire = Wire::new(client_wire, &Arc::default(), 0);
    let mut backend_wire = Wire::new(backend_wire, &reset, 0);
    backend_wire.farewell = b"bye".to_vec();
    let session = alone(client_wire, backend_wire, settings);
    client.write_all(&frame(true, 8, &[0x03, 0xE8])).await.unwrap();
    let ended = timeout(write + Duration::from_secs(1), session)
        .await
        .expect("a session without an end");
    assert_eq!(ended.reason, CloseReason::ClientClosed);
    assert!(reset.load(Ordering::Relaxed));
    drop(backend);
}

#[tokio::test(start_paused = true)]
async fn what_is_gathered_is_given_back_when_the_client_is_told_to_go() {
    const GATHERED: usize = 4000;
    let mut settings = settings(&mut Rng::with_seed(1));
    settings.to_client = preset("u32le").unwrap().to_client;
    settings.charset = None;
    settings.deliver = Deliver::Auto;
    let (mut client, client_wire) = duplex(100);
    let (mut backend, backend_wire) = duplex(2 * GATHERED);
    let wires = (
        Wire::new(client_wire, &Arc::default(), 0),
        Wire::new(backend_wire, &Arc::default(), 0),
    );
    let live = Arc::new(Live::default());
    let session = tokio::spawn(run(
        wires.0,
        Vec::new(),
        wires.1,
        Arc::new(settings),
        Arc::clone(&live),
        Arc::default(),
    ));
    backend
        .write_all(&(GATHERED as u32 + 1).to_le_bytes())
        .await
        .unwrap();
    backend.write_all(&[b'a'; GATHERED]).await.unwrap();
    // On this clock, all has been read by then.
    sleep(Duration::from_millis(1)).await;
    assert!(live.state().held >= GATHERED as u64, "{:?}", live.state());
    live.end(Stop::Operator);
    sleep(Duration::from_millis(1)).await;
    let state = live.state();
    assert!(state.ending && state.held < 100, "{state:?}");
    assert_eq!(state.counters.lost_down, GATHERED as u64 + 4);
    assert_eq!(client.read_u8().await.unwrap(), 0x88);
    drop(client);
    session.await.unwrap();
}
