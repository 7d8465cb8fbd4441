//! Sends back what it gets: as records with a length in front, or as bytes.
//!
//! Both stream. Neither holds more than one buffer, whatever the length of a record.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Limits, finish, write};

/// Bytes on their way through one connection: the size of one TLS record, so that neither side waits for half of one.
const BUFFER: usize = 16 * 1024;

/// Echoes bytes as they come.
pub(super) async fn raw(stream: TcpStream, limits: Limits) -> io::Result<()> {
    echo(stream, limits, |bytes| bytes.len()).await
}

/// Echoes records: a `u32` length in network order, then as many bytes. The image of an echoed record is the record, so it
/// goes back as it arrives; only the lengths are read on the way. One that is too long resets the connection, which is the
/// only way this protocol has to say "error".
pub(super) async fn records(stream: TcpStream, limits: Limits) -> io::Result<()> {
    let mut records = Records::new(limits.record);
    echo(stream, limits, move |bytes| records.admit(bytes)).await
}

/// Copies the stream back to its sender as far as `admit` lets each piece pass.
async fn echo(
    mut stream: TcpStream,
    limits: Limits,
    mut admit: impl FnMut(&[u8]) -> usize,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = timeout(limits.idle, stream.read(&mut buffer)).await??;
        if read == 0 {
            return finish(stream).await;
        }
        let bytes = &buffer[..read];
        let admitted = admit(bytes);
        write(&mut stream, &bytes[..admitted], limits).await?;
        if admitted < read {
            return stream.set_zero_linger();
        }
    }
}

/// Follows the records of a stream without keeping them.
struct Records {
    max: u32,
    /// The part of the length that has been read, and how many of its four bytes that is.
    length: u32,
    length_bytes: u8,
    /// Payload bytes still to come.
    left: u32,
}

impl Records {
    fn new(max: u32) -> Self {
        Self {
            max,
            length: 0,
            length_bytes: 0,
            left: 0,
        }
    }

    /// How many of `bytes` belong to records that are not too long. If it is not all of them, the stream is lost.
    fn admit(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if self.left > 0 {
                let step = (bytes.len() - at).min(self.left as usize);
                // Cannot truncate: it is at most `left`.
                self.left -= step as u32;
                at += step;
                continue;
            }
            let length = self.length << 8 | u32::from(bytes[at]);
            self.length_bytes += 1;
            if self.length_bytes < 4 {
                self.length = length;
            } else if length > self.max {
                // The length's earlier bytes stay behind too, as far as they came in this piece.
                return at.saturating_sub(3);
            } else {
                (self.length, self.length_bytes, self.left) = (0, 0, length);
            }
            at += 1;
        }
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::super::tests::started;
    use super::*;

    fn record(payload: &[u8]) -> Vec<u8> {
        let mut record = (payload.len() as u32).to_be_bytes().to_vec();
        record.extend_from_slice(payload);
        record
    }

    /// Sends all, half-closes, and gives what came back and how it ended.
    async fn exchange(stream: TcpStream, sent: Vec<u8>) -> (Vec<u8>, io::Result<()>) {
        let (mut read, mut write) = stream.into_split();
        let sending = tokio::spawn(async move {
            write.write_all(&sent).await?;
            write.shutdown().await
        });
        let mut back = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        let ended = loop {
            match read.read(&mut chunk).await {
                Ok(0) => break Ok(()),
                Ok(n) => back.extend_from_slice(&chunk[..n]),
                Err(error) => break Err(error),
            }
        };
        drop(sending.await.unwrap());
        (back, ended)
    }

    #[tokio::test]
    async fn bytes_come_back_and_the_end_too() {
        let (demo, _guard) = started(Limits::DEMO).await;
        let sent: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        let (back, ended) = exchange(TcpStream::connect(demo.raw).await.unwrap(), sent.clone()).await;
        ended.unwrap();
        assert!(back == sent, "{} bytes back of {}", back.len(), sent.len());
    }

    #[tokio::test]
    async fn records_come_back_whole_empty_or_large() {
        let (demo, _guard) = started(Limits::DEMO).await;
        let mut sent = record(b"");
        sent.extend(record(b"hello"));
        sent.extend(record(&vec![0xFF; 3 << 20]));
        sent.extend(record(b"\0\0\0\0"));
        let (back, ended) = exchange(TcpStream::connect(demo.echo).await.unwrap(), sent.clone()).await;
        ended.unwrap();
        assert!(back == sent, "{} bytes back of {}", back.len(), sent.len());
    }

    #[tokio::test]
    async fn a_record_is_echoed_before_it_has_ended() {
        let (demo, _guard) = started(Limits::DEMO).await;
        let mut stream = TcpStream::connect(demo.echo).await.unwrap();
        stream.write_all(b"\0\0\0\x05he").await.unwrap();
        let mut back = [0; 6];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"\0\0\0\x05he");
    }

    #[tokio::test]
    async fn a_record_over_the_limit_resets_after_those_before_it() {
        let (demo, _guard) = started(Limits {
            record: 8,
            ..Limits::DEMO
        })
        .await;
        let mut stream = TcpStream::connect(demo.echo).await.unwrap();
        stream.write_all(&record(b"just fit")).await.unwrap();
        let mut back = [0; 12];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back[4..], *b"just fit");
        stream.write_all(&record(b"one more!")).await.unwrap();
        assert_eq!(
            stream.read_u8().await.unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_nothing_is_let_go() {
        let (demo, _guard) = started(Limits::DEMO).await;
        let mut stream = TcpStream::connect(demo.raw).await.unwrap();
        let begun = tokio::time::Instant::now();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        assert!(begun.elapsed() >= Limits::DEMO.idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_let_go() {
        let (demo, _guard) = started(Limits::DEMO).await;
        let mut stream = TcpStream::connect(demo.raw).await.unwrap();
        // Fills the buffers of both directions; the write fails once the backend gives up.
        let chunk = vec![0; 64 * 1024];
        while stream.write_all(&chunk).await.is_ok() {}
    }

    proptest! {
        /// However the stream is cut, what is admitted is everything up to the first record that is too long.
        #[test]
        fn admits_up_to_the_first_long_record(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..8),
            cut in 1..9usize,
        ) {
            let max = 8;
            let stream: Vec<u8> = payloads.iter().flat_map(|payload| record(payload)).collect();
            let good: usize =
                payloads.iter().take_while(|p| p.len() <= max).map(|p| 4 + p.len()).sum();
            let mut records = Records::new(max as u32);
            let mut admitted = 0;
            for piece in stream.chunks(cut) {
                let n = records.admit(piece);
                admitted += n;
                if n < piece.len() {
                    break;
                }
            }
            // A length that was itself cut may have let up to three of its bytes pass.
            prop_assert!((good..=good + 3).contains(&admitted), "{admitted} of {good}");
            if good == stream.len() {
                prop_assert_eq!(admitted, good);
            }
        }
    }
}
