//! Lines of a screen: pieces of text, and how they look; pure.

use super::text::{cut, width};

/// How a piece of text looks. Whatever it tells, words tell too: not everybody sees colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Dim,
    Strong,
    Good,
    Warn,
    Bad,
    /// The chosen row.
    Chosen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) style: Style,
}

pub(super) type Line = Vec<Piece>;

pub(super) fn piece(text: impl Into<String>, style: Style) -> Piece {
    Piece {
        text: text.into(),
        style,
    }
}

pub(super) fn pad(text: &str, columns: usize, right: bool) -> String {
    let text = cut(text, columns);
    let gap = " ".repeat(columns - width(&text).min(columns));
    if right { gap + &text } else { text + &gap }
}

/// How many columns a line takes.
pub(super) fn line_width(line: &Line) -> usize {
    line.iter().map(|piece| width(&piece.text)).sum()
}

/// As much of a line as there is room for.
pub(super) fn clip(line: Line, columns: usize) -> Line {
    if line_width(&line) <= columns {
        return line;
    }
    let mut room = columns;
    let mut clipped = Line::new();
    for Piece { text, style } in line {
        let whole = width(&text);
        if whole < room {
            room -= whole;
            clipped.push(Piece { text, style });
            continue;
        }
        // Something stands behind it: its last column is for the mark.
        let text = cut(&(text + "…"), room);
        clipped.push(Piece { text, style });
        break;
    }
    clipped
}
