//! Whatever the file holds, it is answered.

use proptest::prelude::*;

use super::*;

/// Nothing panics, every place lies in the source, and there is an error wherever there is no configuration.
fn hold_for(source: &str) -> Result<(), TestCaseError> {
    let problems = match read_text(source) {
        Ok(loaded) => {
            prop_assert_eq!(loaded.warnings.count(Severity::Error), 0);
            loaded.warnings
        }
        Err(problems) => {
            prop_assert!(problems.count(Severity::Error) > 0);
            problems
        }
    };
    for (span, _) in problems.iter().flat_map(|one| &one.labels) {
        prop_assert!(source.get(span.clone()).is_some(), "{:?} in {:?}", span, source);
    }
    for one in problems.iter() {
        prop_assert!(!one.title.is_empty());
    }
    let text = problems.render(false);
    prop_assert!(!text.contains(char::from(27)));
    prop_assert!(!problems.render(true).is_empty());
    Ok(())
}

/// The example and the bad files, with some cuts and inserts.
fn mutated() -> impl Strategy<Value = String> {
    let sources = [
        texts::uncommented(EXAMPLE),
        include_str!("../testdata/bad.toml").to_owned(),
        include_str!("../testdata/syntax.toml").to_owned(),
    ];
    let pieces = prop_oneof![
        Just(String::new()),
        "[\\[\\]{}=\"'#,.$\\\\\n\r\t\u{0}-\u{1f}a-z0-9ü表\u{feff}]{1,4}",
        Just("${SECRET}".to_owned()),
        Just("[[route]]\n".to_owned()),
        Just("1979-05-27".to_owned()),
        Just("-1".to_owned()),
    ];
    let edit = (any::<prop::sample::Index>(), 0..40usize, pieces);
    (
        prop::sample::select(sources.to_vec()),
        prop::collection::vec(edit, 0..8),
    )
        .prop_map(|(mut text, edits)| {
            for (place, len, piece) in edits {
                let start = text.floor_char_boundary(place.index(text.len() + 1));
                let end = text.floor_char_boundary((start + len).min(text.len())).max(start);
                text.replace_range(start..end, &piece);
            }
            text
        })
}

proptest! {
    #[test]
    fn any_text_is_answered(source in "\\PC{0,200}") {
        hold_for(&source)?;
    }

    #[test]
    fn any_lines_are_answered(source in "([a-z_.\"]{1,12} ?= ?(\"[^\n]{0,12}\"|[0-9a-z\\[{-]{0,6})\r?\n|\\[\\[?[a-z.]{1,9}\\]?\\]?\n){0,12}") {
        hold_for(&source)?;
    }

    #[test]
    fn any_change_of_a_file_is_answered(source in mutated()) {
        hold_for(&source)?;
    }
}
