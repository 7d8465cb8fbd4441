//! The terminal: taken over for a while, and always put back.
//!
//! It is spoken to directly. The sequences here are ECMA-48 and what every terminal of today has taken over from xterm; a library
//! would send the same, and bring its own reader of events and signals along.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::line::{Line, Style, line_width};
use super::screen::Size;

/// The terminal of the process, whatever its standard streams are.
const TERMINAL: &str = "/dev/tty";
/// A terminal that takes nothing for so long is gone.
const DEADLINE: Duration = Duration::from_secs(10);

/// The alternate screen, without cursor, and without wrapping: no line is too long, unless the terminal counts widths differently.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// How the terminal was, while it is taken over.
static BEFORE: Mutex<Option<(std::fs::File, Termios)>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// The terminal while it is taken over. Put back when dropped, and before a panic is told.
pub(super) struct Terminal {
    keyboard: File,
    screen: File,
    colour: bool,
    /// What stands in each line.
    painted: Vec<String>,
    columns: usize,
}

impl Terminal {
    /// Takes it over.
    pub(super) fn enter(colour: bool) -> io::Result<Self> {
        let open = || OpenOptions::new().read(true).write(true).open(TERMINAL);
        let terminal = Self {
            keyboard: File::from_std(open()?),
            screen: File::from_std(open()?),
            colour,
            painted: Vec::new(),
            columns: 0,
        };
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                leave();
                before(panic);
            }));
        });
        take_over()?;
        Ok(terminal)
    }

    /// Puts it back, stops until the shell lets the process go on, and takes it over again.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        leave();
        kill_process(getpid(), Signal::TSTP)?;
        self.forget();
        take_over()
    }

    /// How large it is; 80×24 where it does not say.
    pub(super) fn size(&self) -> Size {
        let size = tcgetwinsize(&self.screen).ok();
        let (columns, lines) = size.map_or((0, 0), |size| (size.ws_col, size.ws_row));
        let or = |told: u16, usual: usize| if told == 0 { usual } else { told.into() };
        Size {
            columns: or(columns, 80),
            lines: or(lines, 24),
        }
    }

    /// Bytes that were typed: at least one. What came is not lost where nobody waits for it to the end.
    pub(super) async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = [0; 256];
        match self.keyboard.read(&mut bytes).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            got => Ok(bytes[..got].to_vec()),
        }
    }

    /// Paints what differs from what stands there.
    pub(super) async fn paint(&mut self, lines: &[Line], size: Size) -> io::Result<()> {
        if self.columns != size.columns || self.painted.len() != lines.len() {
            self.forget();
        }
        let mut out = String::new();
        if self.painted.is_empty() {
            out += "\x1b[2J";
        }
        let painted: Vec<String> = lines
            .iter()
            .map(|line| paint(line, size.columns, self.colour))
            .collect();
        for (at, line) in painted.iter().enumerate() {
            if self.painted.get(at) != Some(line) {
                out += &format!("\x1b[{};1H{line}", at + 1);
            }
        }
        // Until it stands there, nobody knows what does.
        self.forget();
        let written = timeout(DEADLINE, async {
            self.screen.write_all(out.as_bytes()).await?;
            self.screen.flush().await
        });
        written
            .await
            .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))?;
        (self.painted, self.columns) = (painted, size.columns);
        Ok(())
    }

    /// Paints everything the next time.
    pub(super) fn forget(&mut self) {
        self.painted.clear();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        leave();
    }
}

fn take_over() -> io::Result<()> {
    // Of its own, and without blocking: a terminal that takes nothing must not hold up the end. Opened anew: the flag must not become
    // one of the shell's descriptors.
    let mut terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(TERMINAL)?;
    let before = tcgetattr(&terminal)?;
    let mut raw = before.clone();
    raw.make_raw();
    *lock() = Some((terminal.try_clone()?, before));
    let entered = tcsetattr(&terminal, OptionalActions::Now, &raw)
        .map_err(io::Error::from)
        .and_then(|()| terminal.write_all(ENTER.as_bytes()));
    entered.inspect_err(|_| leave())
}

/// Puts the terminal back, if it is taken over. Where that fails, there is none any more.
fn leave() {
    if let Some((mut terminal, before)) = lock().take() {
        drop(terminal.write_all(LEAVE.as_bytes()));
        let _gone = tcsetattr(&terminal, OptionalActions::Now, &before);
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<(std::fs::File, Termios)>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line with its styles, and nothing behind it.
fn paint(line: &Line, columns: usize, colour: bool) -> String {
    let mut out = String::new();
    for piece in line {
        let style = match (piece.style, colour) {
            (Style::Plain, _) | (Style::Good, false) => "",
            (Style::Dim, _) => "2",
            (Style::Strong, _) | (Style::Warn, false) => "1",
            (Style::Chosen, _) => "7",
            (Style::Good, true) => "32",
            (Style::Warn, true) => "33",
            (Style::Bad, true) => "1;31",
            (Style::Bad, false) => "1;7",
        };
        match style {
            "" => out += &piece.text,
            style => out += &format!("\x1b[{style}m{}\x1b[0m", piece.text),
        }
    }
    // Behind the last column, this would erase what stands in it.
    if line_width(line) < columns {
        out += "\x1b[K";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::line::Piece;
    use super::*;

    fn piece(text: &str, style: Style) -> Piece {
        Piece {
            text: text.into(),
            style,
        }
    }

    #[test]
    fn colours_are_left_out_where_they_are_not_wanted() {
        let line = vec![
            piece("a", Style::Good),
            piece("b", Style::Bad),
            piece("c", Style::Chosen),
        ];
        assert_eq!(
            paint(&line, 80, true),
            "\x1b[32ma\x1b[0m\x1b[1;31mb\x1b[0m\x1b[7mc\x1b[0m\x1b[K"
        );
        assert_eq!(paint(&line, 80, false), "a\x1b[1;7mb\x1b[0m\x1b[7mc\x1b[0m\x1b[K");
        assert_eq!(paint(&vec![piece("閘", Style::Plain)], 2, true), "閘");
    }

    /// Run by the test below, in a terminal of its own.
    #[tokio::test]
    #[ignore = "takes over the terminal"]
    async fn panics_in_a_terminal() {
        let mut terminal = Terminal::enter(true).unwrap();
        let size = terminal.size();
        terminal
            .paint(&[vec![piece("painted", Style::Plain)]], size)
            .await
            .unwrap();
        panic!("as was asked for");
    }

    #[test]
    fn a_panic_puts_the_terminal_back_before_it_is_told() {
        let test = std::env::current_exe().unwrap();
        let name = "top::terminal::tests::panics_in_a_terminal";
        let run = format!(
            "stty -g; {} --ignored --exact {name} --nocapture; stty -g",
            test.display()
        );
        let output = std::process::Command::new("script")
            .args(["-qec", &run, "/dev/null"])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let place = |what: &str| {
            shown
                .find(what)
                .unwrap_or_else(|| panic!("no {what:?} in {shown:?}"))
        };
        assert!(place(ENTER) < place("painted"), "{shown:?}");
        assert!(
            place("painted") < place(LEAVE) && place(LEAVE) < place("as was asked for"),
            "{shown:?}"
        );
        let settings: Vec<&str> = shown
            .lines()
            .filter(|line| line.matches(':').count() > 20)
            .collect();
        assert!(
            matches!(settings[..], [before, after] if before == after),
            "{shown:?}"
        );
    }
}
