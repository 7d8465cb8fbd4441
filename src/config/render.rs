//! Draws diagnostics for a person: the line, the mark below it, the remedy.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str};

use super::diagnostic::{Basis, Diagnostic, Diagnostics, LineStarts, Severity, Span};

/// The width of a terminal that nobody has widened.
const WIDTH: usize = 80;
/// Where remedies are wrapped: they are indented below the line numbers.
const HELP_WIDTH: usize = 66;
/// More problems than this are counted, not shown.
const MOST_SHOWN: usize = 100;

impl Diagnostics {
    /// The text to show: with colours for a terminal, plain otherwise.
    pub fn render(&self, colored: bool) -> String {
        let renderer = if colored {
            Renderer::styled()
        } else {
            Renderer::plain()
        }
        .term_width(WIDTH);
        let lines = LineStarts::of(&self.source);
        let name = normalize_untrusted_str(&self.name);
        let mut text = String::new();
        for one in self.iter().take(MOST_SHOWN) {
            text += &renderer.render(&[self.group(one, &lines, &name)]);
            text += "\n\n";
        }
        text + &self.summary(&name) + "\n"
    }

    fn group<'a>(&'a self, one: &'a Diagnostic, lines: &LineStarts, name: &'a str) -> Group<'a> {
        let level = match one.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(normalize_untrusted_str(&one.title));
        let spans: Vec<Span> = one.labels.iter().map(|(span, _)| self.tidy(span)).collect();
        let window = spans
            .iter()
            .map(|span| span.start)
            .min()
            .zip(spans.iter().map(|span| span.end).max());
        let mut group = match window {
            None => title.element(Origin::path(name)),
            Some((first, last)) => {
                // Only the lines in question are handed over, so that many problems in a long file stay cheap.
                let line = lines.line(first);
                let start = lines.0[line];
                let rest = &self.source[last..];
                let end = last + rest.find(['\n', '\r']).unwrap_or(rest.len());
                let marks = spans
                    .iter()
                    .zip(&one.labels)
                    .enumerate()
                    .map(|(at, (span, (_, label)))| {
                        let kind = if at == 0 {
                            AnnotationKind::Primary
                        } else {
                            AnnotationKind::Context
                        };
                        let mark = kind.span(span.start - start..span.end - start);
                        mark.label((!label.is_empty()).then(|| normalize_untrusted_str(label)))
                    });
                let snippet = Snippet::source(&self.source[start..end])
                    .path(name)
                    .line_start(line + 1);
                title.element(snippet.annotations(marks))
            }
        };
        for help in &one.help {
            group = group.element(Level::HELP.message(wrap(help)));
        }
        match &one.note {
            Some(note) => group.element(Level::NOTE.message(wrap(note))),
            None => group,
        }
    }

    /// A span that lies inside the source, at the borders of characters, on one line: what is marked is where to look, not how
    /// far it goes.
    fn tidy(&self, span: &Span) -> Span {
        let start = self.source.floor_char_boundary(span.start);
        let end = self.source.floor_char_boundary(span.end.max(start));
        let marked = &self.source[start..end];
        let line = marked.find(['\n', '\r']).map_or(marked, |at| &marked[..at]);
        start..start + line.len()
    }

    fn summary(&self, name: &str) -> String {
        let count = |severity, word: &str| match self.count(severity) {
            0 => None,
            1 => Some(format!("1 {word}")),
            many => Some(format!("{many} {word}s")),
        };
        let counts: Vec<String> = [
            count(Severity::Error, "error"),
            count(Severity::Warning, "warning"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut more = String::new();
        if self.iter().count() > MOST_SHOWN {
            more = format!(", the first {MOST_SHOWN} shown");
        }
        if self.iter().any(|one| one.basis == Basis::Syntax) {
            more += "; there may be more to say once the syntax is right";
        }
        match counts.as_slice() {
            [] => format!("{name}: no problems"),
            counts => format!("{name}: {}{more}", counts.join(", ")),
        }
    }
}

/// Breaks a text between words. Lines that are already broken stay so.
fn wrap(text: &str) -> String {
    let mut wrapped = String::new();
    for (at, line) in normalize_lines(text).enumerate() {
        if at > 0 {
            wrapped.push('\n');
        }
        let mut column = 0;
        for word in line.split_inclusive(' ') {
            let width = word.trim_end().chars().count();
            if column > 0 && column + width > HELP_WIDTH {
                wrapped.truncate(wrapped.trim_end().len());
                wrapped.push('\n');
                column = 0;
            }
            wrapped += word;
            column += word.chars().count();
        }
    }
    wrapped
}

fn normalize_lines(text: &str) -> impl Iterator<Item = String> {
    text.split('\n').map(normalize_untrusted_str)
}
