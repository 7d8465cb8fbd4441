//! Measures one scenario of one proxy once.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use crate::Result;
use crate::handshakes::Handshakes;
use crate::load::{Budget, Client, Dialer, Identity, Load, Stage, client_config, open};
use crate::measure::{Clock, Tree, kernel_bytes, percentile};
use crate::proxy::{Kind, Programs, Proxy};
use crate::scenario::{Figure, Scenario, Work};
use crate::traffic::Framing;

/// No measurement takes longer than this beyond its interval.
const LIMIT: Duration = Duration::from_secs(150);
/// Time for a finite load to pass.
const PASSING: Duration = Duration::from_secs(60);
/// Until memory has settled.
const SETTLING: Duration = Duration::from_millis(500);
/// Until memory has settled when all sessions have closed: sealock's allocator gives back in the course of ten seconds.
const RELEASING: Duration = Duration::from_secs(12);
/// Sessions of the largest scenarios.
const MOST: u32 = 9000;
/// Files that a proxy may open for itself while it runs.
const FEW: usize = 16;
/// Connections made at a time.
const SLOTS: u32 = 16;
/// Sessions whose waiting time is measured, and how often each sends.
const PROBES: u32 = 16;
const PACE: Duration = Duration::from_millis(10);

/// What measuring needs.
pub(crate) struct Env {
    pub(crate) programs: Programs,
    pub(crate) identity: Identity,
    /// How long messages flow.
    pub(crate) seconds: f64,
    /// How long idle sessions are watched.
    pub(crate) idle_seconds: f64,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) figures: Vec<(Figure, f64)>,
    /// How busy the proxy and the generator were: 1 is a whole processor.
    pub(crate) busy: Option<(f64, f64)>,
}

/// Measures.
pub(crate) async fn measure(scenario: &Scenario, kind: Kind, env: &Env) -> Result<Found> {
    let limit = LIMIT + Duration::from_secs_f64(env.seconds.max(env.idle_seconds));
    let found = async {
        let (load, large) = traffic(scenario.work);
        let mut setting = Setting::new(kind, env, load, large).await?;
        let found = match scenario.work {
            Work::Flow { sessions, .. } => flow(&mut setting, env, sessions).await,
            Work::Handshake { resume } => handshake(&mut setting, env, resume).await,
            Work::Idle { sessions } => idle(&mut setting, sessions).await,
            Work::IdleCpu { sessions } => idle_cpu(&mut setting, env, sessions).await,
            Work::Peak { .. } => peak(&mut setting).await,
            Work::Stall => stall(&mut setting, env).await,
        };
        // A proxy that is asked to end may wait for its sessions.
        setting.stage.cut().await;
        found
    };
    timeout(limit, found)
        .await
        .map_err(|_| format!("not over after {} s", limit.as_secs()))?
}

/// What the sessions of a scenario send, and whether their messages may be large.
fn traffic(work: Work) -> (Load, bool) {
    // Echoes, once they are told to.
    let quiet = |framing, size| Load {
        framing,
        size,
        up: Budget::some(1),
        down: Budget::ANSWERS,
        batch: false,
    };
    match work {
        Work::Flow { load, large, .. } => (load, large),
        Work::Peak { load } => (load, true),
        Work::Idle { .. } => (quiet(Framing::U32be, 16 * 1024), false),
        Work::Handshake { .. } | Work::IdleCpu { .. } | Work::Stall => (quiet(Framing::Raw, 64), false),
    }
}

/// A backend with a proxy before it.
struct Setting {
    kind: Kind,
    load: Load,
    stage: Stage,
    proxy: Proxy,
    dialer: Rc<Dialer>,
}

impl Setting {
    async fn new(kind: Kind, env: &Env, load: Load, large: bool) -> Result<Self> {
        let stage = Stage::new(load).await?;
        let proxy = Proxy::start(kind, &env.programs, stage.backend).await?;
        let dialer = Dialer {
            address: proxy.address,
            tls: tls(kind, env, false)?,
            path: kind.path(load.framing, large),
        };
        Ok(Self {
            kind,
            load,
            stage,
            proxy,
            dialer: Rc::new(dialer),
        })
    }
}

/// How clients speak TLS with a proxy, if they do.
fn tls(kind: Kind, env: &Env, resume: bool) -> Result<Option<Arc<ClientConfig>>> {
    let config = kind.is_tls().then(|| client_config(&env.identity, resume));
    config.transpose()
}

/// An interval of time, and what proxy and generator used in it.
struct Interval {
    start: Instant,
    proxy: (Tree, Clock),
    own: (Tree, Clock),
}

impl Interval {
    fn start(proxy: &Proxy) -> Result<Self> {
        let (proxy, own) = (proxy.tree()?, Tree::one(std::process::id()));
        let (proxy_clock, own_clock) = (proxy.clock()?, own.clock()?);
        Ok(Self {
            start: Instant::now(),
            proxy: (proxy, proxy_clock),
            own: (own, own_clock),
        })
    }

    /// Nanoseconds of the proxy, the seconds that passed, and how busy both were.
    fn end(self) -> Result<(f64, f64, (f64, f64))> {
        let used = |(tree, clock): &(Tree, Clock)| -> Result<f64> { Ok(tree.clock()?.since(clock) as f64) };
        let (proxy, own) = (used(&self.proxy)?, used(&self.own)?);
        let nanos = self.start.elapsed().as_nanos() as f64;
        Ok((proxy, nanos / 1e9, (proxy / nanos, own / nanos)))
    }
}

fn warm_up(env: &Env) -> Duration {
    Duration::from_secs_f64(0.1 + env.seconds / 4.0)
}

async fn flow(setting: &mut Setting, env: &Env, sessions: u32) -> Result<Found> {
    let Setting {
        load,
        stage,
        proxy,
        dialer,
        ..
    } = setting;
    stage.open(dialer, sessions).await?;
    stage.world.go();
    sleep(warm_up(env)).await;
    let before = stage.world.bytes();
    let interval = Interval::start(proxy)?;
    sleep(Duration::from_secs_f64(env.seconds)).await;
    let (nanos, _, busy) = interval.end()?;
    let bytes = (stage.world.bytes() - before) as f64;
    stage.world.check()?;
    if bytes == 0.0 {
        return Err("nothing moved".into());
    }
    let messages = bytes / load.size as f64;
    Ok(Found {
        figures: vec![
            (Figure::CpuPerMessage, nanos / 1e3 / messages),
            (Figure::CpuPerByte, nanos / bytes),
        ],
        busy: Some(busy),
    })
}

async fn handshake(setting: &mut Setting, env: &Env, resume: bool) -> Result<Found> {
    let Setting {
        kind,
        load,
        stage,
        proxy,
        dialer,
    } = setting;
    let load = *load;
    for slot in 0..SLOTS {
        let dialer = Dialer {
            // With tickets of its own.
            tls: tls(*kind, env, resume)?,
            ..Dialer::clone(dialer)
        };
        let world = Rc::clone(&stage.world);
        stage.spawn(async move {
            let mut first = true;
            loop {
                let whole = async {
                    let client = open(&dialer, &load, slot).await?;
                    if client.is_resumed() != (resume && !first) {
                        let not = if resume { "not " } else { "" };
                        return Err(format!("a TLS session was {not}resumed").into());
                    }
                    client.close().await
                };
                if let Err(error) = whole.await {
                    return world.fail(&format_args!("client: {error}"));
                }
                first = false;
                world.closed.set(world.closed.get() + 1);
            }
        });
    }
    sleep(warm_up(env)).await;
    let before = stage.world.closed.get();
    let interval = Interval::start(proxy)?;
    sleep(Duration::from_secs_f64(env.seconds)).await;
    let (nanos, seconds, busy) = interval.end()?;
    let count = (stage.world.closed.get() - before) as f64;
    stage.world.check()?;
    if count == 0.0 {
        return Err("no connection came to its end".into());
    }
    Ok(Found {
        figures: vec![
            (Figure::CpuPerConnection, nanos / 1e6 / count),
            (Figure::Handshakes, count / seconds),
        ],
        busy: Some(busy),
    })
}

async fn idle(setting: &mut Setting, sessions: u32) -> Result<Found> {
    let Setting {
        load,
        stage,
        proxy,
        dialer,
        ..
    } = setting;
    let tree = proxy.tree()?;
    let (base, files) = (tree.pss()?, tree.files()?);
    let kernel = kernel_bytes()?;
    let a_session = |now: u64, before: u64| (now as f64 - before as f64) / f64::from(sessions);

    stage.open(dialer, sessions).await?;
    sleep(SETTLING).await;
    let fresh = a_session(tree.pss()?, base);
    let kernel = a_session(kernel_bytes()?, kernel) / 2.0;

    stage.world.go();
    let wanted = u64::from(sessions) * load.size;
    let echoed = stage
        .world
        .until("all echoes", PASSING, |world| world.bytes() == wanted);
    echoed.await?;
    sleep(SETTLING).await;
    let after = a_session(tree.pss()?, base);
    stage.world.check()?;

    stage.cut().await;
    let closed = stage.world.until("all sessions closed", PASSING, |_| {
        tree.files().is_ok_and(|now| now < files + FEW)
    });
    closed.await?;
    let mut figures = vec![
        (Figure::PssFresh, fresh),
        (Figure::PssAfter, after),
        (Figure::PssGrowth, after - fresh),
        (Figure::Kernel, kernel),
    ];
    // It is a long wait, and tells the most where there were the most.
    if sessions == MOST {
        sleep(RELEASING).await;
        figures.push((Figure::PssClosed, a_session(tree.pss()?, base)));
    }
    Ok(Found { figures, busy: None })
}

async fn idle_cpu(setting: &mut Setting, env: &Env, sessions: u32) -> Result<Found> {
    let Setting {
        stage, proxy, dialer, ..
    } = setting;
    stage.open(dialer, sessions).await?;
    sleep(SETTLING).await;
    let interval = Interval::start(proxy)?;
    sleep(Duration::from_secs_f64(env.idle_seconds)).await;
    let (nanos, seconds, busy) = interval.end()?;
    stage.world.check()?;
    Ok(Found {
        figures: vec![(Figure::CpuPerSecond, nanos / 1e6 / seconds)],
        busy: Some(busy),
    })
}

async fn peak(setting: &mut Setting) -> Result<Found> {
    let Setting {
        load,
        stage,
        proxy,
        dialer,
        ..
    } = setting;
    stage.open(dialer, 1).await?;
    let tree = proxy.tree()?;
    let before = tree.rss()?;
    tree.reset_peak()?;
    stage.world.go();
    let wanted = |budget: Budget| budget.credit * load.size;
    let passed = stage.world.until("the message has passed", PASSING, |world| {
        world.up_bytes.get() == wanted(load.up) && world.down_bytes.get() == wanted(load.down)
    });
    passed.await?;
    let growth = tree.peak()?.saturating_sub(before) as f64 / f64::from(1 << 20);
    Ok(Found {
        figures: vec![(Figure::PeakGrowth, growth)],
        busy: None,
    })
}

async fn stall(setting: &mut Setting, env: &Env) -> Result<Found> {
    let Setting {
        load,
        stage,
        proxy,
        dialer,
        ..
    } = setting;
    let load = *load;
    let times = Rc::new(RefCell::new(Vec::new()));
    for session in 0..PROBES {
        let (world, dialer, times) = (Rc::clone(&stage.world), Rc::clone(dialer), Rc::clone(&times));
        stage.spawn(async move {
            let probing = async {
                let mut client = open(&dialer, &load, session).await?;
                client.introduce(session).await?;
                probe(client, session, &world.down_bytes, &times).await
            };
            if let Err(error) = probing.await {
                world.fail(&format_args!("client: {error}"));
            }
        });
    }
    let all = PROBES as usize;
    let opened = stage
        .world
        .until("all sessions open", PASSING, |world| world.numbered.get() == all);
    opened.await?;
    let span = Duration::from_secs_f64(2.0 * env.seconds);
    let watch = async |what: &str| -> Result<[f64; 2]> {
        sleep(warm_up(env)).await;
        times.borrow_mut().clear();
        sleep(span).await;
        stage.world.check()?;
        let mut times = times.borrow_mut();
        let mut part = |part| percentile(&mut times, part).ok_or(format!("no echo came {what}"));
        Ok([part(0.5)?, part(0.99)?])
    };
    let quiet = watch("without handshakes").await?;
    let handshakes = Handshakes::start(Dialer::clone(dialer), load)?;
    let interval = Interval::start(proxy)?;
    let busy = watch("beside handshakes").await?;
    let (_, seconds, load) = interval.end()?;
    let done = handshakes.end().await?;
    Ok(Found {
        figures: vec![
            (Figure::P50Quiet, quiet[0]),
            (Figure::P99Quiet, quiet[1]),
            (Figure::P50, busy[0]),
            (Figure::P99, busy[1]),
            (Figure::Handshakes, done as f64 / seconds),
        ],
        busy: Some(load),
    })
}

/// Echoes at a steady pace; the times, in microseconds, are of each echo. The sessions take turns.
async fn probe(
    mut client: Client,
    session: u32,
    count: &std::cell::Cell<u64>,
    times: &RefCell<Vec<f64>>,
) -> Result<()> {
    let mut pace = interval_at(Instant::now() + PACE * session / PROBES, PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let time = client.ping(count).await?;
        times.borrow_mut().push(time.as_secs_f64() * 1e6);
    }
}
