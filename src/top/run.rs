//! Drives the view: keys, looks and the size of the terminal go in, a screen comes out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::client::Client;
use super::keys::{Decoder, action};
use super::model::{Look, Picture};
use super::screen::{self, About};
use super::terminal::Terminal;
use super::view::{Order, View};

/// The rest of a key comes as fast as this, or it was Escape alone.
const REST_OF_A_KEY: Duration = Duration::from_millis(100);

/// A look, and when it was.
type Seen = (Instant, Look);

/// What was seen, and what of it is known.
struct Scene {
    last: Seen,
    picture: Picture,
    /// Why there is no answer any more.
    away: Option<String>,
}

impl Scene {
    fn new(at: Instant, look: Look) -> Self {
        Self {
            picture: Picture::new(look.clone(), None),
            last: (at, look),
            away: None,
        }
    }

    fn see(&mut self, at: Instant, look: Result<Look, String>) {
        match look {
            Ok(look) => {
                let (before, old) = &self.last;
                self.picture = Picture::new(look.clone(), Some((old, at.duration_since(*before))));
                self.last = (at, look);
                self.away = None;
            }
            Err(why) => self.away = Some(why),
        }
    }

    fn about(&self, client: &Client, interval: Duration) -> About {
        let url = client.url();
        let away = self.away.as_ref().map(|why| {
            // Where, stands beside it; what to do about it, in the lines behind the first, is for a start.
            let why = why.lines().next().unwrap_or_default();
            let why = why.strip_prefix(&format!("{url}: ")).unwrap_or(why);
            (self.last.0.elapsed(), why.to_owned())
        });
        About {
            url,
            interval,
            now: Timestamp::now(),
            away,
        }
    }
}

/// One picture as text: two looks, for rates need two.
pub(super) async fn once(client: &Client, view: &View, interval: Duration) -> Result<String, String> {
    let mut scene = Scene::new(Instant::now(), client.look().await?);
    sleep(interval).await;
    let at = Instant::now();
    scene.see(at, Ok(client.look().await?));
    Ok(screen::plain(
        &scene.picture,
        view,
        &scene.about(client, interval),
    ))
}

/// Shows pictures until somebody has seen enough.
pub(super) async fn watch(
    client: Client,
    mut view: View,
    every: Duration,
    colour: bool,
) -> Result<(), String> {
    let client = Arc::new(client);
    // Before the terminal is taken over: what is wrong at first is told like the errors of any command.
    let mut scene = Scene::new(Instant::now(), client.look().await?);
    let (paused, pause) = watch::channel(false);
    let (sender, mut looks) = mpsc::channel(1);
    let asking = keep_looking(Arc::clone(&client), every, sender, pause);
    let _asking = AbortOnDropHandle::new(tokio::spawn(asking));
    let failed =
        |error: io::Error| format!("the terminal cannot be used: {error}\n  help: --once needs none");
    let mut signals = Signals::new().map_err(failed)?;
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut keyboard = Decoder::default();
    let mut terminal = Terminal::enter(colour).map_err(failed)?;
    loop {
        let (about, size) = (scene.about(&client, every), terminal.size());
        let mut page = screen::settle(&mut view, &scene.picture, &about, size);
        let lines = screen::draw(&scene.picture, &view, &about, size);
        let told = tokio::select! {
            painted = terminal.paint(&lines, size) => painted.map(|()| None).map_err(failed)?,
            told = signals.next() => Some(told),
        };
        match told {
            None => {}
            Some(Told::End) => return Ok(()),
            Some(Told::Resized) => continue,
        }
        let keys = tokio::select! {
            bytes = terminal.read() => keyboard.feed(&bytes.map_err(failed)?),
            () = sleep(REST_OF_A_KEY), if keyboard.is_inside() => keyboard.flush().into_iter().collect(),
            told = signals.next() => match told {
                Told::End => return Ok(()),
                // It is drawn anew at the top of the loop.
                Told::Resized => continue,
            },
            _ = seconds.tick() => continue,
            look = looks.recv() => {
                let (at, look) = look.ok_or("nobody looks any more")?;
                if !view.paused {
                    scene.see(at, look);
                }
                continue;
            }
        };
        for key in keys {
            let asked = action(key, view.mode);
            match asked.map(|action| view.act(action, &scene.picture, page)) {
                Some(Order::Quit) => return Ok(()),
                Some(Order::Suspend) => terminal.suspend().map_err(failed)?,
                Some(Order::Redraw) => terminal.forget(),
                Some(Order::Nothing) | None => {}
            }
            // The next key means what stands there now, drawn or not.
            page = screen::settle(&mut view, &scene.picture, &about, size);
        }
        paused.send_if_modified(|paused| std::mem::replace(paused, view.paused) != view.paused);
    }
}

/// Looks again and again, but for pauses. A look that fails is told, and the next one may succeed.
async fn keep_looking(
    client: Arc<Client>,
    every: Duration,
    looks: mpsc::Sender<(Instant, Result<Look, String>)>,
    mut pause: watch::Receiver<bool>,
) {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if pause.wait_for(|paused| !paused).await.is_err() {
            return;
        }
        let at = Instant::now();
        if looks.send((at, client.look().await)).await.is_err() {
            return;
        }
    }
}

/// What the system says to a program on a terminal.
struct Signals {
    ending: [Signal; 4],
    resized: Signal,
}

/// What a signal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    End,
    Resized,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let ending = [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
            SignalKind::quit(),
        ];
        let [a, b, c, d] = ending.map(signal);
        Ok(Self {
            ending: [a?, b?, c?, d?],
            resized: signal(SignalKind::window_change())?,
        })
    }

    async fn next(&mut self) -> Told {
        let [a, b, c, d] = &mut self.ending;
        tokio::select! {
            _ = a.recv() => Told::End,
            _ = b.recv() => Told::End,
            _ = c.recv() => Told::End,
            _ = d.recv() => Told::End,
            _ = self.resized.recv() => Told::Resized,
        }
    }
}
