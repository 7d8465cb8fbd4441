//! What the framings cost, beside tokio-util's codecs on the same messages.
//!
//! ```sh
//! cargo bench --bench framing                       # all
//! cargo bench --bench framing -- --quick lines      # a first impression of those with "lines" in their name
//! benches/table.sh                                  # all, into docs/framings/README.md
//! ```
//!
//! A case is `direction/row/size`. A row is a framing, or with a `+` the codec beside it. The size is that of a message
//! in bytes; `bytewise` is the worst case: messages of 256 B of which each byte comes alone.
//!
//! Both sides do the same: they read records that lie ready in a buffer, which was filled before the clock started, and write into
//! one that they use again. What was read is not copied, only shown to the compiler as used. Ours goes as in the bridge: first the
//! shortcut for whole records, then the decoder. What tokio-util gives out it gives as a value of its own, so that value is made
//! and dropped.
//!
//! Two things we do that tokio-util does not. Our encoder of lines looks for a delimiter inside the message, which would make two
//! records of it; theirs writes what it is given. `LinesCodec+memchr` stands beside both: their encoder behind the same check. And
//! our decoders hand on each byte as it comes, where theirs keep it until the record is whole.

#![allow(clippy::expect_used, reason = "a benchmark that cannot go on stops")]

mod rows;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rows::{Peer, Row, rows};
use sealock::framing::{
    DecodeRules, DecodeState, Embedded, EncodeError, EncodeState, Event, Framing, Oversized,
};
use sealock::message::{Begin, Kind, Part};
use sealock::outbox::Outbox;
use tokio_util::codec::{
    AnyDelimiterCodec, Decoder, Encoder, LengthDelimitedCodec, LinesCodec, LinesCodecError,
};

/// The one of the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The sizes of messages.
const SIZES: [usize; 5] = [16, 256, 4 << 10, 64 << 10, 1 << 20];
/// The size of those that come in single bytes.
const BYTEWISE: usize = 256;
/// Bytes of messages that lie ready: what the bridge translates in one step.
const BATCH: usize = 128 << 10;
/// Reading a few records takes no longer than looking at the clock. So there are more of the large ones than a step has.
const FEWEST: usize = 8;

const RULES: DecodeRules = DecodeRules {
    max_message: 2 << 20,
    oversized: Oversized::Close,
    text: false,
};

/// Messages of one size, and their records.
struct Batch {
    framing: Framing,
    message: Vec<u8>,
    stream: Vec<u8>,
    count: usize,
}

impl Batch {
    /// None where the row has no such messages.
    fn new(row: &Row, size: usize, fewest: usize) -> Option<Self> {
        let mut batch = Self {
            framing: (row.framing)(size)?,
            message: (row.message)(size),
            stream: Vec::new(),
            count: (BATCH / size).max(fewest),
        };
        let mut out = Outbox::default();
        match batch.encode(&mut out) {
            Ok(()) => batch.stream = out.ready().to_vec(),
            Err(EncodeError::LengthDoesNotFit) => return None,
            Err(error) => panic!("{} of {size} B: {error}", row.name),
        }
        Some(batch)
    }

    fn throughput(&self) -> Throughput {
        Throughput::ElementsAndBytes {
            elements: self.count as u64,
            bytes: (self.count * self.message.len()) as u64,
        }
    }

    fn encode(&self, out: &mut Outbox) -> Result<(), EncodeError> {
        let mut state = EncodeState::default();
        for _ in 0..self.count {
            let part = Part::whole(Kind::Binary, black_box(&self.message));
            self.framing.encode(&mut state, &Embedded::Reject, &part, out)?;
        }
        Ok(())
    }

    /// Messages whose length is known from the start, and which come byte by byte.
    fn encode_bytewise(&self, out: &mut Outbox) {
        let mut state = EncodeState::default();
        let begin = Begin {
            kind: Kind::Binary,
            len: Some(self.message.len() as u64),
        };
        for _ in 0..self.count {
            let message = black_box(&self.message);
            for (at, byte) in message.iter().enumerate() {
                let part = Part {
                    begin: (at == 0).then_some(begin),
                    data: std::slice::from_ref(byte),
                    end: at + 1 == message.len(),
                };
                let encoded = self.framing.encode(&mut state, &Embedded::Reject, &part, out);
                encoded.expect("the whole message could be encoded");
            }
        }
    }

    /// Reads what lies ready; returns how many bytes were used, and how many records came to their end.
    #[inline(always)]
    fn decode(&self, state: &mut DecodeState, input: &[u8]) -> (usize, usize) {
        let (mut used, mut ended) = (0, 0);
        loop {
            let rest = &input[used..];
            if let Some(whole) = self.framing.whole_record(state, &RULES, rest) {
                black_box(&rest[whole.start..whole.end]);
                used += whole.consumed;
                ended += 1;
                continue;
            }
            let decoded = self
                .framing
                .decode(state, &RULES, rest, false)
                .expect("these are records");
            used += decoded.consumed;
            let Event::Part(part) = decoded.event else {
                return (used, ended);
            };
            black_box(part.data);
            ended += usize::from(part.end);
        }
    }

    fn decode_whole(&self, input: &[u8]) {
        let (used, ended) = self.decode(&mut DecodeState::default(), input);
        assert_eq!(used, input.len());
        // Without records, all of it is one.
        assert!(ended == self.count || self.framing.is_raw());
    }

    /// What is left stands before the next byte, as it would before the next read.
    fn decode_bytewise(&self, left: &mut Vec<u8>) {
        let (mut state, mut ended) = (DecodeState::default(), 0);
        for byte in black_box(&self.stream) {
            left.push(*byte);
            let (used, more) = self.decode(&mut state, left);
            if used == left.len() {
                left.clear();
            } else {
                left.drain(..used);
            }
            ended += more;
        }
        assert!(left.is_empty() && (ended == self.count || self.framing.is_raw()));
    }
}

/// Does something with the codec of a peer. Its parameters are hidden from the compiler: ours come from a file, too.
macro_rules! with_codec {
    ($peer:expr, $codec:ident => $run:expr) => {
        match $peer {
            Peer::LengthDelimited => {
                let mut $codec = black_box(LengthDelimitedCodec::new());
                $run
            }
            Peer::Lines | Peer::CheckedLines => {
                let mut $codec = black_box(LinesCodec::new());
                $run
            }
            Peer::AnyDelimiter => {
                let mut $codec = any_delimiter();
                $run
            }
        }
    };
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::LengthDelimited => "LengthDelimitedCodec",
            Self::Lines => "LinesCodec",
            Self::CheckedLines => "LinesCodec+memchr",
            Self::AnyDelimiter => "AnyDelimiterCodec",
        }
    }

    /// The check belongs to writing; reading would be that of [`Self::Lines`] again.
    fn reads(self) -> bool {
        !matches!(self, Self::CheckedLines)
    }

    fn decode(self, batch: &Batch, buffer: &mut BytesMut) {
        let ended = with_codec!(self, codec => decode_ready(&mut codec, buffer));
        assert!(buffer.is_empty() && ended == batch.count);
    }

    fn decode_bytewise(self, batch: &Batch, buffer: &mut BytesMut) {
        let ended = with_codec!(self, codec => {
            let mut ended = 0;
            for byte in black_box(&batch.stream) {
                buffer.put_u8(*byte);
                ended += decode_ready(&mut codec, buffer);
            }
            ended
        });
        assert!(buffer.is_empty() && ended == batch.count);
    }

    /// Their encoders take bytes here, text there.
    fn encode(self, batch: &Batch, text: &str, out: &mut BytesMut) {
        match self {
            Self::LengthDelimited => {
                let codec = black_box(LengthDelimitedCodec::new());
                encode_all(codec, batch.count, text.as_bytes(), out);
            }
            Self::Lines => encode_all(black_box(LinesCodec::new()), batch.count, text, out),
            Self::CheckedLines => {
                encode_all(CheckedLines(black_box(LinesCodec::new())), batch.count, text, out);
            }
            Self::AnyDelimiter => encode_all(any_delimiter(), batch.count, text, out),
        }
        assert_eq!(out.len(), batch.stream.len());
    }
}

fn decode_ready<D>(codec: &mut D, buffer: &mut BytesMut) -> usize
where
    D: Decoder<Item: AsRef<[u8]>, Error: std::fmt::Debug>,
{
    let mut ended = 0;
    while let Some(record) = codec.decode(buffer).expect("these are records") {
        black_box(record.as_ref());
        ended += 1;
    }
    ended
}

fn encode_all<'a, M: ?Sized, E>(mut codec: E, count: usize, message: &'a M, out: &mut BytesMut)
where
    E: Encoder<&'a M, Error: std::fmt::Debug>,
{
    for _ in 0..count {
        codec.encode(black_box(message), out).expect("these are messages");
    }
}

/// Writes no message as two records.
struct CheckedLines(LinesCodec);

impl<'a> Encoder<&'a str> for CheckedLines {
    type Error = LinesCodecError;

    fn encode(&mut self, message: &'a str, out: &mut BytesMut) -> Result<(), LinesCodecError> {
        assert_eq!(memchr::memchr(b'\n', message.as_bytes()), None);
        self.0.encode(message, out)
    }
}

fn any_delimiter() -> AnyDelimiterCodec {
    black_box(AnyDelimiterCodec::new(b"\n".to_vec(), b"\n".to_vec()))
}

/// Times `run` only, and not how its input comes to lie ready.
#[allow(clippy::disallowed_methods, reason = "a benchmark is about real time")]
fn refilled<T>(rounds: u64, input: &mut T, refill: impl Fn(&mut T), run: impl Fn(&mut T)) -> Duration {
    let mut taken = Duration::ZERO;
    for _ in 0..rounds {
        refill(input);
        let start = Instant::now();
        run(black_box(input));
        taken += start.elapsed();
    }
    taken
}

fn decode(group: &mut BenchmarkGroup<'_, WallTime>, row: &Row) {
    for size in SIZES {
        let Some(batch) = Batch::new(row, size, FEWEST) else {
            continue;
        };
        group.throughput(batch.throughput());
        group.bench_function(BenchmarkId::new(row.name, size), |bencher| {
            let mut input = Vec::with_capacity(batch.stream.len());
            bencher.iter_custom(|rounds| {
                let refill = |input: &mut Vec<u8>| {
                    input.clear();
                    input.extend_from_slice(&batch.stream);
                };
                refilled(rounds, &mut input, refill, |input| batch.decode_whole(input))
            });
        });
        for peer in row.peers.iter().filter(|peer| peer.reads()) {
            group.bench_function(BenchmarkId::new(beside(row, *peer), size), |bencher| {
                let mut input = BytesMut::with_capacity(batch.stream.len());
                bencher.iter_custom(|rounds| {
                    let refill = |input: &mut BytesMut| {
                        input.clear();
                        input.extend_from_slice(&batch.stream);
                    };
                    refilled(rounds, &mut input, refill, |input| peer.decode(&batch, input))
                });
            });
        }
    }
    let Some(batch) = Batch::new(row, BYTEWISE, 1) else {
        return;
    };
    group.throughput(batch.throughput());
    group.bench_function(BenchmarkId::new(row.name, "bytewise"), |bencher| {
        let mut left = Vec::new();
        bencher.iter(|| batch.decode_bytewise(&mut left));
    });
    for peer in row.peers.iter().filter(|peer| peer.reads()) {
        group.bench_function(BenchmarkId::new(beside(row, *peer), "bytewise"), |bencher| {
            let mut buffer = BytesMut::new();
            bencher.iter(|| peer.decode_bytewise(&batch, &mut buffer));
        });
    }
}

fn encode(group: &mut BenchmarkGroup<'_, WallTime>, row: &Row) {
    for size in SIZES {
        let Some(batch) = Batch::new(row, size, 1) else {
            continue;
        };
        group.throughput(batch.throughput());
        group.bench_function(BenchmarkId::new(row.name, size), |bencher| {
            let mut out = roomy(batch.stream.len());
            bencher.iter(|| {
                batch.encode(&mut out).expect("it could be encoded before");
                take(&mut out, batch.stream.len());
            });
        });
        for peer in row.peers {
            let text = std::str::from_utf8(&batch.message).expect("the messages are text");
            group.bench_function(BenchmarkId::new(beside(row, *peer), size), |bencher| {
                let mut out = BytesMut::with_capacity(batch.stream.len());
                bencher.iter(|| {
                    out.clear();
                    peer.encode(&batch, text, &mut out);
                    black_box(&out[..]);
                });
            });
        }
    }
    let Some(batch) = Batch::new(row, BYTEWISE, 1) else {
        return;
    };
    group.throughput(batch.throughput());
    // Theirs take whole messages only.
    group.bench_function(BenchmarkId::new(row.name, "bytewise"), |bencher| {
        let mut out = roomy(batch.stream.len());
        bencher.iter(|| {
            batch.encode_bytewise(&mut out);
            take(&mut out, batch.stream.len());
        });
    });
}

fn beside(row: &Row, peer: Peer) -> String {
    format!("{}+{}", row.name, peer.name())
}

/// An outbox on a buffer that has room for all, as the one of a thread has.
fn roomy(room: usize) -> Outbox {
    let mut out = Outbox::default();
    out.borrow(&mut Vec::with_capacity(room));
    out
}

/// Lets all of it leave.
fn take(out: &mut Outbox, expected: usize) {
    let ready = black_box(out.ready()).len();
    assert_eq!(ready, expected);
    out.advance(ready);
}

fn all(criterion: &mut Criterion) {
    for (direction, run) in [
        ("decode", decode as fn(&mut BenchmarkGroup<'_, WallTime>, &Row)),
        ("encode", encode),
    ] {
        let mut group = criterion.benchmark_group(direction);
        for row in rows() {
            run(&mut group, &row);
        }
        group.finish();
    }
}

/// Short, since there are hundreds of cases: what a batch takes is some microseconds.
fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20)
        .nresamples(2000)
        .without_plots()
}

criterion_group! { name = benches; config = short(); targets = all }
criterion_main!(benches);
