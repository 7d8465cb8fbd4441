//! sealock itself: its folder, its configuration, the process, and what an operator asks it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use sealock::tls::DevelopmentCa;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::accounts::Books;
use crate::config::{TOKEN, routes, text};
use crate::wire::{Connection, PATIENCE, Security, within};

/// The names of the certificates: the listener's own, which is replaced now and then, and one more.
pub const NAMES: [&str; 2] = ["localhost", "chat.soak.test"];

/// The shortest deadline of the admin listener: that for heads.
const ADMIN_PATIENCE: Duration = Duration::from_secs(1);

/// Where sealock listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub plain: SocketAddr,
    pub tls: SocketAddr,
    /// The same with little patience for heads.
    pub hasty_plain: SocketAddr,
    pub hasty_tls: SocketAddr,
    /// With little patience for TLS handshakes.
    pub hasty_handshake: SocketAddr,
    /// With TLS, for proxies only.
    pub proxied: SocketAddr,
    /// The same with little patience.
    pub hasty_proxied: SocketAddr,
    pub admin: SocketAddr,
}

/// What a process holds when nobody uses it.
#[derive(Clone, Debug)]
pub struct Rest {
    pub files: BTreeMap<String, usize>,
    pub tasks: u64,
    pub buffers: u64,
    /// Anonymous memory in use, in KiB.
    pub memory: u64,
}

impl Rest {
    /// The least of both: checks of backends, and whoever looks, come and go.
    pub fn least(&self, other: &Self) -> Self {
        let total = |rest: &Self| rest.files.values().sum::<usize>();
        let fewer = if total(self) < total(other) { self } else { other };
        Self {
            files: fewer.files.clone(),
            tasks: self.tasks.min(other.tasks),
            buffers: self.buffers.min(other.buffers),
            memory: self.memory.min(other.memory),
        }
    }
}

/// See the module's documentation.
pub struct Stage {
    pub ports: Ports,
    pub books: Arc<Books>,
    pub pid: u32,
    pub security: Security,
    pub other_name: Security,
    /// Held by whoever needs descriptors of sealock, or takes them away.
    pub files: Mutex<()>,
    /// The leaf of each certificate that the listener may show.
    pub leaves: [Vec<u8>; 2],
    dir: tempfile::TempDir,
    routes: String,
}

impl Stage {
    /// Starts the backends and sealock.
    pub async fn start(books: Arc<Books>) -> (Arc<Self>, Child) {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let made =
            [NAMES[0], NAMES[0], NAMES[1]].map(|name| DevelopmentCa::make(&[name.to_owned()]).unwrap());
        let mut roots = RootCertStore::empty();
        for (folder, made) in ["certs-0", "certs-1", "chat"].into_iter().zip(&made) {
            let folder = dir.path().join(folder);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("tls.crt"), &made.cert_pem).unwrap();
            fs::write(folder.join("tls.key"), &made.key_pem).unwrap();
            roots
                .add(CertificateDer::from_pem_slice(made.ca_pem.as_bytes()).unwrap())
                .unwrap();
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        let leaf = |made: &DevelopmentCa| {
            CertificateDer::from_pem_slice(made.cert_pem.as_bytes())
                .unwrap()
                .to_vec()
        };
        let leaves = [leaf(&made[0]), leaf(&made[1])];
        fs::write(dir.path().join("backend-ca.pem"), &made[2].ca_pem).unwrap();
        let routes = routes(&books, &acceptor(&made[2])).await;
        let path = dir.path().to_owned();
        point(&path, 0);
        fs::write(path.join("sealock.toml"), text(&path, &routes, false)).unwrap();
        let mut child = Command::new(binary())
            .args(["run", "--log-format", "json", "-c"])
            .arg(path.join("sealock.toml"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut addresses = Vec::new();
        while addresses.len() < 8 {
            let line = within(said.next_line()).await.unwrap().expect("sealock starts");
            if let Some((_, address)) = line.split_once("://") {
                addresses.push(address.parse().unwrap());
            }
        }
        let ports = Ports {
            plain: addresses[0],
            tls: addresses[1],
            hasty_plain: addresses[2],
            hasty_tls: addresses[3],
            hasty_handshake: addresses[4],
            proxied: addresses[5],
            hasty_proxied: addresses[6],
            admin: addresses[7],
        };
        let stage = Self {
            ports,
            books,
            pid: child.id().unwrap(),
            security: Security::Tls(Arc::clone(&config), NAMES[0]),
            other_name: Security::Tls(config, NAMES[1]),
            files: Mutex::default(),
            leaves,
            dir,
            routes,
        };
        (Arc::new(stage), child)
    }

    /// Puts a good file in place: one of two, which differ in a route, in the log level and in a limit.
    pub fn write_config(&self, other: bool) {
        self.replace("sealock.toml", &text(self.dir.path(), &self.routes, other));
    }

    /// Puts a bad file in place.
    pub fn write_bad_config(&self) {
        self.replace("sealock.toml", "[[route]]\nname = \"this is not a name\"\n");
    }

    fn replace(&self, name: &str, text: &str) {
        let new = self.dir.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.dir.path().join(name)).unwrap();
    }

    /// Points the symbolic link at one of the two certificates.
    pub fn swap_certificate(&self, which: usize) {
        point(self.dir.path(), which);
    }

    /// The path of the log.
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("sealock.log")
    }

    /// Asks the admin listener; status and body.
    pub async fn ask(&self, request: &str) -> io::Result<(u16, String)> {
        self.ask_as(
            request,
            &format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"),
        )
        .await
    }

    /// The same with these header lines.
    pub async fn ask_as(&self, request: &str, headers: &str) -> io::Result<(u16, String)> {
        let begin = Instant::now();
        loop {
            let start = Instant::now();
            let answer = self.ask_once(request, headers).await;
            // Whoever was kept from the processor for so long may have been too late with the head.
            let late = start.elapsed() >= ADMIN_PATIENCE && begin.elapsed() < PATIENCE;
            if answer.is_ok() || !late {
                return answer;
            }
        }
    }

    async fn ask_once(&self, request: &str, headers: &str) -> io::Result<(u16, String)> {
        let stream = within(tokio::net::TcpStream::connect(self.ports.admin)).await?;
        let mut connection = Connection::plain(stream);
        connection
            .send(format!("{request} HTTP/1.1\r\n{headers}\r\n").as_bytes())
            .await?;
        connection.answer().await
    }

    /// All samples of `/metrics`.
    pub async fn metrics(&self) -> io::Result<BTreeMap<String, f64>> {
        let (status, text) = self.ask("GET /metrics").await?;
        if status != 200 {
            return Err(io::Error::other(format!("/metrics answered {status}")));
        }
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let mut parsed = BTreeMap::new();
        for line in samples {
            let sample = line.rsplit_once(' ');
            let value = sample.and_then(|(name, value)| Some((name, value.parse::<f64>().ok()?)));
            let (name, value) = value.ok_or_else(|| io::Error::other("/metrics cannot be read"))?;
            *parsed.entry(counted_as(name)).or_default() += value;
        }
        Ok(parsed)
    }

    /// Waits until a sample of `/metrics` is as it has to be.
    pub async fn until(&self, name: &str, right: impl Fn(f64) -> bool) -> io::Result<f64> {
        let start = Instant::now();
        loop {
            let value = self.metrics().await?.get(name).copied().unwrap_or_default();
            if right(value) {
                return Ok(value);
            }
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{name} stays at {value}")));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends the process a signal by name.
    pub async fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid.to_string())
            .status()
            .await;
        assert!(sent.unwrap().success());
    }

    /// How many descriptors the process has open, by what they are.
    pub fn files_by_kind(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        let folder = format!("/proc/{}/fd", self.pid);
        for entry in fs::read_dir(folder).unwrap() {
            // One that was closed just now has nothing to read.
            let Ok(target) = fs::read_link(entry.unwrap().path()) else {
                continue;
            };
            let target = target.to_string_lossy().into_owned();
            let kind = target.split(":[").next().unwrap_or_default().to_owned();
            *kinds.entry(kind).or_default() += 1;
        }
        kinds
    }

    /// What the process holds now. Nobody should use it.
    pub async fn rest(&self) -> io::Result<Rest> {
        let metrics = self.metrics().await?;
        let whole = |name: &str| metrics.get(name).copied().unwrap_or_default() as u64;
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let memory = memory.and_then(|line| line.split_whitespace().next()?.parse().ok());
        Ok(Rest {
            files: self.files_by_kind(),
            tasks: whole("sealock_tasks"),
            buffers: whole("sealock_buffer_bytes"),
            memory: memory.unwrap_or_default(),
        })
    }
}

/// What a service behind TLS shows.
fn acceptor(made: &DevelopmentCa) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(made.cert_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(made.key_pem.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// The program: the one that the environment names, or that of this build.
fn binary() -> OsString {
    std::env::var_os("SEALOCK").unwrap_or_else(|| env!("CARGO_BIN_EXE_sealock").into())
}

/// Replaces the link as Kubernetes does.
fn point(dir: &Path, which: usize) {
    let new = dir.join("new-link");
    std::os::unix::fs::symlink(format!("certs-{which}"), &new).unwrap();
    fs::rename(new, dir.join("certs")).unwrap();
}

/// The name under which a sample is compared: a route that reloads take away and bring back is counted together with those that are no
/// more while it is away.
pub fn counted_as(name: &str) -> String {
    name.replace("route=\"sometimes\"", "route=\"\"")
}
