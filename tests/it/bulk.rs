//! A long message passes through; it does not pile up. `cargo test --test it bulk -- --nocapture` prints the figures.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::support::{BINARY, Backend, Client, Program, frame, soon};

const MIB: usize = 1 << 20;
/// The message that must pass.
const LARGE: usize = 64 * MIB;
/// By how much the program may grow while it does.
const GROWTH_KIB: u64 = 2 * 1024;

/// What messages consist of: a block, over and over, so that the test does not hold one either. Its length is a multiple of the mask's,
/// so that a masked block follows a masked block; and no power of two, so that a mistake by a buffer's length shows.
fn block() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(64);
    std::iter::repeat_with(|| random.u8(..)).take(65_532).collect()
}

/// Sends a message's bytes.
async fn pour(to: &mut (impl AsyncWrite + Unpin), block: &[u8], mut len: usize) {
    while len > 0 {
        let part = &block[..len.min(block.len())];
        soon("room for a long message", to.write_all(part)).await.unwrap();
        len -= part.len();
    }
    soon("room for a long message", to.flush()).await.unwrap();
}

/// Compares `len` bytes of a message, which starts `at` bytes before.
async fn compare(from: &mut (impl AsyncRead + Unpin), block: &[u8], mut at: usize, mut len: usize) {
    let mut chunk = vec![0; 64 * 1024];
    while len > 0 {
        let start = at % block.len();
        let room = len.min(chunk.len()).min(block.len() - start);
        let got = soon("bytes of a long message", from.read(&mut chunk[..room]))
            .await
            .unwrap();
        assert!(got > 0, "the stream ended at {at}");
        assert!(
            chunk[..got] == block[start..start + got],
            "other bytes after {at}"
        );
        at += got;
        len -= got;
    }
}

/// Sends a binary message as one frame.
async fn send(to: &mut (impl AsyncWrite + Unpin), block: &[u8], len: usize) {
    // The head of a frame of this length, and a block as it is masked, taken from a frame of a block.
    let mut head = vec![0x80 | BINARY, 0x80 | 127];
    head.extend((len as u64).to_be_bytes());
    let whole = frame(true, BINARY, block);
    let (mask, masked) = whole[whole.len() - block.len() - 4..].split_at(4);
    head.extend(mask);
    soon("room for a frame", to.write_all(&head)).await.unwrap();
    pour(to, masked, len).await;
}

/// Receives one binary message, whatever frames it comes in; how many they were.
async fn receive(from: &mut (impl AsyncRead + Unpin), block: &[u8], len: usize) -> usize {
    let (mut at, mut frames) = (0, 0);
    loop {
        let [first, second] = soon("a frame", from.read_u16()).await.unwrap().to_be_bytes();
        assert_eq!(first & 0x7F, if frames == 0 { BINARY } else { 0 });
        let size = match second {
            126 => usize::from(from.read_u16().await.unwrap()),
            127 => from.read_u64().await.unwrap() as usize,
            size => usize::from(size),
        };
        compare(from, block, at, size).await;
        at += size;
        frames += 1;
        if first & 0x80 != 0 {
            assert_eq!(at, len);
            return frames;
        }
    }
}

/// A line of the process's status, in KiB.
fn memory(program: &Program, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs something, and checks by how much the program grew at most meanwhile.
async fn measured(program: &Program, what: &str, passage: impl Future<Output = ()>) {
    // Sets the peak back to what is in use now (proc(5)).
    std::fs::write(format!("/proc/{}/clear_refs", program.pid()), "5").unwrap();
    let before = memory(program, "VmHWM:");
    let start = Instant::now();
    // As a whole: a session that sleeps between two timers gets there too.
    soon(what, passage).await;
    // The kernel counts in batches, so the peak may read a little less than before.
    let grown = memory(program, "VmHWM:").saturating_sub(before);
    let rate = (LARGE / MIB) as f64 / start.elapsed().as_secs_f64();
    println!("64 MiB {what}: {rate:.0} MiB/s, {before} KiB before, {grown} KiB more at the peak");
    assert!(grown < GROWTH_KIB, "{what}: the program grew by {grown} KiB");
}

#[tokio::test]
async fn memory_does_not_grow_with_a_message() {
    let backend = Backend::start().await;
    let echo = Backend::echo().await;
    let program = Program::start(&format!(
        "[defaults]\nframing = \"u32be\"\nmessage = \"binary\"\nmax_message = \"64 MiB\"\nping_interval = \"off\"\n\
         [[route]]\nname = \"bulk\"\npath = \"/bulk\"\nbackend = \"tcp://{}\"\n\
         [[route]]\nname = \"echo\"\npath = \"/echo\"\nbackend = \"tcp://{echo}\"\n",
        backend.address
    ))
    .await;
    let block = block();
    let client = Client::tls(program.tls, "/bulk").await;
    let (mut from, mut to) = tokio::io::split(client.stream);
    let mut service = backend.accept().await;

    // Each way once with a small message: what sealock needs for any message it may have before.
    for len in [MIB, LARGE] {
        let up = async {
            tokio::join!(send(&mut to, &block, len), async {
                assert_eq!(service.read_u32().await.unwrap(), len as u32);
                compare(&mut service, &block, 0, len).await;
            });
        };
        if len == MIB {
            up.await
        } else {
            measured(&program, "up", up).await
        }
        let down = async {
            let sent = async {
                service.write_u32(len as u32).await.unwrap();
                pour(&mut service, &block, len).await;
            };
            let ((), frames) = tokio::join!(sent, receive(&mut from, &block, len));
            assert!(frames > 1, "a long record leaves as it arrives");
        };
        if len == MIB {
            down.await
        } else {
            measured(&program, "down", down).await
        }
    }

    let client = Client::tls(program.tls, "/echo").await;
    let (mut from, mut to) = tokio::io::split(client.stream);
    for len in [MIB, LARGE] {
        let both = async {
            tokio::join!(send(&mut to, &block, len), receive(&mut from, &block, len));
        };
        if len == MIB {
            both.await
        } else {
            measured(&program, "there and back", both).await
        }
    }
}
