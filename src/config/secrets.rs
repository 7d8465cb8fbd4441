//! Takes secrets out of what is shown of a file: messages go into logs, and to whoever may ask for a reload.

use super::keys::SECRETS;

/// The source with `*` for every byte of a secret's value, so that places stay what they are. It need not be TOML: where a secret ends
/// is not known then, so that all is hidden up to the end of the line, or of a string of several lines.
pub(super) fn mask(source: &str) -> String {
    let mut masked = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, value)) = find(rest) {
        let (secret, behind) = value.split_at(end(value));
        masked.push_str(before);
        masked.extend(secret.chars().flat_map(|shown| {
            let hidden = if shown.is_ascii_whitespace() { shown } else { '*' };
            std::iter::repeat_n(hidden, shown.len_utf8())
        }));
        rest = behind;
    }
    masked + rest
}

/// What stands before the value of the first secret, and what begins with it.
fn find(source: &str) -> Option<(&str, &str)> {
    let values = SECRETS.iter().filter_map(|key| {
        source.match_indices(key).find_map(|(at, _)| {
            let before = source[..at].trim_end_matches([' ', '\t', '"', '\'']);
            let behind = &source[at + key.len()..];
            let is_key = before.is_empty() || before.ends_with(['\n', '\r', '{', ',', '.']);
            let is_whole = !behind.starts_with(|next: char| next.is_alphanumeric() || "_-".contains(next));
            // Without `=`, or with another sign for it, it is a secret all the same.
            let value = behind.strip_prefix(['"', '\'']).unwrap_or(behind);
            let value = value.trim_start_matches([' ', '\t', '\r', '\n', '=', ':']);
            (is_key && is_whole).then_some(source.len() - value.len())
        })
    });
    values.min().map(|at| source.split_at(at))
}

fn end(value: &str) -> usize {
    for quotes in ["\"\"\"", "\'\'\'"] {
        if let Some(text) = value.strip_prefix(quotes) {
            let closed = text.find(quotes).unwrap_or(text.len());
            let line = text[closed..].find('\n').map_or(text.len(), |at| closed + at);
            return quotes.len() + line;
        }
    }
    value.find('\n').unwrap_or(value.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_secret_is_hidden_however_it_is_written() {
        for (source, masked) in [
            ("token = \"abc\"\nbind = 1\n", "token = *****\nbind = 1\n"),
            ("token = \"abc\nbind = 1\n", "token = ****\nbind = 1\n"),
            ("token = \"a\"b # c\n", "token = **** * *\n"),
            ("token=abc", "token=***"),
            ("token abc\n", "token ***\n"),
            ("token: abc\n", "token: ***\n"),
            ("token =\nabc\nd\n", "token =\n***\nd\n"),
            ("\t\"token\" = 'é'\n", "\t\"token\" = ****\n"),
            ("admin.token = 1\n", "admin.token = *\n"),
            ("admin = { token = \"abc\" }\n", "admin = { token = ***** *\n"),
            ("token = \"\"\"a\nb\"\"\" c\nd\n", "token = ****\n**** *\nd\n"),
            ("token = \"\"\"a\nb\n", "token = ****\n*\n"),
            ("token = 1\ntoken = 2\n", "token = *\ntoken = *\n"),
        ] {
            assert_eq!(mask(source), masked, "{source}");
            assert_eq!(mask(source).len(), source.len());
        }
    }

    #[test]
    fn what_only_looks_like_a_secret_is_shown() {
        for source in [
            "token_file = \"abc\"\n",
            "path = \"/token\"\n",
            "tokens = 1\n",
            "mytoken = 1\n",
            "token",
        ] {
            assert_eq!(mask(source), source);
        }
    }
}
