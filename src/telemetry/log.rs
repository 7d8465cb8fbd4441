//! Where log lines go: into a queue that keeps nobody waiting, which a thread of its own empties.
//!
//! Whoever reads the log may be slow, or the disk full; no session must wait for that. So a line that finds the queue full is lost, and
//! counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that may wait.
const QUEUE: usize = 1 << 20;
/// What a buffer keeps for the next lines after a burst.
const KEPT: usize = 64 << 10;
/// How long the end of the process waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where lines go in the end.
pub(super) struct Sink {
    to: Box<dyn Write + Send>,
    /// It ends within a line: the next one must not go on there.
    torn: bool,
}

/// Opens the next one, on the thread that writes: it may take a while.
type Opener = Box<dyn FnOnce() -> io::Result<Sink> + Send>;

/// What the thread that writes has to say.
enum Word {
    /// So many lines were lost, and there is somebody to tell it to again.
    Lost(u64),
    /// Lines cannot be written.
    Broken(io::Error),
    /// They can again.
    Mended,
    /// Another sink is in use, or the old one because that could not be opened.
    Opened(io::Result<()>),
}

/// Takes lines; each `write` is one or more whole ones.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
    lost: AtomicU64,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    /// Where lines go from now on.
    next: Option<Opener>,
    /// The thread has lines that it has not written yet.
    writing: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines that were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn lose(&self, lines: &[u8]) {
        let lost = lines.iter().filter(|byte| **byte == b'\n').count();
        self.lost.fetch_add(lost as u64, Ordering::Relaxed);
    }

    /// Sends the lines elsewhere, beginning with those that wait.
    fn redirect(&self, opener: Opener) {
        self.state().next = Some(opener);
        self.filled.notify_one();
    }

    /// Waits until nothing waits any more, but not longer than this.
    fn flush(&self, patience: Duration) {
        let waits = |state: &mut State| state.writing || state.next.is_some() || !state.lines.is_empty();
        drop(self.emptied.wait_timeout_while(self.state(), patience, waits));
    }

    /// Writes what is queued, and tells of what was lost as soon as there is somebody to tell it to again.
    fn empty(&self, mut sink: Sink, tell: impl Fn(Word)) -> ! {
        let (mut lines, mut told, mut broken) = (Vec::new(), 0, false);
        loop {
            let state = self.state();
            let idle = |state: &mut State| state.lines.is_empty() && state.next.is_none();
            let waited = self.filled.wait_while(state, idle);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut lines, &mut state.lines);
            state.writing = true;
            let next = state.next.take();
            drop(state);
            if let Some(open) = next {
                tell(Word::Opened(open().map(|opened| sink = opened)));
            }
            let (written, result) = sink.write(&lines);
            self.lose(lines.get(written..).unwrap_or_default());
            match result {
                Err(error) if !broken => {
                    broken = true;
                    tell(Word::Broken(error));
                }
                Ok(()) if broken && written > 0 => {
                    broken = false;
                    tell(Word::Mended);
                }
                _ => {}
            }
            let lost = self.lost();
            if !broken && written > 0 && lost > told {
                tell(Word::Lost(lost - told));
                told = lost;
            }
            lines.clear();
            if lines.capacity() > KEPT {
                lines = Vec::new();
            }
            self.state().writing = false;
            self.emptied.notify_all();
        }
    }
}

impl Sink {
    /// Writes lines. Gives how many bytes of them were written, and why not all.
    fn write(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        if self.torn && !lines.is_empty() {
            if let (_, Err(error)) = self.write_whole(b"\n") {
                return (0, Err(error));
            }
            self.torn = false;
        }
        let (written, result) = self.write_whole(lines);
        if let Some(last) = lines.get(..written).and_then(<[u8]>::last) {
            self.torn = *last != b'\n';
        }
        (written, result)
    }

    fn write_whole(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut left = bytes;
        let result = loop {
            if left.is_empty() {
                break Ok(());
            }
            match self.to.write(left) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        (bytes.len() - left.len(), result)
    }
}

impl Write for &Queue {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        if state.lines.len() + lines.len() > QUEUE {
            drop(state);
            self.lose(lines);
        } else {
            state.lines.extend_from_slice(lines);
            drop(state);
            self.filled.notify_one();
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log of the process. When it is dropped, the lines that wait are written.
pub struct Log {
    queue: Arc<Queue>,
    file: Option<PathBuf>,
}

impl Log {
    /// Starts to write to a file, or to standard error.
    pub(super) fn start(queue: &Arc<Queue>, file: Option<&Path>) -> io::Result<Self> {
        let sink: Sink = match file {
            Some(path) => open(path)?,
            None => Sink {
                to: Box::new(io::stderr()),
                torn: false,
            },
        };
        let (writer, path) = (Arc::clone(queue), file.map(Path::to_owned));
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.empty(sink, |word| tell(&word, path.as_deref())))?;
        Ok(Self {
            queue: Arc::clone(queue),
            file: file.map(Path::to_owned),
        })
    }

    /// Opens the file again, which somebody has renamed. Where that fails, the old one stays in use.
    pub fn reopen(&self) {
        let Some(path) = &self.file else { return };
        let path = path.clone();
        self.queue.redirect(Box::new(move || open(&path)));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.flush(PATIENCE);
        let lost = self.queue.lost();
        if lost > 0 {
            tracing::warn!(lines = lost, "log lines were lost, all in all");
            self.queue.flush(PATIENCE);
        }
    }
}

fn open(path: &Path) -> io::Result<Sink> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)?;
    let length = file
        .metadata()
        .map_or(0, |file| if file.is_file() { file.len() } else { 0 });
    let mut last = [b'\n'];
    if let Some(at) = length.checked_sub(1) {
        // Where it cannot be read it is taken for whole.
        drop(File::open(path).and_then(|file| file.read_at(&mut last, at)));
    }
    Ok(Sink {
        to: Box::new(file),
        torn: last != *b"\n",
    })
}

/// Tells in the log what is to be told of it, and on standard error what cannot be told there.
fn tell(word: &Word, file: Option<&Path>) {
    let path = file.unwrap_or(Path::new("standard error")).display();
    match word {
        Word::Lost(lines) => tracing::warn!(
            lines,
            "log lines were lost: they came faster than they could be written, or could not be"
        ),
        Word::Opened(Ok(())) => tracing::info!("the log file was opened again"),
        Word::Opened(Err(error)) => {
            tracing::error!(%error, file = %path, "the log file cannot be opened again: the old one stays in use");
        }
        // Where standard error is the log, nobody is left to be told.
        Word::Broken(error) if file.is_some() => {
            complain(&format!("cannot write to the log file {path}: {error}"))
        }
        Word::Mended if file.is_some() => complain(&format!("the log file {path} can be written again")),
        Word::Broken(_) | Word::Mended => {}
    }
}

fn complain(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    impl Queue {
        /// Takes what waits, in place of the thread.
        pub(in crate::telemetry) fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.state().lines)).unwrap()
        }
    }

    /// Gives each write to the test, which says what becomes of it.
    struct Slow(mpsc::Sender<Vec<u8>>, mpsc::Receiver<io::Result<usize>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            self.1.recv().map_err(io::Error::other)?
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn sink(slow: Slow) -> Sink {
        Sink {
            to: Box::new(slow),
            torn: false,
        }
    }

    struct Reader {
        queue: Arc<Queue>,
        written: mpsc::Receiver<Vec<u8>>,
        answer: mpsc::Sender<io::Result<usize>>,
        told: mpsc::Receiver<u64>,
    }

    fn reader() -> Reader {
        let (sent, written) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let queue = Arc::new(Queue::default());
        let writer = Arc::clone(&queue);
        std::thread::spawn(move || {
            writer.empty(sink(Slow(sent, answers)), |word| {
                if let Word::Lost(lines) = word {
                    tell.send(lines).unwrap();
                }
            })
        });
        Reader {
            queue,
            written,
            answer,
            told,
        }
    }

    #[test]
    fn lines_that_nobody_takes_are_lost_counted_and_told() {
        let reader = reader();
        let mut queue = &*reader.queue;
        queue.write_all(b"first\n").unwrap();
        assert_eq!(reader.written.recv().unwrap(), b"first\n");
        // The sink takes nothing yet. What fits waits, the rest is lost, and nobody waits for it.
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..1024 + 7 {
            queue.write_all(&line).unwrap();
        }
        assert_eq!(queue.lost(), 7);
        reader.answer.send(Ok(6)).unwrap();
        assert_eq!(reader.told.recv().unwrap(), 7);
        assert_eq!(reader.written.recv().unwrap().len(), QUEUE);
        // Half of it, then the disk is full.
        reader.answer.send(Ok(QUEUE / 2)).unwrap();
        assert_eq!(reader.written.recv().unwrap().len(), QUEUE / 2);
        reader
            .answer
            .send(Err(io::ErrorKind::StorageFull.into()))
            .unwrap();
        reader.queue.flush(Duration::from_secs(30));
        assert_eq!(reader.queue.lost(), 7 + 512);
        // Told once somebody listens again.
        assert!(reader.told.try_recv().is_err());
        queue.write_all(b"again\n").unwrap();
        assert_eq!(reader.written.recv().unwrap(), b"again\n");
        reader.answer.send(Ok(3)).unwrap();
        assert_eq!(reader.written.recv().unwrap(), b"in\n");
        reader
            .answer
            .send(Err(io::ErrorKind::StorageFull.into()))
            .unwrap();
        reader.queue.flush(Duration::from_secs(30));
        assert_eq!(reader.queue.lost(), 7 + 512 + 1);
        // What was torn stays a line of its own.
        queue.write_all(b"whole\n").unwrap();
        assert_eq!(reader.written.recv().unwrap(), b"\n");
        reader.answer.send(Ok(1)).unwrap();
        assert_eq!(reader.written.recv().unwrap(), b"whole\n");
        reader.answer.send(Ok(6)).unwrap();
        assert_eq!(reader.told.recv().unwrap(), 513);
    }

    #[test]
    fn lines_that_wait_go_to_the_next_sink() {
        let reader = reader();
        let mut queue = &*reader.queue;
        queue.write_all(b"old\n").unwrap();
        assert_eq!(reader.written.recv().unwrap(), b"old\n");
        queue.write_all(b"new\n").unwrap();
        let (sent, written) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        queue.redirect(Box::new(|| Ok(sink(Slow(sent, answers)))));
        reader.answer.send(Ok(4)).unwrap();
        assert_eq!(written.recv().unwrap(), b"new\n");
        answer.send(Ok(4)).unwrap();
        reader.queue.flush(Duration::from_secs(30));
        assert_eq!(reader.queue.lost(), 0);
    }
}
