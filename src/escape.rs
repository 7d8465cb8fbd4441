//! Makes text from outside safe to print.

use std::fmt::{self, Display, Formatter, Write};

/// How much of a text is printed.
const MOST: usize = 256;

/// Prints a text that may come from anybody: what a terminal or a log reader would obey is escaped, and the length is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (count, c) in self.0.chars().enumerate() {
            if count == MOST {
                return f.write_char('…');
            }
            if is_obeyed(c) {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Controls (C0, C1, DEL), and the invisible characters that reorder or hide what stands around them.
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::Printable;

    #[test]
    fn nothing_that_would_be_obeyed_is_printed() {
        let shown = Printable("a\u{1b}[31m\u{9b}b\n\u{202e}é").to_string();
        assert_eq!(shown, "a\\u{1b}[31m\\u{9b}b\\n\\u{202e}é");
        assert_eq!(Printable(&"x".repeat(1000)).to_string().chars().count(), 257);
    }
}
