//! The legacy side: services that keep books of what they hear, and one that does wrong on demand.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::accounts::{BackendView, Books};
use crate::wire::within;
use crate::words::{Framing, Plan, Way, key, message, windows_1252};

/// A service behind a route.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    pub name: &'static str,
    pub framing: Framing,
    pub does: Does,
}

/// What a service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Sends back what it hears.
    Echo,
    /// The same in windows-1252.
    Accents,
    /// Sends by itself, whatever it hears.
    Feed,
    /// Obeys the first record of each connection.
    Wrong,
    /// Ends each connection at once.
    HangUp,
}

/// What a check says, and wants to hear.
pub const CHECK: &str = "are you well?";

impl Service {
    /// Serves as long as the soak runs, behind TLS where there is some; the target.
    pub async fn start(self, books: &Arc<Books>, tls: Option<&TlsAcceptor>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(self.serve(listener, Arc::clone(books), tls.cloned()));
        let scheme = if tls.is_some() { "tls" } else { "tcp" };
        format!("{scheme}://{address}")
    }

    /// Serves a target that goes down and comes back, in turn. It has a host of its own: no connection's own port takes its.
    pub async fn flap(self, books: &Arc<Books>) -> String {
        let listener = TcpListener::bind("127.200.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let books = Arc::clone(books);
        tokio::spawn(async move {
            let mut listener = Some(listener);
            loop {
                let listening = match listener.take() {
                    Some(listening) => listening,
                    None => TcpListener::bind(address).await.unwrap(),
                };
                // Elapsed is what it always is.
                drop(
                    timeout(
                        Duration::from_secs(3),
                        self.serve(listening, Arc::clone(&books), None),
                    )
                    .await,
                );
                books.count("the target went down", 1);
                sleep(Duration::from_secs(2)).await;
            }
        });
        format!("tcp://{address}")
    }

    async fn serve(self, listener: TcpListener, books: Arc<Books>, tls: Option<TlsAcceptor>) {
        loop {
            // Who has gone by now is of no interest.
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let (books, tls) = (Arc::clone(&books), tls.clone());
            tokio::spawn(async move {
                // sealock's checks, and dials that came to nothing, end how they like.
                drop(self.connection(stream, tls, &books).await);
            });
        }
    }

    async fn connection(
        self,
        mut stream: TcpStream,
        tls: Option<TlsAcceptor>,
        books: &Books,
    ) -> io::Result<()> {
        let mut header = Vec::new();
        while !header.ends_with(b"\n") {
            header.push(stream.read_u8().await?);
        }
        let header = String::from_utf8_lossy(&header);
        let words: Vec<&str> = header.split_whitespace().collect();
        let ["PROXY", "TCP4", client, _, port, _] = words[..] else {
            return self.check(stream).await;
        };
        let client: SocketAddr = format!("{client}:{port}").parse().map_err(io::Error::other)?;
        let mut view = BackendView::default();
        // How it ended stands in the view.
        let result = match self.does {
            Does::Wrong => self.wrong(stream, client, books, &mut view).await,
            Does::HangUp => Ok(()),
            Does::Feed | Does::Echo | Does::Accents => {
                // A handshake that fails is a view of nothing.
                match halves(stream, tls).await {
                    Ok(halves) if self.does == Does::Feed => {
                        self.feed(halves, client, books, &mut view).await
                    }
                    Ok(halves) => self.echo(halves, client, books, &mut view).await,
                    Err(error) => Err(error),
                }
            }
        };
        books.backend(client, view);
        result
    }

    async fn check(self, mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        while stream.read_buf(&mut buffer).await? > 0 {
            stream.write_all(&std::mem::take(&mut buffer)).await?;
        }
        Ok(())
    }

    fn image(self, text: &str) -> Vec<u8> {
        match self.does {
            Does::Accents => windows_1252(text),
            _ => text.as_bytes().to_vec(),
        }
    }

    /// The next record of a normal session, which must be the one that comes next.
    async fn hear(self, ear: &mut Ear<'_>) -> io::Result<Option<Vec<u8>>> {
        let text = message(ear.key, Way::Up, ear.next, self.does == Does::Accents);
        let expected = self.image(&text);
        loop {
            if let Some(payload) = self.framing.take(&mut ear.buffer, expected.len()) {
                if payload != expected {
                    ear.books.complain(format!(
                        "{}: record {} is not message {}",
                        self.name, ear.next, ear.next
                    ));
                    return Err(io::Error::other("another record"));
                }
                ear.next += 1;
                return Ok(Some(payload));
            }
            if ear.stream.read_buf(&mut ear.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn echo(
        self,
        (stream, mut writer): (Reader, Writer),
        client: SocketAddr,
        books: &Books,
        view: &mut BackendView,
    ) -> io::Result<()> {
        let mut ear = Ear {
            stream,
            buffer: BytesMut::new(),
            key: key(client),
            next: 0,
            books,
        };
        let ends_after = Plan::of(ear.key).backend_ends_after;
        while let Some(payload) = self.hear(&mut ear).await? {
            view.records += 1;
            if ends_after.is_some_and(|last| view.records > u64::from(last)) {
                continue;
            }
            self.say(&mut writer, &payload, view).await?;
            if ends_after == Some(ear.next) {
                writer.shutdown().await?;
            }
        }
        view.clean = ear.buffer.is_empty();
        Ok(())
    }

    async fn say(
        self,
        writer: &mut (impl AsyncWrite + Unpin),
        payload: &[u8],
        view: &mut BackendView,
    ) -> io::Result<()> {
        let record = self.framing.record(payload);
        writer.write_all(&record).await?;
        writer.flush().await?;
        view.wire += record.len() as u64;
        view.sent.push(payload.len() as u32);
        Ok(())
    }

    async fn feed(
        self,
        (stream, mut writer): (Reader, Writer),
        client: SocketAddr,
        books: &Books,
        view: &mut BackendView,
    ) -> io::Result<()> {
        let key = key(client);
        let plan = Plan::of(key);
        let mut ear = Ear {
            stream,
            buffer: BytesMut::new(),
            key,
            next: 0,
            books,
        };
        let mut said = BackendView::default();
        let (over, mut ended) = tokio::sync::oneshot::channel::<()>();
        let say = async {
            for number in 0..plan.down {
                let text = message(key, Way::Down, number, false);
                self.say(&mut writer, text.as_bytes(), &mut said).await?;
                if timeout(plan.pause, &mut ended).await.is_ok() {
                    return Ok(());
                }
            }
            if plan.backend_ends_after.is_some() {
                writer.shutdown().await?;
            }
            // Open, until the client has enough.
            drop(ended.await);
            io::Result::Ok(())
        };
        let hear = async {
            let mut records = 0;
            let result = async {
                while self.hear(&mut ear).await?.is_some() {
                    records += 1;
                }
                io::Result::Ok(ear.buffer.is_empty())
            }
            .await;
            drop(over);
            (records, result)
        };
        let (spoken, (records, heard)) = tokio::join!(say, hear);
        *view = BackendView {
            records,
            clean: matches!(heard, Ok(true)),
            ..said
        };
        spoken.and(heard.map(drop))
    }

    /// Does what the first record says.
    async fn wrong(
        self,
        stream: TcpStream,
        client: SocketAddr,
        books: &Books,
        view: &mut BackendView,
    ) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        let (mut reader, mut writer) = stream.into_split();
        let order = loop {
            if let Some(order) = self.framing.take(&mut buffer, 0) {
                break order;
            }
            if reader.read_buf(&mut buffer).await? == 0 {
                view.clean = true;
                return Ok(());
            }
        };
        view.records = 1;
        let record = self.framing.record(&[b'x'; 1000]);
        let half = &record[..500];
        match &order[..] {
            b"half" => writer.write_all(half).await?,
            b"cut" => {
                writer.write_all(half).await?;
                writer.shutdown().await?;
            }
            b"drip" => {
                for byte in &self.framing.record(b"drop by drop") {
                    writer.write_all(&[*byte]).await?;
                    sleep(Duration::from_millis(50)).await;
                }
            }
            b"reset" => {
                writer.write_all(half).await?;
                let stream = reader.reunite(writer).map_err(io::Error::other)?;
                return stream.set_zero_linger();
            }
            b"big" => {
                writer
                    .write_all(&self.framing.record(&vec![b'x'; 100_000]))
                    .await?
            }
            b"garbage" => writer.write_all(b"what is this\n").await?,
            b"latin" => writer.write_all(&self.framing.record(b"caf\xE9")).await?,
            b"flood" => {
                let record = self.framing.record(&[b'x'; 60_000]);
                while writer.write_all(&record).await.is_ok() {}
                return Ok(());
            }
            b"deaf" => books.recorded(client).await,
            b"echo" => return self.reply(reader, writer, buffer, view).await,
            // Listens.
            _ => {}
        }
        loop {
            while self.framing.take(&mut buffer, 0).is_some() {
                view.records += 1;
            }
            if reader.read_buf(&mut buffer).await? == 0 {
                view.clean = buffer.is_empty();
                return Ok(());
            }
        }
    }

    async fn reply(
        self,
        mut reader: OwnedReadHalf,
        mut writer: OwnedWriteHalf,
        mut buffer: BytesMut,
        view: &mut BackendView,
    ) -> io::Result<()> {
        loop {
            while let Some(payload) = self.framing.take(&mut buffer, 0) {
                view.records += 1;
                self.say(&mut writer, &payload, view).await?;
            }
            if reader.read_buf(&mut buffer).await? == 0 {
                view.clean = buffer.is_empty();
                return Ok(());
            }
        }
    }
}

type Reader = Pin<Box<dyn AsyncRead + Send>>;
type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// Both halves of a connection, after its handshake where there is to be one.
async fn halves(stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<(Reader, Writer)> {
    Ok(match tls {
        None => {
            let (reader, writer) = stream.into_split();
            (Box::pin(reader), Box::pin(writer))
        }
        Some(tls) => {
            let (reader, writer) = tokio::io::split(within(tls.accept(stream)).await?);
            (Box::pin(reader), Box::pin(writer))
        }
    })
}

/// One side of a normal session.
struct Ear<'a> {
    stream: Reader,
    buffer: BytesMut,
    key: u64,
    next: u32,
    books: &'a Books,
}
