//! What a keyboard sends, and what is meant by it, pure.

/// The longest sequence of one key; what is longer is none.
const LONGEST: usize = 32;

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// One that writes a character.
    Char(char),
    /// One together with Ctrl, by its letter.
    Ctrl(char),
    Enter,
    Escape,
    Tab,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// Where a key is pressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// In the tables.
    #[default]
    Tables,
    /// While a search is typed.
    Search,
    /// In the details of a row.
    Details,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    /// Stops the program until the shell lets it go on.
    Suspend,
    /// Draws everything anew, for when something else wrote to the terminal.
    Redraw,
    /// By so many rows.
    Move(isize),
    /// By so many screens.
    Page(isize),
    First,
    Last,
    /// To the other table.
    Switch,
    /// By the next column.
    Sort,
    Reverse,
    Search,
    Details,
    Pause,
    /// To the tables; what is searched for stays.
    Back,
    /// To the tables, and searches for nothing.
    Clear,
    /// One more character to search for.
    Type(char),
    /// One less.
    Erase,
}

/// What a key means.
pub(super) fn action(key: Key, mode: Mode) -> Option<Action> {
    Some(match (mode, key) {
        (_, Key::Ctrl('c')) => Action::Quit,
        (_, Key::Ctrl('z')) => Action::Suspend,
        (_, Key::Ctrl('l')) => Action::Redraw,
        (_, Key::Up) => Action::Move(-1),
        (_, Key::Down) => Action::Move(1),
        (_, Key::PageUp) => Action::Page(-1),
        (_, Key::PageDown) => Action::Page(1),
        (_, Key::Home) => Action::First,
        (_, Key::End) => Action::Last,
        (Mode::Search, Key::Enter | Key::Tab) => Action::Back,
        (Mode::Search, Key::Escape) => Action::Clear,
        (Mode::Search, Key::Backspace) => Action::Erase,
        (Mode::Search, Key::Char(c)) => Action::Type(c),
        (_, Key::Char('q')) => Action::Quit,
        (_, Key::Char('k')) => Action::Move(-1),
        (_, Key::Char('j')) => Action::Move(1),
        (_, Key::Char('g')) => Action::First,
        (_, Key::Char('G')) => Action::Last,
        (_, Key::Char('p')) => Action::Pause,
        (Mode::Details, Key::Escape | Key::Enter | Key::Backspace) => Action::Back,
        (Mode::Tables, Key::Escape) => Action::Clear,
        (Mode::Tables, Key::Tab) => Action::Switch,
        (Mode::Tables, Key::Enter) => Action::Details,
        (Mode::Tables, Key::Char('s')) => Action::Sort,
        (Mode::Tables, Key::Char('r')) => Action::Reverse,
        (Mode::Tables, Key::Char('/')) => Action::Search,
        _ => return None,
    })
}

/// Makes keys of the bytes that a terminal sends.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of a key.
    begun: Vec<u8>,
}

impl Decoder {
    /// The keys that these bytes complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        for byte in bytes {
            self.begun.push(*byte);
            match parse(&self.begun) {
                Parsed::Begun if self.begun.len() < LONGEST => {}
                Parsed::Begun | Parsed::Nothing => self.begun.clear(),
                Parsed::Key(key) => {
                    keys.push(key);
                    self.begun.clear();
                }
                // The first one was a key of its own.
                Parsed::Escape => {
                    keys.push(Key::Escape);
                    self.begun.remove(0);
                }
            }
        }
        keys
    }

    /// Whether a key has begun: more of it comes at once, or never.
    pub(super) fn is_inside(&self) -> bool {
        !self.begun.is_empty()
    }

    /// The key that was begun, when nothing came behind it.
    pub(super) fn flush(&mut self) -> Option<Key> {
        let alone = self.begun == [ESCAPE];
        self.begun.clear();
        alone.then_some(Key::Escape)
    }
}

const ESCAPE: u8 = 0x1B;

enum Parsed {
    /// More has to come.
    Begun,
    /// A sequence that means nothing here.
    Nothing,
    Key(Key),
    /// The key Escape, and behind it the beginning of another.
    Escape,
}

fn parse(bytes: &[u8]) -> Parsed {
    match bytes {
        [ESCAPE] | [ESCAPE, b'[' | b'O'] => Parsed::Begun,
        [ESCAPE, ESCAPE] => Parsed::Escape,
        [ESCAPE, b'O', last] => sequence(b"", *last),
        // Parameters and intermediate bytes, then a final one (ECMA-48 §5.4).
        [ESCAPE, b'[', .., 0x20..=0x3F] => Parsed::Begun,
        [ESCAPE, b'[', parameters @ .., last] => sequence(parameters, *last),
        // A key together with Alt.
        [ESCAPE, _] => Parsed::Nothing,
        [b'\r' | b'\n'] => Parsed::Key(Key::Enter),
        [b'\t'] => Parsed::Key(Key::Tab),
        [0x7F | 0x08] => Parsed::Key(Key::Backspace),
        [byte @ 0x01..=0x1A] => Parsed::Key(Key::Ctrl(char::from(byte + 0x60))),
        text => match std::str::from_utf8(text) {
            Ok(text) => match text.chars().next() {
                Some(c) if !c.is_control() => Parsed::Key(Key::Char(c)),
                _ => Parsed::Nothing,
            },
            Err(error) if error.error_len().is_none() => Parsed::Begun,
            Err(_) => Parsed::Nothing,
        },
    }
}

/// A key by the last byte of its sequence. Keys pressed together with it stand behind a semicolon, and do not matter.
fn sequence(parameters: &[u8], last: u8) -> Parsed {
    let first = parameters.split(|byte| *byte == b';').next().unwrap_or_default();
    Parsed::Key(match (first, last) {
        (_, b'A') => Key::Up,
        (_, b'B') => Key::Down,
        (_, b'H') | (b"1" | b"7", b'~') => Key::Home,
        (_, b'F') | (b"4" | b"8", b'~') => Key::End,
        (b"5", b'~') => Key::PageUp,
        (b"6", b'~') => Key::PageDown,
        // Shift and Tab: there are two tables only.
        (_, b'Z') => Key::Tab,
        (b"", b'M') => Key::Enter,
        _ => return Parsed::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_however_their_bytes_are_cut() {
        let cases: &[(&[u8], &[Key])] = &[
            (b"q", &[Key::Char('q')]),
            (b"jk", &[Key::Char('j'), Key::Char('k')]),
            (b"\x03\x1a\x0c", &[Key::Ctrl('c'), Key::Ctrl('z'), Key::Ctrl('l')]),
            (b"\r\n\t", &[Key::Enter, Key::Enter, Key::Tab]),
            (b"\x7f\x08", &[Key::Backspace, Key::Backspace]),
            (
                b"\x1b[A\x1b[B\x1bOA\x1bOB",
                &[Key::Up, Key::Down, Key::Up, Key::Down],
            ),
            (b"\x1b[5~\x1b[6~", &[Key::PageUp, Key::PageDown]),
            (
                b"\x1b[H\x1b[F\x1bOH\x1bOF",
                &[Key::Home, Key::End, Key::Home, Key::End],
            ),
            (
                b"\x1b[1~\x1b[4~\x1b[7~\x1b[8~",
                &[Key::Home, Key::End, Key::Home, Key::End],
            ),
            (b"\x1b[1;5A\x1b[5;2~", &[Key::Up, Key::PageUp]),
            (b"\x1b[Z", &[Key::Tab]),
            // Not known: swallowed whole.
            (
                b"\x1b[200~x\x1b[3~y\x1b[<0;1;1Mz",
                &[Key::Char('x'), Key::Char('y'), Key::Char('z')],
            ),
            (b"\x1bxq", &[Key::Char('q')]),
            (b"\x1b\x1b[A", &[Key::Escape, Key::Up]),
            (b"\x1b\x1b\x1b[B", &[Key::Escape, Key::Escape, Key::Down]),
            ("é閘".as_bytes(), &[Key::Char('é'), Key::Char('閘')]),
            (b"\xffq\x00q", &[Key::Char('q'), Key::Char('q')]),
        ];
        for (bytes, keys) in cases {
            assert_eq!(Decoder::default().feed(bytes), *keys, "{bytes:?}");
            let mut decoder = Decoder::default();
            let one_by_one: Vec<Key> = bytes.iter().flat_map(|byte| decoder.feed(&[*byte])).collect();
            assert_eq!(one_by_one, *keys, "{bytes:?}");
            assert!(!decoder.is_inside());
        }
    }

    #[test]
    fn escape_is_a_key_when_nothing_follows() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.feed(b"\x1b"), []);
        assert!(decoder.is_inside());
        assert_eq!(decoder.flush(), Some(Key::Escape));
        assert_eq!(decoder.flush(), None);
        assert_eq!(decoder.feed(b"\x1b["), []);
        assert_eq!(decoder.flush(), None);
        assert_eq!(decoder.feed(b"A"), [Key::Char('A')]);
    }

    #[test]
    fn no_bytes_are_kept_for_long() {
        let mut decoder = Decoder::default();
        assert_eq!(
            decoder.feed(&[b"\x1b[".as_slice(), &[b'1'; LONGEST - 2]].concat()),
            []
        );
        assert!(!decoder.is_inside());
        let mut seed = fastrand::Rng::with_seed(5);
        for _ in 0..100_000 {
            drop(decoder.feed(&[seed.u8(..)]));
            assert!(decoder.begun.len() < LONGEST);
        }
    }

    #[test]
    fn letters_are_commands_but_for_a_search() {
        for (key, tables, search, details) in [
            (
                Key::Char('q'),
                Some(Action::Quit),
                Some(Action::Type('q')),
                Some(Action::Quit),
            ),
            (
                Key::Ctrl('c'),
                Some(Action::Quit),
                Some(Action::Quit),
                Some(Action::Quit),
            ),
            (
                Key::Char('j'),
                Some(Action::Move(1)),
                Some(Action::Type('j')),
                Some(Action::Move(1)),
            ),
            (
                Key::Down,
                Some(Action::Move(1)),
                Some(Action::Move(1)),
                Some(Action::Move(1)),
            ),
            (Key::Char('s'), Some(Action::Sort), Some(Action::Type('s')), None),
            (
                Key::Char('r'),
                Some(Action::Reverse),
                Some(Action::Type('r')),
                None,
            ),
            (
                Key::Char('/'),
                Some(Action::Search),
                Some(Action::Type('/')),
                None,
            ),
            (
                Key::Enter,
                Some(Action::Details),
                Some(Action::Back),
                Some(Action::Back),
            ),
            (
                Key::Escape,
                Some(Action::Clear),
                Some(Action::Clear),
                Some(Action::Back),
            ),
            (Key::Tab, Some(Action::Switch), Some(Action::Back), None),
            (Key::Backspace, None, Some(Action::Erase), Some(Action::Back)),
            (Key::Char('x'), None, Some(Action::Type('x')), None),
            (Key::Ctrl('a'), None, None, None),
        ] {
            assert_eq!(action(key, Mode::Tables), tables, "{key:?}");
            assert_eq!(action(key, Mode::Search), search, "{key:?}");
            assert_eq!(action(key, Mode::Details), details, "{key:?}");
        }
    }
}
