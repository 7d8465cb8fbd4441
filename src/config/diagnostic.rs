//! Says what is wrong with a configuration file: where, what was expected, and what to write instead.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use super::secrets::mask;

/// A range of bytes in the source.
pub type Span = Range<usize>;

/// Whether a file with this problem can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but probably does not do what is meant.
    Warning,
}

/// What a problem rests on: it decides whether it is still worth telling when parts of the file could not be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// The syntax itself.
    Syntax,
    /// One value, whatever stands around it.
    Value,
    /// Which keys and tables there are.
    Structure,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub title: String,
    /// The marked places, each with a few words; the first is where the problem is. None when something is missing from the file as
    /// a whole.
    pub labels: Vec<(Span, String)>,
    /// What to do about it.
    pub help: Vec<String>,
    /// Where the value came from, if not from the file.
    pub note: Option<String>,
    pub(super) basis: Basis,
}

impl Diagnostic {
    pub(super) fn error(title: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            title: title.into(),
            labels: Vec::new(),
            help: Vec::new(),
            note: None,
            basis: Basis::Structure,
        }
    }

    pub(super) fn warning(title: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(title)
        }
    }

    /// Marks a place. The first call marks the place of the problem, others what it has to do with.
    pub(super) fn at(mut self, span: Span, label: impl Into<String>) -> Self {
        self.labels.push((span, label.into()));
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    pub(super) fn basis(mut self, basis: Basis) -> Self {
        self.basis = basis;
        self
    }

    /// Where the problem is.
    pub fn span(&self) -> Option<&Span> {
        self.labels.first().map(|(span, _)| span)
    }
}

/// Everything that there is to say about one file, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    pub(super) name: String,
    pub(super) source: String,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Sorts the problems by place, drops repetitions (one value in `[defaults]` may be wrong for several routes), and drops what
    /// would only mislead while the syntax is broken.
    pub(super) fn new(name: &str, source: &str, mut list: Vec<Diagnostic>) -> Self {
        let lines = LineStarts::of(source);
        let lines_of = |span: &Span| lines.line(span.start)..=lines.line(span.end);
        let broken: BTreeSet<usize> = list
            .iter()
            .filter(|one| one.basis == Basis::Syntax)
            .filter_map(Diagnostic::span)
            .flat_map(lines_of)
            .collect();
        if list.iter().any(|one| one.basis == Basis::Syntax) {
            list.retain(|one| match (one.basis, one.span()) {
                (Basis::Syntax, _) => true,
                (Basis::Value, Some(span)) => broken.range(lines_of(span)).next().is_none(),
                _ => false,
            });
        }
        let place = |one: &Diagnostic| one.span().map_or(usize::MAX, |span| span.start);
        list.sort_by(|a, b| (place(a), &a.title).cmp(&(place(b), &b.title)));
        list.dedup();
        Self {
            name: name.to_owned(),
            source: mask(source),
            list,
        }
    }

    /// The problems in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// True when there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many problems of one severity there are.
    pub fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|one| one.severity == severity).count()
    }
}

/// Where each line starts.
pub(super) struct LineStarts(pub(super) Vec<usize>);

impl LineStarts {
    pub(super) fn of(source: &str) -> Self {
        let behind = memchr::memchr_iter(b'\n', source.as_bytes()).map(|at| at + 1);
        Self(std::iter::once(0).chain(behind).collect())
    }

    /// The line that holds a byte, from 0.
    pub(super) fn line(&self, at: usize) -> usize {
        self.0.partition_point(|start| *start <= at) - 1
    }
}

/// As [`Diagnostics::render`] without colours.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}
