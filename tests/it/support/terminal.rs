//! A terminal with a program in it, somebody who types, and what they see: `script`, and the few sequences that sealock sends.

use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;

use super::service::missing;
use super::{program, soon};

/// Prints how the terminal is set before the program and after it, and the process of the program.
const SHELL: &str = "stty rows 24 cols 80; echo \"tty $(tty)\"; echo \"before $(stty -g)\"; \
                     sh -c 'echo \"pid $$\"; exec \"$0\" \"$@\"' \"$PROGRAM\" $ARGUMENTS; \
                     echo \"code $?\"; echo \"after $(stty -g)\"";

/// A terminal of 80×24. What runs in it is killed with it.
pub struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    output: watch::Receiver<Vec<u8>>,
}

/// What a terminal shows.
#[derive(Debug, Default)]
pub struct Screen {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// The other screen, while the alternate one is shown.
    under: Option<(Vec<Vec<char>>, usize, usize)>,
    cursor_hidden: bool,
}

impl Terminal {
    /// Starts sealock with these arguments, which hold no spaces.
    pub fn sealock(arguments: &str, environment: &[(&str, &str)]) -> Self {
        let mut command: Command = program("script");
        command
            .args(["-qec", SHELL, "/dev/null"])
            .env("PROGRAM", env!("CARGO_BIN_EXE_sealock"))
            .env("ARGUMENTS", arguments)
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| missing(&command, &error));
        let (sender, output) = watch::channel(Vec::new());
        let mut stdout = child.stdout.take().unwrap();
        tokio::spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok(got @ 1..) = stdout.read(&mut bytes).await {
                sender.send_modify(|output| output.extend_from_slice(&bytes[..got]));
            }
        });
        Self {
            keyboard: child.stdin.take().unwrap(),
            child,
            output,
        }
    }

    pub async fn types(&mut self, keys: &str) {
        soon(
            "the terminal to take keys",
            self.keyboard.write_all(keys.as_bytes()),
        )
        .await
        .unwrap();
    }

    /// Waits until the screen is as it should be.
    pub async fn until(&mut self, what: &str, fits: impl Fn(&Screen) -> bool) -> Screen {
        let shown = self.output.wait_for(|output| fits(&Screen::of(output)));
        let timely = tokio::time::timeout(super::PATIENCE, shown).await;
        // As it was then: it may have changed since.
        let screen = timely.map(|shown| shown.map(|output| Screen::of(&output)));
        match screen {
            Ok(Ok(screen)) => screen,
            _ => panic!("{what}: not on the screen, which shows\n{}", self.screen().text()),
        }
    }

    /// Waits until a text stands on the screen.
    pub async fn shows(&mut self, what: &str) -> Screen {
        self.until(what, |screen| screen.text().contains(what)).await
    }

    /// Waits until a text has stood on the screen: it may be gone by now.
    pub async fn has_shown(&mut self, what: &str) {
        let shown = |output: &Vec<u8>| String::from_utf8_lossy(output).contains(what);
        soon(what, self.output.wait_for(shown)).await.expect("it runs");
    }

    /// Waits until a text does not stand on the screen.
    pub async fn hides(&mut self, what: &str) -> Screen {
        self.until(&format!("without {what}"), |screen| !screen.text().contains(what))
            .await
    }

    pub fn screen(&self) -> Screen {
        Screen::of(&self.output.borrow())
    }

    /// All that was sent to it.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.borrow()).into_owned()
    }

    /// What the shell printed behind a word.
    pub fn said(&self, word: &str) -> String {
        // What is printed behind the alternate screen begins a line of the other one.
        let output = self.output().replace("\x1b[?1049l", "\n");
        let mut lines = output.lines();
        let found = lines.find_map(|line| line.trim_end().strip_prefix(word)?.strip_prefix(' '));
        found
            .unwrap_or_else(|| panic!("no {word} in {output:?}"))
            .to_owned()
    }

    /// Sets its size, of which the program is told.
    pub async fn resize(&self, columns: usize, lines: usize) {
        let size = ["cols", &columns.to_string(), "rows", &lines.to_string()].map(str::to_owned);
        let done = Command::new("stty")
            .args(["-F", &self.said("tty")])
            .args(size)
            .status()
            .await;
        assert!(done.unwrap().success());
    }

    /// Sends the program a signal.
    pub async fn signal(&self, name: &str) {
        let done = Command::new("kill")
            .args([format!("-{name}"), self.said("pid")])
            .status()
            .await;
        assert!(done.unwrap().success());
    }

    /// Waits for the end of the program, and checks that the terminal is as it was before. Its exit code.
    pub async fn end(mut self) -> String {
        let status = soon("the terminal's end", self.child.wait()).await;
        assert!(status.unwrap().success());
        // All that it printed.
        while soon("the rest of the screen", self.output.changed())
            .await
            .is_ok()
        {}
        assert_eq!(self.said("before"), self.said("after"));
        let screen = self.screen();
        assert!(
            screen.under.is_none() && !screen.cursor_hidden,
            "{:?}",
            self.output()
        );
        self.said("code")
    }
}

impl Screen {
    /// What stands on the screen after these bytes. What it does not know stands there as it came.
    fn of(output: &[u8]) -> Self {
        let mut screen = Self::default();
        let text = String::from_utf8_lossy(output);
        let mut rest = text.as_ref();
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\x1b' if rest.starts_with('[') => {
                    let end = rest[1..].find(|c: char| ('\x40'..='\x7e').contains(&c));
                    // The rest of it is still to come.
                    let Some(end) = end else { break };
                    screen.obey(&rest[1..=end], rest.as_bytes()[end + 1]);
                    rest = &rest[end + 2..];
                }
                '\r' => screen.column = 0,
                '\n' => screen.row += 1,
                c => screen.put(c),
            }
        }
        screen
    }

    fn obey(&mut self, parameters: &str, last: u8) {
        match (parameters, last) {
            ("?1049", b'h') => {
                let lines = std::mem::take(&mut self.lines);
                self.under = Some((lines, self.row, self.column));
            }
            ("?1049", b'l') => (self.lines, self.row, self.column) = self.under.take().unwrap(),
            ("?25", b'l') => self.cursor_hidden = true,
            ("?25", b'h') => self.cursor_hidden = false,
            ("2", b'J') => self.lines.clear(),
            ("", b'K') => {
                if let Some(line) = self.lines.get_mut(self.row) {
                    line.truncate(self.column);
                }
            }
            (place, b'H') => {
                let (row, column) = place.split_once(';').unwrap();
                let at = |number: &str| number.parse::<usize>().unwrap() - 1;
                (self.row, self.column) = (at(row), at(column));
            }
            ("?7", b'l' | b'h') | (_, b'm') => {}
            (parameters, last) => panic!(
                "a sequence that is not known: {parameters:?} {:?}",
                char::from(last)
            ),
        }
    }

    fn put(&mut self, c: char) {
        if self.lines.len() <= self.row {
            self.lines.resize(self.row + 1, Vec::new());
        }
        let line = &mut self.lines[self.row];
        if line.len() <= self.column {
            line.resize(self.column + 1, ' ');
        }
        line[self.column] = c;
        self.column += 1;
    }

    /// Its lines, without what is empty behind them.
    pub fn lines(&self) -> Vec<String> {
        let text = |line: &Vec<char>| line.iter().collect::<String>().trim_end().to_owned();
        self.lines.iter().map(text).collect()
    }

    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// The line that begins so.
    pub fn line(&self, begins: &str) -> String {
        let mut lines = self.lines().into_iter();
        let found = lines.find(|line| line.starts_with(begins));
        found.unwrap_or_else(|| panic!("no {begins:?} in\n{}", self.text()))
    }
}
