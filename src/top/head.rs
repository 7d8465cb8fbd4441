//! What stands over the tables: the process, and what is to be said of the looking itself; pure.

use std::time::Duration;

use jiff::Timestamp;

use super::line::{Line, Style, clip, line_width, piece};
use super::model::{Head, Picture};
use super::screen::About;
use super::text::{size, span, visible, width};
use super::view::View;

/// A certificate that ends sooner is worth a word, as on the console.
const SOON: Duration = Duration::from_hours(30 * 24);
/// And then a louder one: what renews certificates has had its time.
const VERY_SOON: Duration = Duration::from_hours(7 * 24);

/// The lines on top, the most important first.
pub(super) fn head(picture: &Picture, view: &View, about: &About, columns: Option<usize>) -> Vec<Line> {
    let head = &picture.head;
    let mut lines = vec![first_line(head, view, about, columns)];
    if let Some((since, why)) = &about.away {
        let text = format!(
            "NO ANSWER for {}, and shown as it was: {}",
            span(*since),
            visible(why)
        );
        lines.push(vec![piece(text, Style::Bad)]);
    }
    let count = |count: Option<u64>| count.map_or_else(|| "?".into(), |count| count.to_string());
    let bytes = |count: Option<u64>| count.map_or_else(|| "?".into(), |count| size(count as f64));
    let per_second = |bytes: Option<f64>| bytes.map_or_else(|| "-".into(), |bytes| size(bytes) + "/s");
    let queued: u64 = picture.routes.iter().map(|route| route.queued).sum();
    lines.push(facts(&[
        (
            "sessions",
            format!("{} of {}", count(head.sessions), count(head.max_sessions)),
        ),
        ("up", per_second(head.rates.up)),
        ("down", per_second(head.rates.down)),
        ("opening", count(head.opening)),
        ("queued", queued.to_string()),
    ]));
    lines.push(facts(&[
        ("buffers", bytes(head.buffers)),
        ("memory", bytes(head.memory)),
        (
            "files",
            format!(
                "{} of {}",
                count(head.files),
                head.max_files
                    .map_or_else(|| "any".into(), |most| most.to_string())
            ),
        ),
        ("refused", head.refused.to_string()),
    ]));
    lines.push(configuration(head, about.now));
    lines
}

/// Names and what they are, side by side.
fn facts(facts: &[(&str, String)]) -> Line {
    let pieces = facts.iter().enumerate().flat_map(|(at, (name, value))| {
        let gap = if at == 0 { "" } else { "   " };
        [
            piece(format!("{gap}{name} "), Style::Dim),
            piece(value.clone(), Style::Plain),
        ]
    });
    pieces.collect()
}

fn first_line(head: &Head, view: &View, about: &About, columns: Option<usize>) -> Line {
    let style = if head.state == "ready" {
        Style::Good
    } else {
        Style::Warn
    };
    let mut line = vec![
        piece(format!("sealock {}", visible(&head.version)), Style::Strong),
        piece("  ", Style::Plain),
        piece(visible(&head.state), style),
        piece(format!("  {}", visible(&about.url)), Style::Plain),
    ];
    if let Some(started) = head.started {
        let running = Duration::try_from(about.now.duration_since(started)).unwrap_or_default();
        line.push(piece(format!("  running {}", span(running)), Style::Plain));
    }
    let Some(columns) = columns else {
        return line;
    };
    let (pace, style) = if view.paused {
        ("PAUSED".to_owned(), Style::Warn)
    } else {
        (
            format!("every {}", crate::units::show_duration(about.interval)),
            Style::Dim,
        )
    };
    // It stays in sight on a narrow screen too.
    let room = columns.saturating_sub(width(&pace) + 1);
    let mut line = clip(line, room);
    let gap = columns.saturating_sub(line_width(&line) + width(&pace));
    line.push(piece(" ".repeat(gap), Style::Plain));
    line.push(piece(pace, style));
    line
}

/// What the configuration in force is, and when its first certificate ends.
pub(super) fn configuration(head: &Head, now: Timestamp) -> Line {
    let generation = head
        .generation
        .map_or_else(|| "?".into(), |number| number.to_string());
    let mut line = facts(&[("generation", generation)]);
    let Some((listener, end)) = &head.certificate else {
        line.push(piece("   no certificate", Style::Dim));
        return line;
    };
    let (text, style) = match Duration::try_from(end.duration_since(now)) {
        Ok(left) if left >= SOON => (format!("ends in {}", span(left)), Style::Plain),
        Ok(left) if left >= VERY_SOON => (format!("ends soon, in {}", span(left)), Style::Warn),
        Ok(left) => (format!("ends SOON, in {}", span(left)), Style::Bad),
        Err(_) => {
            let ago = Duration::try_from(now.duration_since(*end)).unwrap_or_default();
            (format!("ENDED {} ago", span(ago)), Style::Bad)
        }
    };
    line.push(piece(
        format!("   certificate of {} ", visible(listener)),
        Style::Dim,
    ));
    line.push(piece(text, style));
    line
}
