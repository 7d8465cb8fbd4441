//! The program under test, as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, LazyLock};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use sealock::tls::DevelopmentCa;
use sealock::tls::client::{Trust, connect};

use super::soon;

/// One development CA for the whole run, made now and gone with it.
static CERTS: LazyLock<(tempfile::TempDir, DevelopmentCa)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let made = DevelopmentCa::make(&names).unwrap();
    std::fs::write(dir.path().join("ca.pem"), &made.ca_pem).unwrap();
    std::fs::write(dir.path().join("dev.pem"), &made.cert_pem).unwrap();
    std::fs::write(dir.path().join("dev.key"), &made.key_pem).unwrap();
    (dir, made)
});

/// A running sealock with two listeners, one in the clear and one with TLS. Killed when dropped.
pub struct Program {
    /// The listener in the clear.
    pub plain: SocketAddr,
    /// The listener with TLS.
    pub tls: SocketAddr,
    child: Child,
    records: mpsc::UnboundedReceiver<Value>,
    everything: Arc<std::sync::Mutex<String>>,
    _dir: tempfile::TempDir,
}

impl Program {
    /// Starts sealock with these lines of configuration behind its two listeners.
    pub async fn start(config: &str) -> Self {
        Self::start_with("", config).await
    }

    /// The same with lines at the top of the file, and settings of both listeners written as `listener.key = value` lines in `top`.
    pub async fn start_with(top: &str, config: &str) -> Self {
        let (settings, top): (Vec<&str>, Vec<&str>) =
            top.lines().partition(|line| line.starts_with("listener."));
        let settings: String = settings
            .iter()
            .map(|line| format!("{}\n", &line["listener.".len()..]))
            .collect();
        let (cert, key) = (certificate("dev.pem"), certificate("dev.key"));
        let file = format!(
            "{}\n[[listener]]\nbind = \"127.0.0.1:0\"\nplaintext = \"loopback\"\n{settings}\n\
             [[listener]]\nbind = \"127.0.0.1:0\"\ncert_file = {cert:?}\nkey_file = {key:?}\n{settings}\n{config}",
            top.join("\n"),
        );
        Self::start_file(&file).await
    }

    /// Starts sealock with a whole file, which must have two listeners.
    pub async fn start_file(file: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sealock.toml");
        std::fs::write(&path, file).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_sealock"))
            .args(["run", "--log-format", "json", "--log-level", "debug", "-c"])
            .arg(&path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let everything = Arc::new(std::sync::Mutex::new(String::new()));
        let (sender, records) = mpsc::unbounded_channel();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let all = Arc::clone(&everything);
        tokio::spawn(async move {
            while let Ok(Some(line)) = log.next_line().await {
                all.lock().unwrap().push_str(&format!("{line}\n"));
                if let Ok(value) = serde_json::from_str::<Value>(&line)
                    && value.get("cause").is_some()
                {
                    // The test may be over already.
                    drop(sender.send(value));
                }
            }
        });
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut addresses = Vec::new();
        while addresses.len() < 2 {
            let line = soon("sealock's addresses", said.next_line()).await.unwrap();
            let Some(line) = line else {
                panic!("sealock did not start:\n{}", everything.lock().unwrap())
            };
            if let Some((_, address)) = line.split_once("://") {
                addresses.push(address.parse().unwrap());
            }
        }
        Self {
            plain: addresses[0],
            tls: addresses[1],
            child,
            records,
            everything,
            _dir: dir,
        }
    }

    /// The next record of a session's (or a refused connection's) end.
    pub async fn record(&mut self) -> Value {
        soon("a record", self.records.recv()).await.expect("sealock runs")
    }

    /// The next record of a session, and checks its cause.
    pub async fn ended(&mut self, cause: &str) -> Value {
        let record = self.record().await;
        assert_eq!(record["cause"], cause, "{record}");
        record
    }

    /// Everything that was logged so far.
    pub fn log(&self) -> String {
        self.everything.lock().unwrap().clone()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("sealock runs")
    }

    /// Sends a signal by name, such as `TERM`.
    pub async fn signal(&self, name: &str) {
        let done = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status()
            .await;
        assert!(done.unwrap().success());
    }

    /// Waits for the end of the process and gives its exit code.
    pub async fn exit(&mut self) -> Option<i32> {
        soon("sealock's end", self.child.wait()).await.unwrap().code()
    }
}

/// The path of a file of the run's certificates: `ca.pem`, `dev.pem`, `dev.key`.
pub fn certificate(name: &str) -> PathBuf {
    CERTS.0.path().join(name)
}

/// A TLS connection that trusts the run's CA.
pub async fn tls_connect(address: SocketAddr) -> tokio_rustls::client::TlsStream<TcpStream> {
    let tcp = TcpStream::connect(address).await.unwrap();
    connect(tcp, "localhost", &Trust::File(certificate("ca.pem")))
        .await
        .unwrap()
}
