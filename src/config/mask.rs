//! The file as it was written, without its secrets: for operators to read, who may not all be trusted with them.
//!
//! In doubt more is hidden than has to be. What a secret key holds goes whole, found by its place in the parsed file and not by how
//! it looks; where the same text stands elsewhere, it goes too; and of a comment that seems to speak of a secret goes the rest.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, SECRET};
use crate::alike::closest;

/// What stands for a value; the text stays TOML.
const VALUE: &str = "\"<masked>\"";
/// What stands for the rest of a comment.
const REST: &str = " <masked>";
/// What stands for a secret elsewhere.
const WORD: &str = "<masked>";
/// A shorter one would be found in words that have nothing to do with it.
const SHORTEST: usize = 8;
/// Words in comments with a secret behind them, perhaps.
const SUSPECT: &[&str] = &[
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "bearer",
    "authorization",
];
/// Parts of keys that nobody has declared, for which somebody may have written a secret. In comments they are too common.
const MEANT: &[&str] = &["auth", "pass", "pwd"];

/// A file that was parsed without an error, with its secrets masked.
pub(super) fn mask(source: &str, tree: &DeTable<'_>) -> String {
    let mut places = Places::default();
    places.walk_table(tree, false, |key| SECRET.contains(&key));
    places.taken.sort_unstable_by_key(|span| span.start);
    let mut hidden = comments(source, &places.taken);
    hidden.extend(places.secret.into_iter().map(|span| (span, VALUE)));
    hidden.sort_unstable_by_key(|(span, _)| span.start);

    let mut masked = String::with_capacity(source.len());
    let mut at = 0;
    for (span, instead) in hidden {
        masked += source.get(at..span.start).unwrap_or_default();
        masked += instead;
        at = span.end;
    }
    masked += source.get(at..).unwrap_or_default();
    for word in places.words.iter().filter(|word| word.len() >= SHORTEST) {
        masked = masked.replace(word, WORD);
    }
    masked
}

/// The same text with stars for secrets, each byte in its place: for messages that quote the file. `broken`: it has errors of syntax,
/// so the tree need not hold all that is written.
pub(super) fn veil(source: &str, tree: &DeTable<'_>, broken: bool) -> String {
    let mut places = Places::default();
    places.walk_table(tree, false, is_meant);
    places.taken.sort_unstable_by_key(|span| span.start);
    let mut hidden = places.secret;
    hidden.extend(comments(source, &places.taken).into_iter().map(|(span, _)| span));
    for word in places.words.iter().filter(|word| word.len() >= SHORTEST) {
        hidden.extend(source.match_indices(word).map(|(at, word)| at..at + word.len()));
    }
    if broken {
        hidden.extend(assigned(source));
    }
    let mut veiled = source.as_bytes().to_vec();
    for span in hidden {
        let bytes = veiled.get_mut(span).unwrap_or_default();
        for byte in bytes.iter_mut().filter(|byte| !b"\"'\r\n".contains(byte)) {
            *byte = b'*';
        }
    }
    String::from_utf8(veiled).unwrap_or_default()
}

/// Whether a key is secret, or seems to be meant for one.
fn is_meant(key: &str) -> bool {
    let known = KEYS.iter().any(|(_, keys)| keys.contains(&key));
    let lower = key.to_ascii_lowercase();
    // A key that is misspelt and names a file does not end so.
    let suspect = lower.ends_with("key") || SUSPECT.iter().chain(MEANT).any(|word| lower.contains(word));
    SECRET.contains(&key) || (!known && (suspect || closest(key, SECRET.iter().copied()).is_some()))
}

/// What stands behind secret keys, as far as can be told without understanding the file.
fn assigned(source: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // Where a string of several lines is open: what ends it.
    let mut open: Option<&str> = None;
    let mut at = 0;
    for line in source.split_inclusive('\n') {
        let start = at;
        at += line.len();
        if let Some(end) = open {
            found.push(start..at);
            open = Some(end).filter(|end| !line.contains(end));
            continue;
        }
        let mut signs = line.match_indices(['=', ':']).map(|(sign, _)| sign);
        let sign = signs.find(|sign| names_secret(line.get(..*sign).unwrap_or_default()));
        // Without a sign it is a secret all the same.
        let word = || line.trim_end().rfind(char::is_whitespace);
        let Some(sign) =
            sign.or_else(|| word().filter(|at| names_secret(line.get(..*at).unwrap_or_default())))
        else {
            continue;
        };
        found.push(start + sign + 1..at);
        let value = line.get(sign + 1..).unwrap_or_default().trim_start();
        open = ["\"\"\"", "'''"].into_iter().find(|quotes| {
            let inside = value.strip_prefix(quotes);
            inside.is_some_and(|inside| !inside.contains(quotes))
        });
        if value.is_empty() {
            // It may stand in the next line.
            open = Some("");
        }
    }
    found
}

/// Whether the key that a text ends with is secret, or a part of it is.
fn names_secret(text: &str) -> bool {
    let key = text.rsplit(['{', ',', '[', '=']).next().unwrap_or_default();
    let mut parts = key.split('.').map(|part| part.trim().trim_matches(['"', '\'']));
    parts.any(is_meant)
}

#[derive(Default)]
struct Places {
    /// Keys and plain values: a number sign in one begins no comment.
    taken: Vec<Range<usize>>,
    /// Plain values below a secret key.
    secret: Vec<Range<usize>>,
    /// What they say.
    words: Vec<String>,
}

impl Places {
    fn walk_table(&mut self, table: &DeTable<'_>, secret: bool, is_secret: fn(&str) -> bool) {
        for (key, value) in table.iter() {
            self.taken.push(key.span());
            let secret = secret || is_secret(key.get_ref());
            self.walk(value.get_ref(), value.span(), secret, is_secret);
        }
    }

    fn walk(&mut self, value: &DeValue<'_>, span: Range<usize>, secret: bool, is_secret: fn(&str) -> bool) {
        match value {
            DeValue::Table(table) => self.walk_table(table, secret, is_secret),
            DeValue::Array(list) => {
                for one in list.iter() {
                    self.walk(one.get_ref(), one.span(), secret, is_secret);
                }
            }
            _ => {
                self.taken.push(span.clone());
                if secret {
                    self.secret.push(span);
                    if let DeValue::String(text) = value {
                        self.words.push(text.to_string());
                    }
                }
            }
        }
    }
}

/// What is to be hidden of comments. `taken` is sorted, and tells where there are none.
fn comments(source: &str, taken: &[Range<usize>]) -> Vec<(Range<usize>, &'static str)> {
    let mut hidden = Vec::new();
    // A secret may go on in the comments below.
    let mut goes_on = false;
    let mut at = 0;
    for line in source.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let mut signs = line.match_indices('#').map(|(offset, _)| start + offset);
        let Some(sign) = signs.find(|sign| !inside(taken, *sign)) else {
            goes_on = false;
            continue;
        };
        let end = start + line.trim_end().len();
        let comment = source.get(sign + 1..end).unwrap_or_default();
        let alone = source
            .get(start..sign)
            .is_some_and(|before| before.trim().is_empty());
        if goes_on && alone {
            hidden.push((sign + 1..end, REST));
            continue;
        }
        let suspected = suspected(comment);
        goes_on = suspected.is_some_and(|behind| {
            let rest = comment.get(behind..).unwrap_or_default();
            let bare = rest.trim_matches([' ', '\t', '=', ':', '"', '\'']);
            bare.is_empty() || rest.contains("\"\"\"") || rest.contains("'''")
        });
        if let Some(behind) = suspected {
            hidden.push((sign + 1 + behind..end, REST));
        }
    }
    hidden
}

fn inside(taken: &[Range<usize>], at: usize) -> bool {
    let behind = taken.partition_point(|span| span.start <= at);
    behind > 0 && taken.get(behind - 1).is_some_and(|span| span.contains(&at))
}

/// Where in a comment the part begins that may be a secret.
fn suspected(comment: &str) -> Option<usize> {
    let lower = comment.to_ascii_lowercase();
    let word = SUSPECT
        .iter()
        .filter_map(|word| Some(lower.find(word)? + word.len()))
        .min();
    // Such a key may be a word of the language as well.
    let key = SECRET.iter().filter_map(|key| {
        let set = |behind: &usize| {
            let rest = lower.get(*behind..).unwrap_or_default();
            rest.trim_start_matches([' ', '\t', '"', '\''])
                .starts_with(['=', ':', '.'])
        };
        let mut found = lower.match_indices(key).map(|(at, key)| at + key.len());
        found.find(set)
    });
    word.into_iter().chain(key).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn masked(source: &str) -> String {
        let tree = DeTable::parse(source).unwrap();
        mask(source, tree.get_ref())
    }

    #[test]
    fn what_a_secret_key_holds_is_masked_wherever_and_however_it_stands() {
        for (source, expected) in [
            ("token = \"hunter2hunter2\"\n", "token = \"<masked>\"\n"),
            ("token = 'hunter2'", "token = \"<masked>\""),
            (
                "\"token\"='x' # why\nbind = 1",
                "\"token\"=\"<masked>\" # why\nbind = 1",
            ),
            ("\"to\\u006ben\" = \"x\"\n", "\"to\\u006ben\" = \"<masked>\"\n"),
            ("admin . token = \"x\"", "admin . token = \"<masked>\""),
            (
                "[admin]\nbind = \"b\"\ntoken = \"\"\"\nhunter\n# 2\"\"\"\nhosts = [] # end",
                "[admin]\nbind = \"b\"\ntoken = \"<masked>\"\nhosts = [] # end",
            ),
            (
                "token = '''a\nb'''\r\nx = 1\r\n",
                "token = \"<masked>\"\r\nx = 1\r\n",
            ),
            (
                "admin = { bind = \"b\", token = \"x\" }",
                "admin = { bind = \"b\", token = \"<masked>\" }",
            ),
            ("token = \"${ADMIN_TOKEN:-hunter2}\"", "token = \"<masked>\""),
            ("token = 12345678", "token = \"<masked>\""),
            (
                "token = [\"a\", ['b', 3]]",
                "token = [\"<masked>\", [\"<masked>\", \"<masked>\"]]",
            ),
            ("[token]\nhex = \"aa\"\n", "[token]\nhex = \"<masked>\"\n"),
            (
                "health = { send = { hex = \"aa\" } }",
                "health = { send = { hex = \"<masked>\" } }",
            ),
            ("health.send = \"AUTH x\\r\\n\"", "health.send = \"<masked>\""),
            // The same text elsewhere.
            (
                "token = \"hunter2hunter2\"\nname = \"hunter2hunter2\" # hunter2hunter2?\n",
                "token = \"<masked>\"\nname = \"<masked>\" # <masked>?\n",
            ),
            // Paths are no secrets, nor is what looks like one.
            (
                "token_file = \"/etc/token\"\nname = \"token\"\n",
                "token_file = \"/etc/token\"\nname = \"token\"\n",
            ),
            (
                "name = \"a # token = b\"\nx = '''\n# token = c\n'''\n",
                "name = \"a # token = b\"\nx = '''\n# token = c\n'''\n",
            ),
            (
                "grüße = \"ß\" # ß\ntoken = \"ßßß\"\n",
                "\"grüße\" = \"ß\" # ß\ntoken = \"<masked>\"\n",
            ),
        ] {
            let source = source.replace("grüße", "\"grüße\"");
            assert_eq!(masked(&source), expected, "{source}");
        }
    }

    #[test]
    fn comments_that_may_hold_a_secret_lose_the_rest() {
        for (source, expected) in [
            ("# token = \"hunter2\"\nx = 1\n", "# token <masked>\nx = 1\n"),
            ("#token='hunter2'", "#token <masked>"),
            ("x = 1 # token = \"hunter2\"", "x = 1 # token <masked>"),
            ("x = \"#\" # TOKEN: hunter2", "x = \"#\" # TOKEN <masked>"),
            ("# \"token\" = \"hunter2\"", "# \"token <masked>"),
            ("# admin.token=\"hunter2\"", "# admin.token <masked>"),
            ("# the old password was hunter2", "# the old password <masked>"),
            ("# Authorization: Bearer hunter2", "# Authorization <masked>"),
            (
                "# health = { send = \"AUTH hunter2\" }",
                "# health = { send <masked>",
            ),
            ("# send.hex = \"aa\"", "# send <masked>"),
            (
                "# token = \"\"\"\n# hunter2\n#   more\nx = 1 # y\n# z\n",
                "# token <masked>\n# <masked>\n# <masked>\nx = 1 # y\n# z\n",
            ),
            (
                "# token =\n# hunter2\n\n# x\n",
                "# token <masked>\n# <masked>\n\n# x\n",
            ),
            ("# token = 'x'\r\n# y\r\n", "# token <masked>\r\n# y\r\n"),
            (
                "x = [ # token = 'a'\n  1, # b\n]\n",
                "x = [ # token <masked>\n  1, # b\n]\n",
            ),
            ("# clients send lines\n", "# clients send lines\n"),
            ("# Größe, ToKeN ß", "# Größe, ToKeN <masked>"),
        ] {
            assert_eq!(masked(source), expected, "{source}");
        }
    }

    #[test]
    fn messages_quote_no_secret() {
        for (source, expected) in [
            (
                "[admin]\ntoken = \"ab#\" # c\nbind = 1",
                "[admin]\ntoken = \"***\" # c\nbind = 1",
            ),
            (
                "health = { send = \"AUTH ß\", x = 1 }",
                "health = { send = \"*******\", x = 1 }",
            ),
            // What else speaks of one, or repeats it.
            (
                "bind = 7 # old password hunter2\n# token =\n# hunter2\n",
                "bind = 7 # old password********\n# token**\n#********\n",
            ),
            (
                "token = \"hunter2hunter2\"\nbind = \"hunter2hunter2\" # hunter2hunter2?\n",
                "token = \"**************\"\nbind = \"**************\" # **************?\n",
            ),
            (
                "x = \"#\" # the PASSWORD ß\ny = z\n",
                "x = \"#\" # the PASSWORD***\ny = z\n",
            ),
            // Misspelt, which is what the message may be about.
            (
                "tokn = 'ab'\ntokenn = 'ab'\ntoken_file = 'ab'",
                "tokn = '**'\ntokenn = '**'\ntoken_file = 'ab'",
            ),
            (
                "password = 'ab'\nAdminToken = 'ab'",
                "password = '**'\nAdminToken = '**'",
            ),
            // Of other products.
            (
                "auth = 'ab'\napi_key = 'ab'\napiKey = 'ab'\nkey = 'ab'\npass = 'ab'\nadmin_pwd = 'ab'\nbearer = 'ab'",
                "auth = '**'\napi_key = '**'\napiKey = '**'\nkey = '**'\npass = '**'\nadmin_pwd = '**'\nbearer = '**'",
            ),
            (
                "key_file = 'ab'\nkey_fil = 'ab' # the pass key = 'ab'",
                "key_file = 'ab'\nkey_fil = 'ab' # the pass key = 'ab'",
            ),
            ("admin.auth = ab\n", "admin.auth =***\n"),
            // Whatever the parser makes of these.
            ("token = \"a\"\ntoken = \"b\"\n", "token =*\"*\"\ntoken =*\"*\"\n"),
            (
                "token = \"ab\r\nbind = \"x\"\r\n",
                "token =*\"**\r\nbind = \"x\"\r\n",
            ),
            ("token = ab\n", "token =***\n"),
            ("a = { b = 1, \"token\" = ab \n", "a = { b = 1, \"token\" =****\n"),
            (
                "admin.token = '''a\nb''' x\nc = d\n",
                "admin.token =*'''*\n*'''**\nc = d\n",
            ),
            ("send.hex = \"\"\"a\nb\n", "send.hex =*\"\"\"*\n*\n"),
            ("end = x\nname = token = 1\n", "end = x\nname = token =**\n"),
            ("token abc\n", "token ***\n"),
            ("token: abc\n", "token:****\n"),
            ("token =\nabc\nd\n", "token =\n***\nd\n"),
        ] {
            let (tree, errors) = DeTable::parse_recoverable(source);
            let veiled = veil(source, tree.get_ref(), !errors.is_empty());
            assert_eq!(veiled, expected, "{source}");
            assert_eq!(veiled.len(), source.len());
        }
    }

    #[test]
    fn secrets_are_keys() {
        for secret in SECRET {
            assert!(KEYS.iter().any(|(_, keys)| keys.contains(secret)), "{secret}");
        }
    }

    /// A TOML string of this text, in one of the ways to write it.
    fn written(text: &str, way: u8) -> String {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
        match way {
            0 if !text.contains('\'') => format!("'{text}'"),
            1 if !text.contains("'") => format!("'''\n{text}'''"),
            2 => format!("\"\"\"\n{escaped}\"\"\""),
            _ => format!("\"{escaped}\""),
        }
    }

    proptest! {
        #[test]
        fn no_secret_is_shown(
            secret in "[a-z0-9#'\" =\\\\\\[\\]{}ß]{8,24}",
            way in 0_u8..4,
            inline in any::<bool>(),
            others in vec(("[a-z#'\" =\\\\]{0,12}", 0_u8..4, "[a-z#'\" =]{0,12}"), 0..6),
        ) {
            let mut lines: Vec<String> = others
                .iter()
                .enumerate()
                .map(|(at, (text, way, comment))| format!("k{at} = {} #{comment}\n", written(text, *way)))
                .collect();
            let value = written(&secret, way);
            let line = if inline && !value.contains('\n') {
                format!("admin = {{ a = '#', token = {value} }} # b\n")
            } else {
                format!("admin.token = {value} # b\n")
            };
            lines.insert(lines.len() / 2, line);
            let masked = masked(&lines.concat());
            prop_assert!(!masked.contains(&secret), "{masked}");
            prop_assert!(!masked.contains(value.trim_matches(['"', '\'', '\n'])), "{masked}");
            let tree = DeTable::parse(&masked).unwrap();
            let DeValue::Table(admin) = tree.get_ref().get("admin").unwrap().get_ref() else {
                panic!("{masked}")
            };
            prop_assert_eq!(admin.get("token").unwrap().get_ref().as_str(), Some("<masked>"));
        }
    }

    #[test]
    fn the_rest_stays_as_it_was_written() {
        for source in ["", "\n", "x=1", include_str!("testdata/syntax.toml")] {
            if let Ok(tree) = DeTable::parse(source) {
                assert_eq!(mask(source, tree.get_ref()), source);
            }
        }
        let example = include_str!("../../config.example.toml");
        let masked = masked(example);
        assert_eq!(masked.lines().count(), example.lines().count());
        let differ = example
            .lines()
            .zip(masked.lines())
            .filter(|(one, other)| one != other);
        for (line, _) in differ {
            assert!(line.contains("token") || line.contains("send"), "{line}");
        }
    }
}
