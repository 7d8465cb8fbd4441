//! Texts and lists, as messages write them.

/// A text as it is written in the file.
pub(super) fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Several things as a list for reading: a, b or c.
pub(super) fn either(all: impl Iterator<Item = String>) -> String {
    join(all.collect(), "or")
}

/// Several things as a list for reading: a, b and c.
pub(super) fn and(all: impl Iterator<Item = String>) -> String {
    join(all.collect(), "and")
}

fn join(all: Vec<String>, word: &str) -> String {
    match all.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {word} {last}", rest.join(", ")),
        _ => all.concat(),
    }
}
