//! Words the parser's errors for the person who wrote the file.

use toml::de::Error;

use super::diagnostic::{Basis, Diagnostic, Span};
use super::suggest::quote;

/// What the parser says of a value that starts like a number, a date or a boolean and is none.
const BARE: &[&str] = &[
    "invalid binary number",
    "invalid boolean",
    "invalid date-time",
    "invalid exponent",
    "invalid float",
    "invalid fraction",
    "invalid hexadecimal number",
    "invalid integer number",
    "invalid mantissa",
    "invalid octal number",
];

/// One syntax error, as a diagnostic.
pub(super) fn explain(source: &str, error: &Error) -> Diagnostic {
    let span = error.span().unwrap_or(source.len()..source.len());
    let marked = source.get(span.clone()).unwrap_or_default();
    let (what, expected) = match error.message().split_once(", expected ") {
        Some((what, expected)) => (what, format!("expected {expected}")),
        None => (error.message(), String::new()),
    };
    let diagnostic = match what {
        "string values must be quoted" => Diagnostic::error("a string stands in quotes")
            .at(span, "no quotes here")
            .help(format!("write {}", bare_word(marked))),
        "duplicate key" => twice(source, marked, span),
        "invalid basic string" => Diagnostic::error("this string is not valid")
            .at(span, expected)
            .help("a string ends on its line, in the quotes it starts with; a backslash is written \\\\"),
        _ if BARE.contains(&what) => {
            let token = token(source, span);
            let help = format!("write {}", bare_word(&source[token.clone()]));
            Diagnostic::error("this value cannot be read")
                .at(token, "")
                .help(help)
        }
        _ => {
            let problem = Diagnostic::error(format!("not valid TOML: {what}")).at(span, expected);
            match what {
                "unclosed table" | "unclosed array table" => {
                    problem.help("close a header as it was opened: [limits], [[route]]")
                }
                _ if what.starts_with("missing comma") => problem.help("write a comma between them"),
                "key with no value" => problem.help("write key = value"),
                _ => problem,
            }
        }
    };
    diagnostic.basis(Basis::Syntax)
}

/// What a word without quotes was probably meant to be.
fn bare_word(word: &str) -> String {
    match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => "true".to_owned(),
        "false" | "no" => "false".to_owned(),
        _ => quote(word),
    }
}

/// The word that a place lies in.
fn token(source: &str, span: Span) -> Span {
    let ends = |c: char| c.is_whitespace() || "=,[]{}#".contains(c);
    let (before, behind) = source.split_at(source.floor_char_boundary(span.start));
    let start = before
        .rfind(ends)
        .map_or(0, |at| source.ceil_char_boundary(at + 1));
    let end = before.len() + behind.find(ends).unwrap_or(behind.len());
    start..end
}

fn twice(source: &str, key: &str, span: Span) -> Diagnostic {
    let before = &source[..span.start];
    let is_header = before
        .rsplit('\n')
        .next()
        .is_some_and(|line| line.trim_start().starts_with('['));
    let help = match (is_header, key) {
        (true, "listener" | "route") => format!("write [[{key}]], in double brackets, for each of them"),
        (true, _) => "put everything that belongs to a table under one header".to_owned(),
        (false, _) => "keep one of the two".to_owned(),
    };
    let problem = Diagnostic::error(format!("`{key}` is written twice"))
        .at(span.clone(), "again here")
        .help(help);
    match first(before, key, is_header) {
        Some(first) => problem.at(first, "first here"),
        None => problem,
    }
}

/// Where a key or a table is written first: the nearest line above that says so.
fn first(before: &str, key: &str, is_header: bool) -> Option<Span> {
    let mut end = before.len();
    // The line of the key itself is not looked at.
    for line in before.split_inclusive('\n').rev() {
        let start = end - line.len();
        end = start;
        let text = line.trim_start();
        let at = start + line.len() - text.len();
        if is_header {
            let named = text.trim_start_matches('[').trim_start();
            if text.starts_with('[')
                && named
                    .strip_prefix(key)
                    .is_some_and(|rest| rest.trim_start().starts_with(']'))
            {
                let at = at + text.len() - named.len();
                return Some(at..at + key.len());
            }
        } else if text.starts_with('[') {
            return None;
        } else if text
            .strip_prefix(key)
            .is_some_and(|rest| rest.trim_start().starts_with('='))
        {
            return Some(at..at + key.len());
        }
    }
    None
}
