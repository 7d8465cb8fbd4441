//! The operator, who changes everything while clients come and go; and whoever looks at the metrics all the time.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::sync::CancellationToken;

use crate::accounts::ClientView;
use crate::config::SERVICES;
use crate::log::Order;
use crate::stage::{NAMES, Stage};
use crate::wire::{self, PATIENCE, Security, Told, next_client, within};

/// What the operator does, each again and again.
#[derive(Clone, Copy, Debug)]
enum Deed {
    ReloadBySignal,
    ReloadByRequest,
    ReloadByItself,
    BadFileBySignal,
    BadFileByRequest,
    SwapCertificate,
    DrainRoute,
    Drain,
    CloseSession,
    TakeDescriptors,
    RenameLog,
    AskWrongly,
}

const DEEDS: [Deed; 12] = [
    Deed::ReloadBySignal,
    Deed::ReloadByRequest,
    Deed::ReloadByItself,
    Deed::BadFileBySignal,
    Deed::BadFileByRequest,
    Deed::SwapCertificate,
    Deed::DrainRoute,
    Deed::Drain,
    Deed::CloseSession,
    Deed::TakeDescriptors,
    Deed::RenameLog,
    Deed::AskWrongly,
];

/// Descriptors that sealock may have beside those that it has: three, and those that it keeps for other things than sessions.
const SPARE: usize = 3 + 32;

struct Operator {
    stage: Arc<Stage>,
    log: mpsc::Sender<Order>,
    random: fastrand::Rng,
    /// Which of the two good files is in place.
    other: bool,
    certificate: usize,
    /// Sessions end by themselves from then on.
    stop: CancellationToken,
}

/// Does one thing after another until it is told to stop; then the first configuration is in force again.
pub async fn run(stage: Arc<Stage>, log: mpsc::Sender<Order>, seed: u64, stop: &CancellationToken) {
    let mut operator = Operator {
        stage,
        log,
        random: fastrand::Rng::with_seed(seed),
        other: false,
        certificate: 0,
        stop: stop.clone(),
    };
    let mut bag = Vec::new();
    while !stop.is_cancelled() {
        let deed = bag.pop().unwrap_or_else(|| {
            bag = DEEDS.to_vec();
            operator.random.shuffle(&mut bag);
            bag.pop().unwrap_or(Deed::CloseSession)
        });
        if let Err(error) = operator.perform(deed).await {
            operator
                .stage
                .books
                .complain(format!("operator, {deed:?}: {error}"));
        }
        let wait = Duration::from_millis(operator.random.u64(100..900));
        drop(timeout(wait, stop.cancelled()).await);
    }
    let restored = async {
        if operator.certificate != 0 {
            operator.swap().await?;
        }
        if operator.other {
            operator.change(Some(Cause::Request)).await?;
        }
        io::Result::Ok(())
    };
    if let Err(error) = restored.await {
        operator
            .stage
            .books
            .complain(format!("operator, restoring: {error}"));
    }
}

/// Who asks for a reload.
#[derive(Clone, Copy)]
enum Cause {
    Signal,
    Request,
}

fn expect(right: bool, what: impl FnOnce() -> String) -> io::Result<()> {
    if right {
        Ok(())
    } else {
        Err(io::Error::other(what()))
    }
}

impl Operator {
    async fn perform(&mut self, deed: Deed) -> io::Result<()> {
        let books = Arc::clone(&self.stage.books);
        match deed {
            Deed::ReloadBySignal => self.change(Some(Cause::Signal)).await?,
            Deed::ReloadByRequest => self.change(Some(Cause::Request)).await?,
            Deed::ReloadByItself => self.change(None).await?,
            Deed::BadFileBySignal => self.spoil(Cause::Signal).await?,
            Deed::BadFileByRequest => self.spoil(Cause::Request).await?,
            Deed::SwapCertificate => self.swap().await?,
            Deed::DrainRoute => self.drain_route().await?,
            Deed::Drain => self.drain().await?,
            Deed::CloseSession => self.close().await?,
            Deed::TakeDescriptors => self.take_descriptors().await?,
            Deed::RenameLog => self.rename_log().await?,
            Deed::AskWrongly => self.ask_wrongly().await?,
        }
        books.count(name(deed), 1);
        Ok(())
    }

    async fn metric(&self, name: &str) -> io::Result<f64> {
        Ok(self.stage.metrics().await?.get(name).copied().unwrap_or_default())
    }

    async fn generation(&self) -> io::Result<f64> {
        self.metric("sealock_generation").await
    }

    async fn post(&self, path: &str, expected: u16) -> io::Result<Value> {
        let (status, body) = self.stage.ask(&format!("POST {path}")).await?;
        expect(status == expected, || format!("POST {path}: {status} {body}"))?;
        serde_json::from_str(&body).map_err(io::Error::other)
    }

    /// Puts the other good file in force.
    async fn change(&mut self, cause: Option<Cause>) -> io::Result<()> {
        let before = self.generation().await?;
        self.other = !self.other;
        self.stage.write_config(self.other);
        match cause {
            None => {}
            Some(Cause::Signal) => self.stage.signal("HUP").await,
            Some(Cause::Request) => {
                let answer = self.post("/-/reload", 200).await?;
                expect(answer["waits_for_restart"] == Value::Array(Vec::new()), || {
                    answer.to_string()
                })?;
            }
        }
        self.stage.until("sealock_generation", |now| now > before).await?;
        let most = if self.other { 4000.0 } else { 5000.0 };
        self.stage
            .until("sealock_sessions_limit", |now| now == most)
            .await?;
        self.stage
            .until("sealock_reload_failed", |now| now == 0.0)
            .await?;
        Ok(())
    }

    /// Puts a bad file in place, which must change nothing; then the good one.
    async fn spoil(&mut self, cause: Cause) -> io::Result<()> {
        let (generation, most) = (
            self.generation().await?,
            self.metric("sealock_sessions_limit").await?,
        );
        self.stage.write_bad_config();
        match cause {
            Cause::Signal => self.stage.signal("HUP").await,
            Cause::Request => {
                let answer = self.post("/-/reload", 422).await?;
                expect(
                    answer["error"].as_str().is_some_and(|said| said.contains("name")),
                    || answer.to_string(),
                )?;
            }
        }
        self.stage
            .until("sealock_reload_failed", |now| now == 1.0)
            .await?;
        let now = (
            self.generation().await?,
            self.metric("sealock_sessions_limit").await?,
        );
        expect(now == (generation, most), || format!("{now:?} after a bad file"))?;
        self.stage.write_config(self.other);
        self.post("/-/reload", 200).await?;
        self.stage
            .until("sealock_reload_failed", |now| now == 0.0)
            .await?;
        Ok(())
    }

    /// Replaces the certificate by another link, which sealock notices by itself.
    async fn swap(&mut self) -> io::Result<()> {
        let before = self.generation().await?;
        self.certificate = 1 - self.certificate;
        self.stage.swap_certificate(self.certificate);
        self.stage.until("sealock_generation", |now| now > before).await?;
        // A reload that was asked for before may have come just now.
        let start = Instant::now();
        while self.shown().await? != self.stage.leaves[self.certificate] {
            expect(start.elapsed() < PATIENCE, || {
                "the old certificate is shown".into()
            })?;
        }
        Ok(())
    }

    /// The certificate that is shown to a client now, who then leaves.
    async fn shown(&self) -> io::Result<Vec<u8>> {
        let Security::Tls(config, _) = &self.stage.security else {
            return Err(io::Error::other("no TLS"));
        };
        let opened = Instant::now();
        let stream = wire::tcp(&self.stage.books, next_client(), self.stage.ports.tls, false).await?;
        let address = stream.local_addr()?;
        let name = ServerName::try_from(NAMES[0]).map_err(io::Error::other)?;
        let shaken = within(TlsConnector::from(Arc::clone(config)).connect(name, stream)).await;
        let leaf = shaken.map(|stream| {
            let shown = stream.get_ref().1.peer_certificates();
            shown
                .and_then(|chain| chain.first())
                .map(|leaf| leaf.to_vec())
                .unwrap_or_default()
        });
        self.stage.books.client(
            address,
            ClientView {
                kind: "a look at the certificate",
                framing: None,
                opened,
                expected: &[("client_left", Told::Nothing)],
                told: Told::Nothing,
                sent: Vec::new(),
                received: (0, 0),
                complete: false,
            },
        );
        leaf
    }

    async fn drain_route(&mut self) -> io::Result<()> {
        let at = self.random.usize(..SERVICES.len());
        let route = SERVICES[at].name;
        let sample = format!("sealock_sessions{{route=\"{route}\"}}");
        self.stage.books.weather(true);
        let begun = async {
            self.post(&format!("/-/drain?route={route}"), 202).await?;
            let (status, _) = self.stage.ask("GET /readyz").await?;
            expect(status == 200, || {
                format!("/readyz says {status} while a route is drained")
            })?;
            self.stage.until(&sample, |now| now == 0.0).await
        };
        let drained = begun.await;
        self.post(&format!("/-/undrain?route={route}"), 202).await?;
        self.stage.books.weather(false);
        drained.map(drop)
    }

    async fn drain(&mut self) -> io::Result<()> {
        self.stage.books.weather(true);
        let begun = async {
            self.post("/-/drain", 202).await?;
            let (status, body) = self.stage.ask("GET /readyz").await?;
            expect((status, body.as_str()) == (503, "draining\n"), || {
                format!("/readyz says {status} {body}")
            })?;
            self.stage.until("sealock_ready", |now| now == 0.0).await?;
            sleep(Duration::from_millis(self.random.u64(..1500))).await;
            io::Result::Ok(())
        };
        let drained = begun.await;
        self.post("/-/undrain", 202).await?;
        self.stage.books.weather(false);
        drained?;
        let (status, _) = self.stage.ask("GET /readyz").await?;
        expect(status == 200, || format!("/readyz says {status} after a drain"))
    }

    /// Ends some session, wherever it is.
    async fn close(&mut self) -> io::Result<()> {
        let (_, body) = self.stage.ask("GET /api/v1/sessions?limit=1000").await?;
        let listed: Value = serde_json::from_str(&body).map_err(io::Error::other)?;
        let sessions = listed["sessions"].as_array().cloned().unwrap_or_default();
        for _ in 0..self.random.usize(1..4) {
            let Some(session) = sessions.get(self.random.usize(..sessions.len().max(1))) else {
                continue;
            };
            self.stage.books.weather(true);
            let (status, body) = self
                .stage
                .ask(&format!("POST /api/v1/sessions/{}/close", session["id"]))
                .await?;
            self.stage.books.weather(false);
            // It may have ended by itself.
            expect(status == 202 || status == 404, || {
                format!("closing a session: {status} {body}")
            })?;
        }
        Ok(())
    }

    /// Leaves sealock almost no descriptors for a while. Sessions that run must not notice.
    async fn take_descriptors(&mut self) -> io::Result<()> {
        let _held = self.stage.files.lock().await;
        self.stage.books.weather(true);
        let open: usize = self.stage.files_by_kind().values().sum();
        let moved = |metrics: &BTreeMap<String, f64>| -> f64 {
            let samples = metrics
                .iter()
                .filter(|(name, _)| name.starts_with("sealock_messages_total"));
            samples.map(|(_, count)| count).sum()
        };
        let before = self.stage.metrics().await?;
        self.limit_files(open + SPARE).await?;
        sleep(Duration::from_millis(self.random.u64(500..2000))).await;
        let start = Instant::now();
        let after = loop {
            let after = self.stage.metrics().await;
            let over = self.stop.is_cancelled() || start.elapsed() > PATIENCE;
            if over || after.as_ref().map_or(true, |after| moved(after) > moved(&before)) {
                break after;
            }
            sleep(Duration::from_millis(50)).await;
        };
        self.limit_files(100_000).await?;
        self.stage.books.weather(false);
        let after = after?;
        let errors = |metrics: &BTreeMap<String, f64>| {
            metrics
                .get("sealock_accept_errors_total")
                .copied()
                .unwrap_or_default()
        };
        self.stage.books.count(
            "accepts that failed for lack of descriptors",
            (errors(&after) - errors(&before)) as u64,
        );
        expect(self.stop.is_cancelled() || moved(&after) > moved(&before), || {
            "no message was moved while descriptors were short".into()
        })
    }

    async fn limit_files(&self, limit: usize) -> io::Result<()> {
        let hard = std::fs::read_to_string(format!("/proc/{}/limits", self.stage.pid))?;
        let line = hard.lines().find(|line| line.starts_with("Max open files"));
        let most = line
            .and_then(|line| line.split_whitespace().nth(4)?.parse().ok())
            .unwrap_or(limit);
        let done = Command::new("prlimit")
            .args([
                "--pid",
                &self.stage.pid.to_string(),
                &format!("--nofile={}:", limit.min(most)),
            ])
            .status()
            .await?;
        expect(done.success(), || "prlimit failed".into())
    }

    async fn rename_log(&mut self) -> io::Result<()> {
        let _held = self.stage.files.lock().await;
        let (done, renamed) = oneshot::channel();
        self.log
            .send(Order::Rotate(done))
            .await
            .map_err(io::Error::other)?;
        renamed.await.map_err(io::Error::other)
    }

    /// Asks for what nobody may have.
    async fn ask_wrongly(&mut self) -> io::Result<()> {
        let host = "Host: localhost\r\n";
        for (request, headers, expected) in [
            ("GET /metrics", host, 401),
            ("POST /-/drain", host, 401),
            ("GET /healthz", "Host: rebound.example\r\n", 421),
            ("GET /healthz", host, 200),
            ("GET /readyz", host, 200),
        ] {
            let (status, body) = self.stage.ask_as(request, headers).await?;
            expect(status == expected, || format!("{request}: {status} {body}"))?;
        }
        Ok(())
    }
}

fn name(deed: Deed) -> &'static str {
    match deed {
        Deed::ReloadBySignal => "reloads by signal",
        Deed::ReloadByRequest => "reloads by request",
        Deed::ReloadByItself => "reloads by a change",
        Deed::BadFileBySignal => "bad files, by signal",
        Deed::BadFileByRequest => "bad files, by request",
        Deed::SwapCertificate => "certificates swapped",
        Deed::DrainRoute => "drains of a route",
        Deed::Drain => "drains of the process",
        Deed::CloseSession => "rounds of closing sessions",
        Deed::TakeDescriptors => "times without descriptors",
        Deed::RenameLog => "log renamed",
        Deed::AskWrongly => "rounds of wrong questions",
    }
}

/// Reads the metrics and the lists all the time. No count may ever fall.
pub async fn watch(stage: &Stage, stop: &CancellationToken) {
    let mut before = BTreeMap::new();
    while !stop.is_cancelled() {
        match look(stage, &mut before).await {
            Ok(()) => {}
            Err(error) => stage.books.complain(format!("the admin listener: {error}")),
        }
        stage.books.count("looks at the admin listener", 1);
        drop(timeout(Duration::from_millis(200), stop.cancelled()).await);
    }
}

async fn look(stage: &Stage, before: &mut BTreeMap<String, f64>) -> io::Result<()> {
    let now = stage.metrics().await?;
    let before = std::mem::replace(before, now.clone());
    for (name, value) in before
        .into_iter()
        .filter(|(name, _)| name.contains("_total") || name.contains("_count"))
    {
        let after = now.get(&name).copied().unwrap_or_default();
        expect(after >= value, || format!("{name} fell from {value} to {after}"))?;
    }
    for path in ["status", "routes", "sessions"] {
        let (status, body) = stage.ask(&format!("GET /api/v1/{path}")).await?;
        let parsed: Result<Value, _> = serde_json::from_str(&body);
        expect(status == 200 && parsed.is_ok(), || {
            format!("/api/v1/{path}: {status} {body}")
        })?;
    }
    Ok(())
}
