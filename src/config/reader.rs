//! Walks through the parsed file and collects every problem on the way.
//!
//! Nothing here stops at an error: a getter that finds one reports it and gives `None`, as it does for a key that is not there, and
//! the reading goes on. Whoever asked for the file looks at the reports first.

use std::cell::RefCell;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, de::DeString};

use super::diagnostic::{Basis, Diagnostic, Span};
use super::interpolate;
use super::keys::{Place, belongs};
use super::suggest::{and, quote};

/// What the whole reading shares.
pub(super) struct Reader<'a> {
    pub(super) source: &'a str,
    pub(super) base_dir: &'a Path,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    pub(super) problems: RefCell<Vec<Diagnostic>>,
    /// How many sessions a part of the whole may have, wherever that is written.
    pub(super) shares: RefCell<Vec<Spanned<usize>>>,
    /// Where it is written how much all sessions may hold.
    pub(super) gather_budget: RefCell<Option<Span>>,
}

impl Reader<'_> {
    pub(super) fn report(&self, problem: Diagnostic) {
        self.problems.borrow_mut().push(problem);
    }
}

/// A table with the keys that may stand in it.
pub(super) struct Section<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) place: Place,
    /// Its header, or the brace that opens an inline table.
    pub(super) span: Span,
    table: &'a DeTable<'a>,
    /// Keys that are not here, but seem to be meant by unknown ones.
    meant: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// Opens a table and reports the keys that do not belong there.
    pub(super) fn open(reader: &'a Reader<'a>, place: Place, span: Span, table: &'a DeTable<'a>) -> Self {
        let inline = reader
            .source
            .get(span.clone())
            .is_some_and(|text| text.starts_with('{'));
        let mut section = Self {
            reader,
            place,
            span: if inline { span.start..span.start + 1 } else { span },
            table,
            meant: Vec::new(),
        };
        for (key, _) in table.iter() {
            if !place.keys().any(|known| known == key.get_ref()) {
                section.unknown(key);
            }
        }
        section
    }

    fn unknown(&mut self, key: &Spanned<DeString<'a>>) {
        let name: &str = key.get_ref();
        let here = self.place.name();
        let problem =
            Diagnostic::error(format!("`{name}` is not a key of {here}")).at(key.span(), "unknown here");
        let meant = self.place.meant(name);
        let help = match (meant, belongs(name)) {
            // Elsewhere, exactly so: no guessing.
            (_, Some(place)) => place,
            (Some(meant), None) => {
                self.meant.push(meant);
                format!("did you mean `{meant}`?")
            }
            (None, None) => {
                let keys: Vec<&str> = self.place.keys().collect();
                format!("the keys of {here} are {}", keys.join(", "))
            }
        };
        self.reader.report(problem.help(help));
    }

    /// What is written for a key, if it is written.
    pub(super) fn get(&self, key: &'static str) -> Option<Item<'a>> {
        debug_assert!(
            self.place.keys().any(|known| known == key),
            "{key} is not in the table of keys"
        );
        let (name, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(Item {
            reader: self.reader,
            key,
            key_span: name.span(),
            span: value.span(),
            value: value.get_ref(),
        })
    }

    /// True when a key is written here, rightly or wrongly, or seems to be meant by an unknown one.
    pub(super) fn mentions(&self, key: &'static str) -> bool {
        self.get(key).is_some() || self.meant.contains(&key)
    }

    /// Reports the keys that must be here and are not, all in one, with a line to copy for each.
    pub(super) fn require(&self, what: &str, needed: &[(&'static str, &str)]) {
        let missing: Vec<_> = needed.iter().filter(|(key, _)| !self.mentions(key)).collect();
        if missing.is_empty() {
            return;
        }
        let names = and(missing.iter().map(|(key, _)| format!("`{key}`")));
        let lines: Vec<&str> = missing.iter().map(|(_, line)| *line).collect();
        let problem = Diagnostic::error(format!("{what} needs {names}"))
            .at(self.span.clone(), "missing here")
            .help(format!("add, for example\n{}", lines.join("\n")));
        self.reader.report(problem);
    }

    /// The tables of `[[key]]`.
    pub(super) fn tables(&self, key: &'static str, place: Place) -> Vec<Self> {
        let Some(item) = self.get(key) else {
            return Vec::new();
        };
        let double = Diagnostic::error(format!("there may be several of `{key}`"))
            .help(format!("write {}, in double brackets, each time", place.name()));
        match item.value {
            DeValue::Array(list) => list
                .iter()
                .filter_map(|one| item.element(one).table(place))
                .collect(),
            DeValue::Table(table)
                if table
                    .iter()
                    .any(|(key, _)| place.keys().any(|known| known == key.get_ref())) =>
            {
                self.reader
                    .report(double.at(item.span.clone(), "single brackets"));
                vec![Self::open(self.reader, place, item.span, table)]
            }
            DeValue::Table(_) => {
                let named = double
                    .at(item.span, "a single table")
                    .help("its name is a key of its own: name = \"…\"");
                self.reader.report(named);
                Vec::new()
            }
            _ => {
                self.reader.report(double.at(item.span, found(item.value)));
                Vec::new()
            }
        }
    }
}

/// What is written for a key, or one element of it.
#[derive(Clone)]
pub(super) struct Item<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) key: &'static str,
    pub(super) key_span: Span,
    pub(super) span: Span,
    pub(super) value: &'a DeValue<'a>,
}

/// A string with its variables in place.
pub(super) struct Text {
    pub(super) value: String,
    literal: bool,
}

impl Text {
    /// The text, if it is the one that is written in the file: a value from the environment must not stand in a message.
    pub(super) fn literal(&self) -> Option<&str> {
        self.literal.then_some(&self.value)
    }
}

impl<'a> Item<'a> {
    /// Reports a problem with this value. An empty `help` is left out: the title says it all.
    pub(super) fn wrong(&self, title: impl Into<String>, label: impl Into<String>, help: impl Into<String>) {
        let mut problem = Diagnostic::error(title)
            .at(self.span.clone(), label)
            .basis(Basis::Value);
        problem
            .help
            .extend(Some(help.into()).filter(|help| !help.is_empty()));
        self.report(problem);
    }

    /// Reports a problem that has to do with this value, and says so when the value is not the one in the file.
    pub(super) fn report(&self, problem: Diagnostic) {
        let names = self
            .value
            .as_str()
            .map(interpolate::variables)
            .unwrap_or_default();
        let problem = if names.is_empty() {
            problem
        } else {
            let names = and(names.into_iter().map(|name| format!("${{{name}}}")));
            problem.note(format!("the value comes from the environment: {names}"))
        };
        self.reader.report(problem);
    }

    /// Reports that this value has the wrong type.
    pub(super) fn mismatch(&self, expected: &str, help: impl Into<String>) {
        self.wrong(format!("`{}` is {expected}", self.key), found(self.value), help);
    }

    /// An element of this value.
    pub(super) fn element(&self, value: &'a Spanned<DeValue<'a>>) -> Self {
        Item {
            span: value.span(),
            value: value.get_ref(),
            ..self.clone()
        }
    }

    /// This value as a table.
    pub(super) fn table(&self, place: Place) -> Option<Section<'a>> {
        match self.value {
            DeValue::Table(table) => Some(Section::open(self.reader, place, self.span.clone(), table)),
            _ => {
                self.mismatch("a table", format!("write {} on a line of its own", place.name()));
                None
            }
        }
    }

    /// This value as a string, with its variables in place.
    pub(super) fn text(&self, example: &str) -> Option<Text> {
        let DeValue::String(raw) = self.value else {
            let help = match self.value {
                DeValue::Array(list) if list.len() == 1 => "write it without brackets".to_owned(),
                _ => format!("write a string in quotes, such as {example}"),
            };
            self.mismatch("a string", help);
            return None;
        };
        match interpolate::expand(raw, self.reader.env) {
            Ok(expanded) => Some(Text {
                value: expanded.value,
                literal: expanded.literal,
            }),
            Err(problems) => {
                for problem in problems {
                    let diagnostic = Diagnostic::error(problem.title)
                        .at(self.find(&problem.at), "")
                        .help(problem.help);
                    self.reader.report(diagnostic.basis(Basis::Value));
                }
                None
            }
        }
    }

    /// Where a part of this string is written; the whole of it when escapes hide the part.
    fn find(&self, part: &str) -> Span {
        let whole = self.reader.source.get(self.span.clone()).unwrap_or_default();
        whole.find(part).map_or(self.span.clone(), |at| {
            let start = self.span.start + at;
            start..start + part.len()
        })
    }

    /// The elements of this list.
    pub(super) fn list(&self, example: &str) -> Option<Vec<Self>> {
        match self.value {
            DeValue::Array(list) => Some(list.iter().map(|one| self.element(one)).collect()),
            DeValue::String(one) if !one.contains('$') => {
                self.mismatch("a list", format!("write [{}]", quote(one)));
                None
            }
            _ => {
                self.mismatch("a list", format!("write it in brackets, such as {example}"));
                None
            }
        }
    }

    /// Reads each element of a list and reports those that equal an earlier one. `None` when one cannot be read.
    pub(super) fn each<T: PartialEq>(
        &self,
        elements: &[Self],
        read: impl Fn(&Self) -> Option<T>,
    ) -> Option<Vec<(Span, T)>> {
        let mut good: Vec<(Span, T)> = Vec::new();
        for element in elements {
            let Some(one) = read(element) else {
                continue;
            };
            if let Some((earlier, _)) = good.iter().find(|(_, other)| *other == one) {
                let problem = Diagnostic::error(format!("`{}` lists the same twice", self.key))
                    .at(element.span.clone(), "again here")
                    .at(earlier.clone(), "first here")
                    .help("remove one of them");
                self.reader.report(problem.basis(Basis::Value));
            }
            good.push((element.span.clone(), one));
        }
        (good.len() == elements.len()).then_some(good)
    }
}

/// Names what was found instead.
pub(super) fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "this is a string",
        DeValue::Integer(_) => "this is an integer",
        DeValue::Float(_) => "this is a number with a fraction",
        DeValue::Boolean(_) => "this is true or false",
        DeValue::Datetime(_) => "this is a date or time",
        DeValue::Array(_) => "this is a list",
        DeValue::Table(_) => "this is a table",
    }
}
