//! Drives the view: keys, looks and the size of the terminal go in, a screen comes out.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::client::Client;
use super::keys::{Decoder, Key, action};
use super::model::{Look, Picture};
use super::screen::{self, About};
use super::terminal::Terminal;
use super::view::{Order, View};

/// The rest of a key comes as fast as this, or it was Escape alone.
const REST_OF_A_KEY: Duration = Duration::from_millis(100);

/// What was seen last.
struct Scene {
    at: Instant,
    picture: Picture,
    /// Why there is no answer any more.
    away: Option<String>,
}

impl Scene {
    fn new(at: Instant, look: Look) -> Self {
        Self {
            at,
            picture: Picture::new(look, None),
            away: None,
        }
    }

    fn see(&mut self, at: Instant, look: Result<Look, String>) {
        match look {
            Ok(look) => {
                let before = (&self.picture, at.duration_since(self.at));
                self.picture = Picture::new(look, Some(before));
                (self.at, self.away) = (at, None);
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
            (self.at.elapsed(), why.to_owned())
        });
        About {
            url,
            interval,
            now: Timestamp::now(),
            away,
        }
    }
}

/// Keys, of what is typed and of what does not follow.
#[derive(Default)]
struct Keyboard {
    decoder: Decoder,
    /// When a key that has begun is taken for what there is of it.
    whole: Option<Instant>,
}

impl Keyboard {
    fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        let keys = self.decoder.feed(bytes);
        let begun = self.decoder.is_inside();
        self.whole = begun.then(|| Instant::now() + REST_OF_A_KEY);
        keys
    }

    /// Waits for that moment, which does not move where the wait is begun anew.
    async fn rest(&mut self) -> Option<Key> {
        match self.whole {
            Some(whole) => sleep_until(whole).await,
            None => pending().await,
        }
        self.whole = None;
        self.decoder.flush()
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
    let mut keyboard = Keyboard::default();
    let mut terminal = Terminal::enter(colour).map_err(failed)?;
    loop {
        let (about, size) = (scene.about(&client, every), terminal.size());
        let (mut page, tables) = screen::settle(&mut view, &scene.picture, &about, size);
        let lines = screen::draw(&scene.picture, &tables, &view, &about, size);
        drop(tables);
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
            // The rest of a key that is here has come in time, however long the turn before took.
            biased;
            told = signals.next() => match told {
                Told::End => return Ok(()),
                // It is drawn anew at the top of the loop.
                Told::Resized => continue,
            },
            bytes = terminal.read() => keyboard.feed(&bytes.map_err(failed)?),
            key = keyboard.rest() => key.into_iter().collect(),
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
            (page, _) = screen::settle(&mut view, &scene.picture, &about, size);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn escape_alone_is_a_key_however_often_the_screen_is_drawn() {
        let mut keyboard = Keyboard::default();
        let mut looks = interval(REST_OF_A_KEY * 2 / 3);
        looks.tick().await;
        assert_eq!(keyboard.feed(b"\x1b"), []);
        let mut drawn = 0;
        let key = loop {
            tokio::select! {
                key = keyboard.rest() => break key,
                _ = looks.tick() => drawn += 1,
            }
            assert!(drawn < 3, "it is waited for anew each time");
        };
        assert_eq!((key, drawn), (Some(Key::Escape), 1));
        // What comes in time belongs to it.
        assert_eq!(keyboard.feed(b"\x1b"), []);
        looks.tick().await;
        assert_eq!(keyboard.feed(b"[A"), [Key::Up]);
        assert_eq!(keyboard.whole, None);
    }
}
