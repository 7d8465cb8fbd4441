//! Puts environment variables into strings. This happens after the file has been parsed, so a value can never become a key or a
//! table; and values are taken as they are, never searched for further variables.

/// A piece of a string.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Stands for itself.
    Plain(&'a str),
    /// `${NAME}`, `${NAME:-default}` or `${NAME:?message}`.
    Variable { name: &'a str, otherwise: Otherwise<'a> },
    /// Something with a dollar sign that is none of these: the text, and what to write instead.
    Malformed { text: &'a str, remedy: String },
}

/// What stands in for a variable that is not set. Those with a colon count an empty one as not set, as in the shell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Otherwise<'a> {
    Nothing,
    Default(&'a str),
    Message(&'a str),
}

/// A string once its variables are in place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) value: String,
    /// False when the string holds a dollar sign: its value then is not what is written, and must not be echoed.
    pub(super) literal: bool,
}

/// Why a string cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The text to mark, as far as it is written without escapes.
    pub(super) at: String,
    pub(super) title: String,
    pub(super) help: String,
}

/// Cuts a string into its pieces.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (plain, behind) = rest.split_at(at);
        if !plain.is_empty() {
            pieces.push(Piece::Plain(plain));
        }
        let (piece, len) = dollar(behind);
        pieces.push(piece);
        rest = &behind[len..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Plain(rest));
    }
    pieces
}

/// Reads the piece at the start of a text that starts with a dollar sign, and its length.
fn dollar(text: &str) -> (Piece<'_>, usize) {
    if text.starts_with("$$") {
        return (Piece::Plain("$"), 2);
    }
    let Some(inside) = text.strip_prefix("${") else {
        let name = name_len(&text[1..]);
        let remedy = match &text[1..=name] {
            "" => "write $$ for a dollar sign".to_owned(),
            name => format!("write ${{{name}}} for the variable, $${name} for a dollar sign"),
        };
        let text = &text[..=name];
        return (Piece::Malformed { text, remedy }, text.len());
    };
    let Some(end) = inside.find('}') else {
        let remedy = "the closing brace is missing: write ${NAME}".to_owned();
        return (Piece::Malformed { text, remedy }, text.len());
    };
    let (inside, whole) = (&inside[..end], &text[..end + 3]);
    let (name, tail) = inside.split_at(name_len(inside));
    let otherwise = match tail {
        "" => Some(Otherwise::Nothing),
        _ if inside.contains('$') => None,
        _ => tail
            .strip_prefix(":-")
            .map(Otherwise::Default)
            .or_else(|| tail.strip_prefix(":?").map(Otherwise::Message)),
    };
    let piece = match otherwise {
        Some(otherwise) if !name.is_empty() => Piece::Variable { name, otherwise },
        _ => Piece::Malformed {
            text: whole,
            remedy: "write ${NAME}, ${NAME:-default} or ${NAME:?message}, not nested".to_owned(),
        },
    };
    (piece, whole.len())
}

fn name_len(text: &str) -> usize {
    let fits = |(at, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit());
    text.char_indices()
        .find(|one| !fits(*one))
        .map_or(text.len(), |(at, _)| at)
}

/// The names of the variables in a string.
pub(super) fn variables(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = pieces(text)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Variable { name, .. } => Some(name),
            Piece::Plain(_) | Piece::Malformed { .. } => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Expands a string, or tells everything that is wrong with it.
pub(super) fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Expanded, Vec<Problem>> {
    let mut expanded = Expanded {
        value: String::with_capacity(text.len()),
        literal: !text.contains('$'),
    };
    let mut problems = Vec::new();
    for piece in pieces(text) {
        match piece {
            Piece::Plain(plain) => expanded.value.push_str(plain),
            Piece::Malformed { text, remedy } => problems.push(Problem {
                at: text.to_owned(),
                title: "this is not a variable".to_owned(),
                help: remedy,
            }),
            Piece::Variable { name, otherwise } => match (env(name), otherwise) {
                (Some(value), Otherwise::Nothing) => expanded.value.push_str(&value),
                (Some(value), _) if !value.is_empty() => expanded.value.push_str(&value),
                (_, Otherwise::Default(default)) => expanded.value.push_str(default),
                (_, Otherwise::Nothing) => problems.push(Problem {
                    at: format!("${{{name}}}"),
                    title: format!("the environment variable {name} is not set"),
                    help: format!("set it, or give a default: ${{{name}:-default}}"),
                }),
                (_, Otherwise::Message(message)) => problems.push(Problem {
                    at: format!("${{{name}:?{message}}}"),
                    title: format!("the environment variable {name} is not set: {message}"),
                    help: format!("set {name}"),
                }),
            },
        }
    }
    if problems.is_empty() {
        Ok(expanded)
    } else {
        Err(problems)
    }
}
