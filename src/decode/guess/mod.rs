//! `--guess`: tries the whole catalogue on a capture, and ranks what fits.

mod candidates;
mod score;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write as _};

use super::{Decode, MAX_MESSAGE, capture, count, report};
use crate::framing::{DecodeRules, Oversized};
use crate::units::ByteSize;
use candidates::Candidate;
use score::{Sample, Stop, Trial};

/// How much of a capture is looked at.
const MOST: u64 = 1 << 20;
/// With less evidence a framing does not fit: in one of some hundred captures without records, chance brings as much.
const LEAST: f64 = 2.0;
/// Below, a longer capture would help.
const WEAK: f64 = 12.0;
/// From here on, hardly another framing can be meant.
const STRONG: f64 = 30.0;
/// A guess so far behind the first one is out of the question.
const FAR: f64 = 20.0;
/// How many guesses are shown.
const SHOWN: usize = 5;

/// Framings that find the same records, the likeliest first.
#[derive(Debug)]
struct Guess<'a> {
    score: f64,
    same: Vec<(&'a Candidate, Trial)>,
}

/// What is to be said of a capture.
#[derive(Debug, Default)]
struct Ranking<'a> {
    guesses: Vec<Guess<'a>>,
    /// Where nothing fits to the end: what came farthest.
    closest: Option<(&'a Candidate, Trial)>,
}

/// Prints what a capture may be. True when something fits.
pub(super) fn run(args: &Decode) -> Result<bool, String> {
    let mut bytes = Vec::new();
    capture::open_capture(&args.input, args.hex)?
        .take(MOST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read the capture: {error}"))?;
    let is_all = bytes.len() as u64 <= MOST;
    bytes.truncate(MOST as usize);
    let max_message = args.max_message.map_or(MAX_MESSAGE, |ByteSize(size)| size);
    let all = candidates::all();
    let ranking = rank(&all, &bytes, is_all, max_message);
    let shown = show(&ranking, &bytes, is_all);
    let mut out = io::stdout().lock();
    match out.write_all(shown.as_bytes()).and_then(|()| out.flush()) {
        // A reader that has gone is no reason to stop.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(format!("cannot write: {error}"));
        }
        _ => {}
    }
    if !is_all {
        report(&format!(
            "note: only the first {} of the capture were looked at",
            ByteSize(MOST)
        ));
    }
    if ranking.guesses.is_empty() {
        report(&nothing(&ranking, &bytes));
    }
    Ok(!ranking.guesses.is_empty())
}

/// Tries all candidates. Framings that find the same records stand together: on this capture nothing tells them apart but their names.
fn rank<'a>(all: &'a [Candidate], bytes: &[u8], is_all: bool, max_message: u64) -> Ranking<'a> {
    let limits = DecodeRules {
        max_message,
        oversized: Oversized::Close,
        text: false,
    };
    let sample = Sample::new(bytes, is_all);
    let mut ranking = Ranking::default();
    for candidate in all {
        let trial = sample.try_out(candidate, limits);
        if trial.score < LEAST || trial.records == 0 {
            continue;
        }
        match trial.stopped {
            None => {
                let same =
                    |guess: &&mut Guess<'_>| guess.same.iter().any(|(_, other)| other.cuts == trial.cuts);
                match ranking.guesses.iter_mut().find(same) {
                    Some(guess) => guess.same.push((candidate, trial)),
                    None => ranking.guesses.push(Guess {
                        score: 0.0,
                        same: vec![(candidate, trial)],
                    }),
                }
            }
            Some((_, Stop::NotText | Stop::Letters)) => {}
            Some(_) => {
                if ranking
                    .closest
                    .as_ref()
                    .is_none_or(|(_, closest)| closest.score < trial.score)
                {
                    ranking.closest = Some((candidate, trial));
                }
            }
        }
    }
    for guess in &mut ranking.guesses {
        // A name says more than parameters; what would write other bytes is hardly meant. Ties stay in the order of the catalogue.
        guess.same.sort_by(|(a, one), (b, other)| {
            let rank = |candidate: &Candidate, trial: &Trial| (!trial.faithful, !candidate.is_preset);
            rank(a, one)
                .cmp(&rank(b, other))
                .then(other.score.total_cmp(&one.score))
        });
        guess.score = guess
            .same
            .iter()
            .map(|(_, trial)| trial.score)
            .fold(f64::NEG_INFINITY, f64::max);
    }
    ranking
        .guesses
        .sort_by(|one, other| other.score.total_cmp(&one.score));
    let best = ranking.guesses.first().map_or(0.0, |guess| guess.score);
    ranking.guesses.retain(|guess| guess.score > best - FAR);
    ranking.guesses.truncate(SHOWN);
    ranking
}

/// All guesses, and what is left when none of them is right.
fn show(ranking: &Ranking<'_>, bytes: &[u8], is_all: bool) -> String {
    let guesses = ranking.guesses.iter().enumerate();
    let shown: String = guesses
        .map(|(i, guess)| describe(i + 1, guess, bytes, is_all))
        .collect();
    let last = ranking.guesses.len() + 1;
    format!("{shown}{last}. framing = \"raw\"\n   always fits: bytes as they come, without records\n")
}

/// A guess, with its evidence in words.
fn describe(place: usize, guess: &Guess<'_>, bytes: &[u8], is_all: bool) -> String {
    let Some((candidate, trial)) = guess.same.first() else {
        return String::new();
    };
    let (least, most) = trial.lengths;
    let lengths = if least == most {
        format!("of {}", count(most, "byte"))
    } else {
        format!("of {least} to {}", count(most, "byte"))
    };
    let rest = bytes.len() as u64 - trial.end;
    let end = match (rest, is_all) {
        (0, true) => "the capture ends with one".to_owned(),
        (0, false) => "one ends where the sample ends".to_owned(),
        (rest, _) => format!("{} of another one at the end", count(rest, "byte")),
    };
    let among = if trial.looked_at < trial.records {
        format!(" in the first {} records", trial.looked_at)
    } else {
        String::new()
    };
    let mut facts = vec![
        format!("{} {lengths}; {end}", count(trial.records, "record")),
        format!(
            "{} of headers or delimiters checked{among}",
            count(trial.checked, "byte")
        ),
        // Rounded down: what is not all text is not called so.
        format!("{} % of the messages are text", (trial.text * 100.0).floor()),
    ];
    if !trial.faithful {
        facts.push("but it would write these messages in another way".to_owned());
    }
    if let Some(direction) = candidate.direction {
        facts.push(format!("by its framing {direction}"));
    }
    let others: Vec<&str> = guess.same[1..]
        .iter()
        .filter(|(other, trial)| other.is_preset && trial.faithful)
        .map(|(other, _)| other.value.trim_matches('"'))
        .collect();
    if !others.is_empty() {
        facts.push(format!("the same records by {}", others.join(", ")));
    }
    let strength = match guess.score {
        // However much of it is checked: the next record may tell another story.
        _ if trial.records == 1 => "weak evidence, a single record",
        score if score < WEAK => "weak evidence",
        score if score < STRONG => "good evidence",
        _ => "strong evidence",
    };
    format!(
        "{place}. framing = {}\n   {strength}: {:.0} bits\n   {}\n",
        candidate.value,
        guess.score,
        facts.join("\n   ")
    )
}

/// Says that nothing fits, and what may be the reason.
fn nothing(ranking: &Ranking<'_>, bytes: &[u8]) -> String {
    let mut text = format!(
        "nothing fits: no framing finds records in {}\n  that chance would not find as well\n",
        count(bytes.len() as u64, "byte"),
    );
    if let Some((candidate, trial)) = &ranking.closest
        && let Some((at, Stop::Error(error))) = trial.stopped
    {
        text += &format!(
            "  closest: framing = {}\n  {}, then, at offset {at}: {error}\n",
            candidate.value,
            count(trial.records, "record"),
        );
    }
    text + if bytes.len() < 64 {
        "  help: this is too little to tell: capture more"
    } else {
        "  help: a capture holds one direction, from its first byte on, and neither\n  encrypted nor compressed. If this one does: --max-message for longer records"
    }
}
