//! Reads the parameters of `delimiter`.

use toml::de::DeValue;

use super::warn_of_backslash;
use crate::config::reader::{Item, Section};
use crate::framing::{Delimiter, DelimiterError};

pub(super) fn read(section: &Section<'_>) -> Option<Delimiter> {
    section.require("a delimiter framing", &[("delimiter", "delimiter = \"\\n\"")]);
    let keep = section.get("keep").map_or(Some(false), |item| item.boolean());
    let item = section.get("delimiter")?;
    let elements = match item.value {
        DeValue::Array(_) => item.list("[\"\\r\\n\", \"\\n\"]")?,
        _ => vec![item.clone()],
    };
    let listed = item.each(&elements, |one| {
        warn_of_backslash(one);
        one.bytes()
    })?;
    let bytes: Vec<Vec<u8>> = listed.into_iter().map(|(_, bytes)| bytes).collect();
    let keep = keep?;
    match Delimiter::new(&bytes, keep) {
        Ok(rule) => Some(rule),
        Err(error) => {
            delimiter_error(&item, &elements, &bytes, error);
            None
        }
    }
}

fn delimiter_error(item: &Item<'_>, elements: &[Item<'_>], bytes: &[Vec<u8>], error: DelimiterError) {
    let problem = |element: &Item<'_>, label: &str, help: &str| element.wrong(error.to_string(), label, help);
    match error {
        DelimiterError::None => problem(item, "an empty list", "write delimiter = \"\\n\""),
        DelimiterError::TooMany => problem(item, "too many", "list those that the backend really sends"),
        DelimiterError::Length => {
            for (element, bytes) in elements.iter().zip(bytes) {
                if Delimiter::new(std::slice::from_ref(bytes), false).is_err() {
                    let label = if bytes.is_empty() {
                        "empty".to_owned()
                    } else {
                        format!("{} bytes", bytes.len())
                    };
                    problem(
                        element,
                        &label,
                        "write what stands between two records, such as \"\\r\\n\"",
                    );
                }
            }
        }
        DelimiterError::Ambiguous => {
            if let [written, ..] = elements {
                problem(written, "written behind each record", "put the longer one first");
            }
        }
        DelimiterError::Replacement => problem(item, "", "replace with other bytes"),
    }
}
