//! `openssl s_client`, and somebody who types into it.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};
use tokio::sync::watch;

use super::service::{missing, program};
use super::{certificate, soon};

/// A running `openssl s_client`, which prints every TLS message it sends (`>>>`) and gets (`<<<`). Killed when dropped.
pub struct Typist {
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: watch::Receiver<Vec<u8>>,
}

impl Typist {
    /// Connects, trusting the run's CA.
    pub fn connect<S: AsRef<OsStr>>(address: SocketAddr, args: impl IntoIterator<Item = S>) -> Self {
        let mut command = program("openssl");
        command
            .args([
                "s_client",
                "-msg",
                "-verify_return_error",
                "-servername",
                "localhost",
            ])
            .args(["-connect", &address.to_string()])
            .arg("-CAfile")
            .arg(certificate("ca.pem"))
            .args(args)
            // Debian's own settings would not even try old versions.
            .env("OPENSSL_CONF", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| missing(&command, &error));
        let (sender, screen) = watch::channel(Vec::new());
        tokio::spawn(show(child.stdout.take().unwrap(), sender.clone()));
        tokio::spawn(show(child.stderr.take().unwrap(), sender));
        Self {
            keyboard: child.stdin.take(),
            child,
            screen,
        }
    }

    /// Types bytes. They are sent as they are, but for the commands of `s_client`: a Q, R, K or k at the start of what it reads at once.
    pub async fn write(&mut self, bytes: &[u8]) {
        let keyboard = self.keyboard.as_mut().unwrap();
        soon("openssl to take input", keyboard.write_all(bytes))
            .await
            .unwrap();
    }

    /// Waits until the screen shows something this many times.
    pub async fn shows(&mut self, what: impl AsRef<[u8]>, times: usize) {
        let what = what.as_ref();
        let name = format!("{:?} on the screen of openssl", String::from_utf8_lossy(what));
        let shown = self.screen.wait_for(|screen| count(screen, what) >= times);
        let ended = soon(&name, shown).await.is_err();
        assert!(!ended, "{name}: it has ended, and shows\n{}", self.screen());
    }

    /// All that is on the screen.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.borrow()).into_owned()
    }

    /// Types nothing more, upon which `s_client` sends its close_notify and ends. What the screen showed at last.
    pub async fn leave(mut self) -> String {
        self.keyboard = None;
        soon("openssl's end", self.child.wait()).await.unwrap();
        // Until both outputs have ended.
        while soon("the rest of the screen", self.screen.changed())
            .await
            .is_ok()
        {}
        self.screen()
    }
}

async fn show(mut output: impl AsyncRead + Unpin, screen: watch::Sender<Vec<u8>>) {
    let mut bytes = [0; 4096];
    while let Ok(got @ 1..) = output.read(&mut bytes).await {
        screen.send_modify(|screen| screen.extend_from_slice(&bytes[..got]));
    }
}

fn count(screen: &[u8], what: &[u8]) -> usize {
    screen
        .windows(what.len())
        .filter(|window| *window == what)
        .count()
}
