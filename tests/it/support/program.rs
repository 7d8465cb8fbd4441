//! The program under test, as a process of its own.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use sealock::tls::DevelopmentCa;
use sealock::tls::client::{self, Trust};

use super::soon;

/// One development CA for the whole run. What is static is not dropped, so its files stay behind, where `cargo clean` finds them.
static CERTS: LazyLock<(tempfile::TempDir, DevelopmentCa)> = LazyLock::new(|| {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let made = DevelopmentCa::make(&names).unwrap();
    std::fs::write(dir.path().join("ca.pem"), &made.ca_pem).unwrap();
    std::fs::write(dir.path().join("dev.pem"), &made.cert_pem).unwrap();
    std::fs::write(dir.path().join("dev.key"), &made.key_pem).unwrap();
    (dir, made)
});

/// A running sealock with two listeners, one in the clear and one with TLS, and perhaps one for its operator. Killed when dropped.
pub struct Program {
    /// The listener in the clear, where there is one.
    pub plain: SocketAddr,
    /// The listener with TLS.
    pub tls: SocketAddr,
    /// All listeners, in the order of the file.
    pub listeners: Vec<SocketAddr>,
    /// The admin listener, where the file has one.
    pub admin: Option<SocketAddr>,
    child: Child,
    records: mpsc::UnboundedReceiver<Value>,
    log: watch::Receiver<String>,
    /// Until the end of the log has been read, or nobody reads it any more.
    log_reader: Option<JoinHandle<()>>,
    dir: tempfile::TempDir,
}

impl Program {
    /// Starts sealock with these lines of configuration behind its two listeners.
    pub async fn start(config: &str) -> Self {
        Self::start_with("", config).await
    }

    /// The same with lines at the top of the file, and settings of both listeners written as `listener.key = value` lines in `top`.
    pub async fn start_with(top: &str, config: &str) -> Self {
        Self::start_file(&Self::file(top, config)).await
    }

    /// The file that [`Program::start_with`] uses.
    pub fn file(top: &str, config: &str) -> String {
        let (settings, top): (Vec<&str>, Vec<&str>) =
            top.lines().partition(|line| line.starts_with("listener."));
        let settings: String = settings
            .iter()
            .map(|line| format!("{}\n", &line["listener.".len()..]))
            .collect();
        let (cert, key) = (certificate("dev.pem"), certificate("dev.key"));
        format!(
            "{}\n[[listener]]\nbind = \"127.0.0.1:0\"\nplaintext = \"loopback\"\n{settings}\n\
             [[listener]]\nbind = \"127.0.0.1:0\"\ncert_file = {cert:?}\nkey_file = {key:?}\n{settings}\n{config}",
            top.join("\n"),
        )
    }

    /// One more listener with TLS, with these settings, for the lines behind the two.
    pub fn more_tls(settings: &str) -> String {
        let (cert, key) = (certificate("dev.pem"), certificate("dev.key"));
        format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\ncert_file = {cert:?}\nkey_file = {key:?}\n{settings}\n"
        )
    }

    /// The same in the clear.
    pub fn more_plain(settings: &str) -> String {
        format!("[[listener]]\nbind = \"127.0.0.1:0\"\nplaintext = \"loopback\"\n{settings}\n")
    }

    /// Starts sealock with a whole file, which must have two listeners or more.
    pub async fn start_file(file: &str) -> Self {
        Self::launch(file, "json", &[]).await
    }

    /// The same with a format of the log, and variables in its environment.
    pub async fn launch(file: &str, log_format: &str, environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sealock.toml");
        std::fs::write(&path, file).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealock"));
        command
            .args(["run", "--log-level", "debug", "--log-format", log_format, "-c"])
            .arg(&path)
            .envs(environment.iter().copied());
        let listeners = file.matches("[[listener]]").count();
        Self::spawn(command, listeners, file.contains("[admin]"), dir).await
    }

    /// Starts sealock with the file `sealock.toml` of a folder, which must have two listeners. The file, or what is usual, says what is
    /// logged.
    pub async fn start_in(dir: tempfile::TempDir, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealock"));
        command
            .args(["run", "-c"])
            .arg(dir.path().join("sealock.toml"))
            .envs(environment.iter().copied());
        let admin = std::fs::read_to_string(dir.path().join("sealock.toml"))
            .unwrap()
            .contains("[admin]");
        Self::spawn(command, 2, admin, dir).await
    }

    /// Starts sealock with a whole file as the last arguments of another command, which becomes it. This many listeners come up.
    pub async fn start_by(mut command: Command, file: &str, listeners: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sealock.toml");
        std::fs::write(&path, file).unwrap();
        command
            .args([env!("CARGO_BIN_EXE_sealock"), "run", "--log-format", "json", "-c"])
            .arg(&path);
        Self::spawn(command, listeners, file.contains("[admin]"), dir).await
    }

    /// Starts sealock by a line of the shell, which finds it as `$0`, in a folder. It has two listeners and the admin listener.
    pub async fn start_from(line: &str, folder: &Path) -> Self {
        let mut command = Command::new("bash");
        command
            .args(["-c", line, env!("CARGO_BIN_EXE_sealock")])
            .current_dir(folder);
        Self::spawn(command, 2, true, tempfile::tempdir().unwrap()).await
    }

    /// Starts the demo, whose one listener has TLS.
    pub async fn demo() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealock"));
        let words = [
            "--bind",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--log-level",
            "debug",
        ];
        command.arg("demo").args(words);
        Self::spawn(command, 1, false, tempfile::tempdir().unwrap()).await
    }

    async fn spawn(mut command: Command, listeners: usize, admin: bool, dir: tempfile::TempDir) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (sender, records) = mpsc::unbounded_channel();
        let (all, log) = watch::channel(String::new());
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log_reader = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                all.send_modify(|all| all.push_str(&format!("{line}\n")));
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
        while addresses.len() < listeners + usize::from(admin) {
            let line = soon("sealock's addresses", said.next_line()).await.unwrap();
            let Some(line) = line else {
                panic!("sealock did not start:\n{}", *log.borrow())
            };
            if let Some((_, address)) = line.split_once("://") {
                addresses.push(address.parse().unwrap());
            }
        }
        Self {
            plain: addresses[0],
            tls: addresses[1.min(listeners - 1)],
            admin: admin.then(|| addresses[listeners]),
            listeners: addresses[..listeners].to_vec(),
            child,
            records,
            log,
            log_reader: Some(log_reader),
            dir,
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
        self.log.borrow().clone()
    }

    /// Waits until something has been logged, and gives the whole log.
    pub async fn logged(&mut self, what: &str) -> String {
        let waited = soon(what, self.log.wait_for(|log| log.contains(what))).await;
        waited.expect("sealock runs").clone()
    }

    /// Waits until something has been logged so many times.
    pub async fn logged_times(&mut self, what: &str, times: usize) {
        let enough = |log: &String| log.matches(what).count() >= times;
        soon(what, self.log.wait_for(enough)).await.expect("sealock runs");
    }

    /// Stops reading the log, and closes the pipe that it comes through.
    pub async fn close_log(&mut self) {
        if let Some(reader) = self.log_reader.take() {
            reader.abort();
            drop(reader.await);
        }
    }

    /// The most memory that the process has had so far, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// The memory that the process has now, without that of files, in KiB.
    pub fn memory(&self) -> u64 {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).unwrap();
        let line = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Anonymous:"))
            .unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Asserts that the process has not grown with what passed through it since it had this peak. What it may still have grown by is
    /// the buffers of its threads, and code that had not run before.
    pub fn expect_no_growth(&self, before: u64) {
        // The system counts with some slack, so the peak may be told lower than before.
        let grown = self.peak_memory().saturating_sub(before);
        assert!(grown < 8 * 1024, "{grown} KiB more");
    }

    /// The path of a file in the folder of its configuration.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
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

    /// Waits for the end of the process and gives its exit code. By then all that it has logged has been read too, unless that was
    /// given up.
    pub async fn exit(&mut self) -> Option<i32> {
        let status = soon("sealock's end", self.child.wait()).await.unwrap();
        if let Some(reader) = self.log_reader.take() {
            soon("the end of sealock's log", reader).await.unwrap();
        }
        status.code()
    }
}

/// What a command of sealock printed, and its exit code.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command of sealock to its end, with this on its standard input, as on a terminal of 80 columns.
pub async fn sealock<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sealock"))
        .args(args)
        .env("COLUMNS", "80")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // A command that reads nothing may be gone by now.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()).await);
    let output = soon("sealock's end", child.wait_with_output()).await.unwrap();
    Output {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The path of a file of the run's certificates: `ca.pem`, `dev.pem`, `dev.key`.
pub fn certificate(name: &str) -> PathBuf {
    CERTS.0.path().join(name)
}

/// A connection whose small writes leave at once.
pub async fn connect(address: SocketAddr) -> TcpStream {
    let tcp = soon("a connection", TcpStream::connect(address)).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp
}

/// A connection from this address of loopback.
pub async fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
    soon("a connection", socket.connect(to)).await.unwrap()
}

/// A TLS connection that trusts the run's CA.
pub async fn tls_connect(address: SocketAddr) -> tokio_rustls::client::TlsStream<TcpStream> {
    tls_connect_over(connect(address).await).await
}

/// The same over a connection on which something has been said already.
pub async fn tls_connect_over(tcp: TcpStream) -> tokio_rustls::client::TlsStream<TcpStream> {
    client::connect(tcp, "localhost", &Trust::File(certificate("ca.pem")))
        .await
        .unwrap()
}
