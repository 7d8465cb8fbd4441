//! Finds what was probably meant.

/// Words less alike than this are not suggested.
const ALIKE: f64 = 0.8;
/// Longer words are not compared: nothing here is that long.
const LONGEST: usize = 64;

/// The candidate most like a word, if one is like it at all.
pub(crate) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    candidates
        .map(|one| (strsim::jaro_winkler(&word, &one.replace('-', "_")), one))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, one)| one)
}
