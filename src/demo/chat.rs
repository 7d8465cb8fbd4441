//! A chat for many users, spoken in lines. It is the first thing a stranger to sealock talks to, so besides chatting it can
//! show how a connection ends well (`/quit`), badly (`/break`), and how many messages travel at once (`/flood`).

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use super::lines::{Fault, Lines};
use super::room::{Room, Seat, TooSlow};
use super::{Limits, finish, write};

/// What a guest is told who finds no place.
pub(super) const FULL: &[u8] = b"* The harbour is full. Please come back a little later.\n";

/// The most lines that `/flood` sends.
const FLOOD_MAX: u32 = 1000;

/// The most characters of a name.
const NAME_MAX: usize = 20;

/// Serves one guest from greeting to farewell.
pub(super) async fn serve(stream: TcpStream, room: Arc<Room>, limits: Limits) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let here = stream.local_addr()?;
    let mut guest = Guest {
        stream,
        seat: room.enter(),
        here,
        limits,
    };
    let leave = guest.talk().await?;
    // The others need not wait for the end of the socket.
    let Guest { stream, seat, .. } = guest;
    drop(seat);
    match leave {
        Leave::End => finish(stream).await,
        // Half a line is out already. Dropping the socket now sends a reset instead of an end.
        Leave::Reset => stream.set_zero_linger(),
    }
}

/// One connection and what belongs to it.
struct Guest {
    stream: TcpStream,
    seat: Seat,
    /// The backend's own address, to tell how to come in without a browser.
    here: SocketAddr,
    limits: Limits,
}

/// How the connection is to end.
enum Leave {
    End,
    Reset,
}

impl Guest {
    async fn talk(&mut self) -> io::Result<Leave> {
        self.tell(&self.greeting()).await?;
        let mut lines = Lines::new(self.limits.line);
        let mut chunk = [0; 2048];
        let mut heard = String::new();
        let mut idle_at = Instant::now() + self.limits.idle;
        loop {
            let read = tokio::select! {
                read = timeout_at(idle_at, self.stream.read(&mut chunk)) => Some(read),
                fresh = self.seat.hear(&mut heard) => match fresh {
                    Ok(()) => None,
                    Err(TooSlow) => return self.drop_slow().await,
                },
            };
            match read {
                Some(Err(_)) => {
                    self.seat.set_farewell("has dozed off");
                    self.tell(
                        "* You have been quiet for so long that I close the lock. Come back any time.\n",
                    )
                    .await?;
                    return Ok(Leave::End);
                }
                Some(Ok(read)) => match read? {
                    // What is left is no line: a message that was cut must not be taken for a whole one.
                    0 => return self.see_off(heard).await,
                    read => {
                        lines.push(&chunk[..read]);
                        idle_at = Instant::now() + self.limits.idle;
                    }
                },
                None => {}
            }
            while let Some(line) = lines.next() {
                if let Some(leave) = self.obey(line).await? {
                    return Ok(leave);
                }
                // Hears all that was said before it may say more, and lets others hear it: nobody can outrun the room.
                if !self.catch_up(&mut heard).await? {
                    return self.drop_slow().await;
                }
                yield_now().await;
            }
            self.pass_on(&mut heard).await?;
        }
    }

    /// Does what a line asks for.
    async fn obey(&mut self, line: Result<String, Fault>) -> io::Result<Option<Leave>> {
        let line = match line {
            Ok(line) => line,
            Err(Fault::TooLong) => {
                let max = self.limits.line;
                self.tell(&format!(
                    "* That line was longer than {max} bytes. I have thrown it away.\n"
                ))
                .await?;
                return Ok(None);
            }
            Err(Fault::NotText) => {
                self.tell("* That line was not UTF-8. I have thrown it away.\n")
                    .await?;
                return Ok(None);
            }
        };
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let rest = rest.trim();
        match command {
            "/quit" => {
                self.seat.set_farewell(if rest.is_empty() {
                    "leaves".to_owned()
                } else {
                    format!("leaves: {rest}")
                });
                self.tell(&format!("* Fair winds, {}.\n", self.seat.name()))
                    .await?;
                return Ok(Some(Leave::End));
            }
            "/break" => {
                self.seat.set_farewell("is lost at sea");
                self.tell("* This line would have told you why, but in the middle of it the conn")
                    .await?;
                return Ok(Some(Leave::Reset));
            }
            "/flood" => self.tell(&flood(rest)).await?,
            "/help" => self.tell(&self.help()).await?,
            "/me" if !rest.is_empty() => self.seat.say(format!("* {} {rest}", self.seat.name())),
            "/nick" => {
                if !is_name(rest) {
                    self.tell(&format!(
                        "* A name has 1 to {NAME_MAX} letters, digits, - or _.\n"
                    ))
                    .await?;
                } else if !self.seat.rename(rest) {
                    self.tell(&format!("* Somebody is called {rest} already.\n"))
                        .await?;
                }
            }
            "/who" => {
                let all = self.seat.all();
                self.tell(&format!("* Here: {} ({}).\n", all.join(", "), all.len()))
                    .await?;
            }
            _ if command.starts_with('/') => {
                self.tell(&format!(
                    "* I do not know {command:.20}. Type /help for what I know.\n"
                ))
                .await?;
            }
            _ if line.trim().is_empty() => {}
            _ => self.seat.say(format!("{}: {line}", self.seat.name())),
        }
        Ok(None)
    }

    fn greeting(&self) -> String {
        let name = self.seat.name();
        let others: Vec<String> = self
            .seat
            .all()
            .into_iter()
            .filter(|other| other != name)
            .collect();
        let company = if others.is_empty() {
            format!(
                "You are the first one here. Come in twice, with a second tab or with: {}",
                self.without_browser()
            )
        } else {
            format!("With you here: {}.", others.join(", "))
        };
        format!(
            "* Ahoy, {name}. I am a plain TCP server and know nothing of WebSocket; sealock brings me your messages as lines.\n\
             * {company}\n\
             * Say something, or type /help.\n"
        )
    }

    fn help(&self) -> String {
        format!(
            "* /nick NAME  be called NAME\n\
             * /who        see who is here\n\
             * /me WAVES   do something\n\
             * /flood N    get N lines at once, at most {FLOOD_MAX}\n\
             * /break      have the connection reset in the middle of a line\n\
             * /quit       have the connection ended after a last line\n\
             * Anything else goes to everybody. To come in without a browser: {}\n",
            self.without_browser()
        )
    }

    fn without_browser(&self) -> String {
        format!("nc {} {}", self.here.ip(), self.here.port())
    }

    /// Ends a guest who has ended: it still gets what it was too early to hear, its own last lines among it.
    async fn see_off(&mut self, mut heard: String) -> io::Result<Leave> {
        self.catch_up(&mut heard).await?;
        Ok(Leave::End)
    }

    /// Tells this guest all that it has not yet heard, or returns false if part of that is lost.
    async fn catch_up(&mut self, heard: &mut String) -> io::Result<bool> {
        loop {
            match self.seat.overhear(heard) {
                Ok(()) if heard.is_empty() => return Ok(true),
                Ok(()) => self.pass_on(heard).await?,
                Err(TooSlow) => return Ok(false),
            }
        }
    }

    async fn drop_slow(&mut self) -> io::Result<Leave> {
        self.seat.set_farewell("is too slow and has lost us");
        self.tell("* You read too slowly and have missed lines. Please come in again.\n")
            .await?;
        Ok(Leave::End)
    }

    /// Tells this guest what the room has said.
    async fn pass_on(&mut self, heard: &mut String) -> io::Result<()> {
        if !heard.is_empty() {
            self.tell(heard).await?;
            // Not cleared: an idle guest shall not keep the room its busiest moment took.
            *heard = String::new();
        }
        Ok(())
    }

    /// Tells this guest alone.
    async fn tell(&mut self, text: &str) -> io::Result<()> {
        write(&mut self.stream, text.as_bytes(), self.limits).await
    }
}

/// As many lines as were asked for, in one piece, so that they are ready together.
fn flood(count: &str) -> String {
    let count = if count.is_empty() { Ok(100) } else { count.parse() };
    match count {
        Ok(count @ 1..=FLOOD_MAX) => (1..=count).fold(String::new(), |mut all, n| {
            // Writing to a string cannot fail.
            writeln!(all, "* wave {n} of {count}").ok();
            all
        }),
        _ => format!("* How many? From 1 to {FLOOD_MAX}.\n"),
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.chars().count())
        && name.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::super::tests::started;
    use super::*;

    /// Somebody with a terminal.
    struct Client(BufReader<TcpStream>);

    impl Client {
        /// Comes in, reads the greeting and its own arrival, and takes a name.
        async fn enter(addr: SocketAddr, name: &str) -> Self {
            let mut client = Self(BufReader::new(TcpStream::connect(addr).await.unwrap()));
            client.until("comes in").await;
            client.say(&format!("/nick {name}")).await;
            client.until(&format!("is now {name}")).await;
            client
        }

        async fn say(&mut self, line: &str) {
            self.0.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        }

        async fn hear(&mut self) -> String {
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap();
            assert!(line.ends_with('\n'), "ended within or before a line: {line:?}");
            line.trim_end().to_owned()
        }

        /// Reads up to a line with these words.
        async fn until(&mut self, words: &str) -> String {
            loop {
                let line = self.hear().await;
                if line.contains(words) {
                    return line;
                }
            }
        }

        async fn ends(&mut self) -> io::Result<String> {
            let mut rest = String::new();
            while self.0.read_line(&mut rest).await? > 0 {}
            Ok(rest)
        }
    }

    #[tokio::test]
    async fn everybody_sees_every_line_and_who_comes_and_goes() {
        let (demo, _guard) = started(Limits::DEMO).await;
        let mut ada = Client::enter(demo.chat, "ada").await;
        let mut ben = Client::enter(demo.chat, "ben").await;
        ada.until("is now ben").await;

        ben.say("h\u{E9}llo\r").await;
        assert_eq!(ada.hear().await, "ben: h\u{E9}llo");
        assert_eq!(ben.hear().await, "ben: h\u{E9}llo");
        ada.say("/me waves").await;
        assert_eq!(ben.hear().await, "* ada waves");
        ada.hear().await;
        ada.say("/who").await;
        assert_eq!(ada.hear().await, "* Here: ada, ben (2).");
        ben.say("/nick ADA").await;
        assert_eq!(ben.hear().await, "* Somebody is called ADA already.");
        ben.say("/nick not a name").await;
        assert!(ben.hear().await.starts_with("* A name has"));
        ben.say("/dance").await;
        assert!(ben.hear().await.contains("do not know /dance"));
        ben.say("/help").await;
        assert!(
            ben.until("nc ")
                .await
                .ends_with(&format!("nc 127.0.0.1 {}", demo.chat.port()))
        );

        drop(ben);
        assert_eq!(ada.hear().await, "* ben leaves");
    }

    #[tokio::test]
    async fn the_greeting_tells_who_is_here() {
        let (demo, _guard) = started(Limits::DEMO).await;
        let mut first = Client(BufReader::new(TcpStream::connect(demo.chat).await.unwrap()));
        first.until("the first one here").await;
        let _ada = Client::enter(demo.chat, "ada").await;
        let mut third = Client(BufReader::new(TcpStream::connect(demo.chat).await.unwrap()));
        assert!(third.until("With you here").await.contains("ada"));
    }

    #[tokio::test]
    async fn quit_ends_after_the_last_line_and_break_resets_within_one() {
        let (demo, _guard) = started(Limits::DEMO).await;
        let mut ada = Client::enter(demo.chat, "ada").await;

        let mut ben = Client::enter(demo.chat, "ben").await;
        ben.say("/quit to the sea").await;
        assert_eq!(ben.ends().await.unwrap(), "* Fair winds, ben.\n");
        ada.until("* ben leaves: to the sea").await;

        let mut cut = Client::enter(demo.chat, "cut").await;
        cut.say("/break").await;
        assert_eq!(
            cut.ends().await.unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
        ada.until("* cut is lost at sea").await;
    }

    #[tokio::test]
    async fn flood_sends_what_was_asked_for_and_no_more_than_allowed() {
        let (demo, _guard) = started(Limits::DEMO).await;
        let mut ada = Client::enter(demo.chat, "ada").await;
        for (asked, sent) in [("/flood", 100), ("/flood 1", 1), ("/flood 1000", 1000)] {
            ada.say(asked).await;
            for n in 1..=sent {
                assert_eq!(ada.hear().await, format!("* wave {n} of {sent}"));
            }
        }
        for asked in ["0", "1001", "-1", "many", "99999999999"] {
            ada.say(&format!("/flood {asked}")).await;
            assert_eq!(ada.hear().await, "* How many? From 1 to 1000.");
        }
    }

    #[tokio::test]
    async fn a_line_that_cannot_be_said_is_answered_and_the_next_one_is_heard() {
        let (demo, _guard) = started(Limits {
            line: 32,
            ..Limits::DEMO
        })
        .await;
        let mut ada = Client::enter(demo.chat, "ada").await;
        ada.say(&"x".repeat(100_000)).await;
        assert!(ada.hear().await.contains("longer than 32 bytes"));
        ada.0.write_all(b"\xFF\xFE\n").await.unwrap();
        assert!(ada.hear().await.contains("not UTF-8"));
        ada.say("").await;
        ada.say("still here").await;
        assert_eq!(ada.hear().await, "ada: still here");
    }

    #[tokio::test]
    async fn one_who_says_much_at_once_hears_it_all_before_the_end() {
        let (demo, _guard) = started(Limits::DEMO).await;
        let ada = Client::enter(demo.chat, "ada").await;
        // Far more lines than the room keeps for a guest who does not listen.
        let many: String = (0..5000).map(|n| format!("{n}\n")).collect();
        let (read, mut write) = ada.0.into_inner().into_split();
        let saying = tokio::spawn(async move {
            write.write_all(many.as_bytes()).await.unwrap();
            write.write_all(b"this is no line").await.unwrap();
            write.shutdown().await.unwrap();
        });
        let mut lines = BufReader::new(read).lines();
        for n in 0..5000 {
            assert_eq!(lines.next_line().await.unwrap().unwrap(), format!("ada: {n}"));
        }
        assert_eq!(lines.next_line().await.unwrap(), None);
        saying.await.unwrap();
    }

    #[tokio::test]
    async fn one_who_does_not_read_is_dropped_and_does_not_hold_up_the_others() {
        let (demo, _guard) = started(Limits {
            write: Duration::from_millis(50),
            ..Limits::DEMO
        })
        .await;
        let mut ada = Client::enter(demo.chat, "ada").await;
        let mut deaf = Client::enter(demo.chat, "deaf").await;
        // Asks for more than the socket buffers of both ends hold, and reads none of it.
        while deaf
            .0
            .write_all("/flood 1000\n".repeat(100).as_bytes())
            .await
            .is_ok()
        {}
        ada.until("* deaf leaves").await;
        ada.say("calm again").await;
        assert_eq!(ada.hear().await, "ada: calm again");
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_says_nothing_for_long_is_told_and_ended() {
        let (demo, _guard) = started(Limits::DEMO).await;
        let mut ada = Client::enter(demo.chat, "ada").await;
        let begun = Instant::now();
        assert!(ada.ends().await.unwrap().contains("quiet for so long"));
        assert!(begun.elapsed() >= Limits::DEMO.idle - Duration::from_secs(1));
    }
}
