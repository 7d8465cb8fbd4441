//! Reads what a route says about text: its charset, and the edges of that.

use toml::Spanned;

use super::diagnostic::Diagnostic;
use super::reader::{Item, Section};
use super::suggest::quote;
use crate::alike::closest;
use crate::bridge::{Accept, Deliver, InvalidText};
use crate::charset::{Charset, NAMES, NameError, Unmappable};

/// What one table says of it.
#[derive(Clone, Default)]
pub(super) struct Text {
    charset: Option<Spanned<Charset>>,
    unmappable: Option<Spanned<Unmappable>>,
    invalid: Option<Spanned<InvalidText>>,
}

impl Text {
    pub(super) fn read(section: &Section<'_>) -> Self {
        Self {
            charset: section
                .get("charset")
                .and_then(|item| Some(Spanned::new(item.span.clone(), charset(&item)?))),
            unmappable: section.get("unmappable").and_then(|item| {
                let words = [
                    ("reject", Unmappable::Reject),
                    ("replace", Unmappable::Replace),
                    ("escape", Unmappable::Escape),
                ];
                Some(Spanned::new(item.span.clone(), item.choice(&words)?))
            }),
            invalid: section.get("invalid_text").and_then(|item| {
                let words = [
                    ("close", InvalidText::Close),
                    ("replace", InvalidText::Replace),
                    ("binary", InvalidText::Binary),
                ];
                Some(Spanned::new(item.span.clone(), item.choice(&words)?))
            }),
        }
    }

    /// These, and the others where these say nothing.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            charset: self.charset.or(other.charset),
            unmappable: self.unmappable.or(other.unmappable),
            invalid: self.invalid.or(other.invalid),
        }
    }

    /// The charset, if it is not UTF-8.
    pub(super) fn charset(&self) -> Option<Charset> {
        let written = self.charset.as_ref().map(|charset| *charset.get_ref());
        written.filter(|charset| *charset != Charset::UTF_8)
    }

    pub(super) fn unmappable(&self) -> Unmappable {
        let written = self.unmappable.as_ref();
        written.map_or(Unmappable::Reject, |unmappable| *unmappable.get_ref())
    }

    pub(super) fn invalid_text(&self, deliver: Deliver) -> InvalidText {
        match (&self.invalid, deliver) {
            (Some(invalid), _) => *invalid.get_ref(),
            (None, Deliver::Auto) => InvalidText::Binary,
            (None, Deliver::Text | Deliver::Binary) => InvalidText::Close,
        }
    }

    /// Reports what a route says itself and that has no meaning on it, `all` being what holds for it. What comes from `[defaults]` may
    /// go unused.
    pub(super) fn check(&self, all: &Self, accept: Accept, deliver: Deliver, route: &Section<'_>) {
        let report = |key, span, help| {
            let problem = Diagnostic::error(format!("`{key}` has no meaning here"))
                .at(span, "")
                .help(help);
            route.reader.report(problem);
        };
        if let Some(charset) = &self.charset
            && (accept, deliver) == (Accept::Binary, Deliver::Binary)
        {
            let help = "binary messages are not transcoded: write message = \"text\", or remove this line";
            report("charset", charset.span(), help);
        }
        if let Some(unmappable) = &self.unmappable {
            if all.charset().is_none() {
                let help = "UTF-8 has all characters: remove this line, or add a charset";
                report("unmappable", unmappable.span(), help);
            } else if accept == Accept::Binary {
                let help = "no text is taken from the client: remove this line";
                report("unmappable", unmappable.span(), help);
            }
        }
        if let Some(invalid) = &self.invalid
            && deliver == Deliver::Binary
        {
            let help = "the client gets no text: write message = \"text\", or remove this line";
            report("invalid_text", invalid.span(), help);
        }
    }
}

fn charset(item: &Item<'_>) -> Option<Charset> {
    let text = item.text("\"gbk\"")?;
    let error = match Charset::named(&text.value) {
        Ok(charset) => return Some(charset),
        Err(error) => error,
    };
    let help = match error {
        NameError::Unknown => {
            let names = NAMES.iter().copied();
            match text.literal().and_then(|name| closest(name, names)) {
                Some(meant) => format!("did you mean {}?", quote(meant)),
                None => format!("the charsets are {}", NAMES.join(", ")),
            }
        }
        NameError::Ascii => {
            "remove this line; if there are other bytes too, write \"iso-8859-1\" or \"windows-1252\""
                .to_owned()
        }
        NameError::Utf16 | NameError::NoTable => {
            "write message = \"binary\", and let the page decode it".to_owned()
        }
    };
    let label = match error {
        NameError::Unknown => "unknown name",
        NameError::Utf16 | NameError::Ascii | NameError::NoTable => "not for records",
    };
    item.wrong(error.to_string(), label, help);
    None
}
