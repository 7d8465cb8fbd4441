//! What stands on the screen, line by line; pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::head::head;
use super::keys::Mode;
use super::line::{Line, Style, clip, pad, piece};
use super::model::Picture;
use super::table;
use super::text::{rate, visible, width};
use super::view::{Details, Focus, Tables, View};

/// From this height on there is room for all of the head, and for both tables.
const TALL: usize = 16;

/// Columns and lines of a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

/// What is to be said beside the picture itself.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) url: String,
    pub(super) interval: Duration,
    pub(super) now: Timestamp,
    /// Since when there is no answer, and why.
    pub(super) away: Option<(Duration, String)>,
}

/// How many lines each part gets.
struct Layout {
    head: usize,
    /// Rows of a table that is there.
    routes: Option<usize>,
    sessions: Option<usize>,
    foot: usize,
}

impl Layout {
    fn of(size: Size, view: &View, picture: &Picture, about: &About) -> Self {
        let foot = usize::from(size.lines >= 4);
        let head = match size.lines {
            TALL.. => 4,
            8.. => 2,
            3.. => 1,
            _ => 0,
        };
        let head = head + usize::from(about.away.is_some() && head > 0);
        let room = size.lines.saturating_sub(head + foot);
        // A title and the names of the columns stand over each.
        let (routes, sessions) = match view.focus {
            _ if size.lines >= TALL => {
                let rows = room.saturating_sub(4);
                let routes = picture.routes.len().clamp(1, (rows / 3).max(1));
                (Some(routes), Some(rows.saturating_sub(routes)))
            }
            Focus::Routes => (Some(room.saturating_sub(2)), None),
            Focus::Sessions => (None, Some(room.saturating_sub(2))),
        };
        Self {
            head,
            routes,
            sessions,
            foot,
        }
    }

    /// Lines between head and foot.
    fn room(&self, size: Size) -> usize {
        size.lines.saturating_sub(self.head + self.foot)
    }
}

/// Brings what is looked at in line with a new picture or size. Gives how many rows a page has, and those of both tables.
pub(super) fn settle<'a>(
    view: &mut View,
    picture: &'a Picture,
    about: &About,
    size: Size,
) -> (usize, Tables<'a>) {
    let layout = Layout::of(size, view, picture, about);
    let tables = view.settle(picture, layout.routes.unwrap_or(0), layout.sessions.unwrap_or(0));
    if view.mode == Mode::Details
        && let Some(details) = &view.details
    {
        let page = layout.room(size).saturating_sub(1);
        view.scrolled = view.scrolled.min(fields(details).len().saturating_sub(page));
        return (page, tables);
    }
    let page = match view.focus {
        Focus::Routes => layout.routes,
        Focus::Sessions => layout.sessions,
    };
    (page.unwrap_or(0), tables)
}

/// The whole screen: exactly as many lines as it has, none wider than it is.
pub(super) fn draw(
    picture: &Picture,
    tables: &Tables<'_>,
    view: &View,
    about: &About,
    size: Size,
) -> Vec<Line> {
    let layout = Layout::of(size, view, picture, about);
    let mut lines = head(picture, view, about, Some(size.columns));
    lines.truncate(layout.head);
    let details = view.details.as_ref().filter(|_| view.mode == Mode::Details);
    match details {
        Some(details) => {
            let fields = fields(details);
            let page = layout.room(size).saturating_sub(1);
            let shown = view.scrolled + 1..=fields.len().min(view.scrolled + page);
            lines.push(details_title(details, fields.len(), shown));
            lines.extend(fields.into_iter().skip(view.scrolled).take(page));
        }
        None => {
            for (focus, rows) in [(Focus::Routes, layout.routes), (Focus::Sessions, layout.sessions)] {
                if let Some(rows) = rows {
                    lines.extend(table(focus, picture, tables, view, Some((size.columns, rows))));
                }
            }
        }
    }
    lines.resize(size.lines - layout.foot.min(size.lines), Line::new());
    if layout.foot > 0 {
        lines.push(foot(view));
    }
    lines.into_iter().map(|line| clip(line, size.columns)).collect()
}

/// The same as text, whole and without a frame.
pub(super) fn plain(picture: &Picture, view: &View, about: &About) -> String {
    let mut lines = head(picture, view, about, None);
    let tables = view.tables(picture);
    for focus in [Focus::Routes, Focus::Sessions] {
        lines.push(Line::new());
        lines.extend(table(focus, picture, &tables, view, None));
    }
    let text = |line: &Line| -> String { line.iter().map(|piece| piece.text.as_str()).collect() };
    lines
        .iter()
        .map(|line| text(line).trim_end().to_owned() + "\n")
        .collect()
}

/// A title, the names of the columns, and the rows: those that are shown on a screen of this width and for so many, or all of them.
fn table(
    focus: Focus,
    picture: &Picture,
    tables: &Tables<'_>,
    view: &View,
    screen: Option<(usize, usize)>,
) -> Vec<Line> {
    let columns = View::columns(focus);
    let looking = view.looking(focus);
    let (name, rows, listed, all) = match focus {
        Focus::Routes => (
            "Routes",
            &tables.routes,
            picture.routes.len(),
            picture.routes.len(),
        ),
        Focus::Sessions => (
            "Sessions",
            &tables.sessions,
            picture.sessions.len(),
            usize::try_from(picture.found).unwrap_or(usize::MAX),
        ),
    };
    let chosen = screen.filter(|_| view.focus == focus).map(|_| looking.row);
    let name = if chosen.is_some() {
        format!("[{name}]")
    } else {
        name.to_owned()
    };
    let mut title = format!("{name} {}", all.max(listed));
    if let Some(route) = view.route.as_ref().filter(|_| focus == Focus::Sessions) {
        title += &format!(" of {}", visible(route));
    }
    if all > listed {
        title += &format!(", the oldest {listed} of them here");
    }
    if !looking.search.is_empty() {
        title += &format!(", {} with \"{}\"", rows.len(), visible(&looking.search));
    }
    title += &format!(", by {}", columns[looking.by].title);
    if looking.reversed {
        title += ", reversed";
    }
    let (first, count) = screen.map_or((0, rows.len()), |(_, count)| (looking.first, count));
    if rows.len() > count && count > 0 {
        title += &format!(", {} to {}", first + 1, (first + count).min(rows.len()));
    }
    // The mark of the chosen row stands in front.
    let mark = usize::from(screen.is_some());
    let room = screen.map(|(width, _)| width.saturating_sub(mark));
    let widths = table::fit(columns, rows, room);
    let names = widths
        .iter()
        .map(|(at, width)| (columns[*at].title, *width, columns[*at].number));
    let names: Vec<String> = names
        .map(|(title, width, number)| pad(title, width, number))
        .collect();
    let mut lines = vec![
        vec![piece(title, Style::Strong)],
        vec![piece(" ".repeat(mark) + &names.join(" "), Style::Dim)],
    ];
    for (at, row) in rows.iter().enumerate().skip(first).take(count) {
        let is_chosen = chosen == Some(at);
        let mut line = vec![piece(
            if is_chosen { ">" } else { " " }.repeat(mark),
            Style::Plain,
        )];
        for (place, (at, width)) in widths.iter().enumerate() {
            let cell = &row.cells[*at];
            let gap = if place == 0 { "" } else { " " };
            line.push(piece(
                format!("{gap}{}", pad(&cell.text, *width, columns[*at].number)),
                cell.style,
            ));
        }
        if is_chosen {
            line.iter_mut().for_each(|piece| piece.style = Style::Chosen);
        }
        lines.push(line);
    }
    lines
}

fn details_title(details: &Details, all: usize, shown: RangeInclusive<usize>) -> Line {
    let what = match details.focus {
        Focus::Routes => "Route",
        Focus::Sessions => "Session",
    };
    let mut line = vec![piece(format!("{what} {}", visible(&details.key)), Style::Strong)];
    if shown.clone().count() < all {
        let text = format!(", lines {} to {} of {all}", shown.start(), shown.end());
        line.push(piece(text, Style::Plain));
    }
    if details.gone {
        line.push(piece(", gone: this is what was seen last", Style::Warn));
    }
    line
}

/// A line for each field there is.
fn fields(details: &Details) -> Vec<Line> {
    let mut found = vec![
        ("up/s".to_owned(), rate(details.rates.up)),
        ("down/s".to_owned(), rate(details.rates.down)),
    ];
    flatten("", &details.fields, &mut found);
    let longest = found.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let line = |(name, value): (String, String)| {
        vec![
            piece(pad(&name, longest + 2, false), Style::Dim),
            piece(value, Style::Plain),
        ]
    };
    found.into_iter().map(line).collect()
}

fn flatten(name: &str, value: &Value, into: &mut Vec<(String, String)>) {
    let below = |inner: &str| {
        if name.is_empty() {
            visible(inner)
        } else {
            format!("{name}.{}", visible(inner))
        }
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields
                .iter()
                .for_each(|(inner, value)| flatten(&below(inner), value, into));
        }
        Value::Array(values) if !values.is_empty() => {
            values
                .iter()
                .enumerate()
                .for_each(|(at, value)| flatten(&below(&at.to_string()), value, into));
        }
        Value::Object(_) | Value::Array(_) | Value::Null => into.push((name.to_owned(), "-".into())),
        Value::String(text) => into.push((name.to_owned(), visible(text))),
        value => into.push((name.to_owned(), value.to_string())),
    }
}

fn foot(view: &View) -> Line {
    let keys: &[(&str, &str)] = match view.mode {
        Mode::Search => {
            let search = visible(&view.looking(view.focus).search);
            return vec![
                piece(format!("/{search}_"), Style::Strong),
                piece("   Enter keeps it, Esc clears it", Style::Dim),
            ];
        }
        Mode::Details => &[("Esc", "back"), ("j/k", "move"), ("p", "pause"), ("q", "quit")],
        Mode::Tables => &[
            ("q", "quit"),
            ("Tab", "table"),
            ("/", "search"),
            ("Enter", "details"),
            ("s", "sort"),
            ("r", "reverse"),
            ("p", "pause"),
            ("j/k", "move"),
        ],
    };
    let pieces = keys.iter().enumerate().flat_map(|(at, (key, what))| {
        let gap = if at == 0 { "" } else { "  " };
        [
            piece(format!("{gap}{key}"), Style::Strong),
            piece(format!(" {what}"), Style::Dim),
        ]
    });
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::top::head::configuration;
    use crate::top::keys::Action;
    use crate::top::line::line_width;
    use crate::top::model::Look;
    use crate::top::table;
    use crate::top::view::Looking;

    const NOW: &str = "2026-11-20T12:00:00Z";

    fn about() -> About {
        About {
            url: "http://127.0.0.1:9901".into(),
            interval: Duration::from_secs(2),
            now: NOW.parse().unwrap(),
            away: None,
        }
    }

    fn look(routes: usize, sessions: usize, moved: u64) -> Look {
        let route = |at: usize| {
            json!({
                "name": format!("route-{at}"), "path": "/閘門/*", "draining": at == 1, "sessions": sessions, "queued": 2,
                "targets": [{ "condition": "up" }, { "condition": if at == 2 { "down" } else { "unknown" } }],
                "moved": { "bytes_up": moved, "bytes_down": 3000 * moved }, "ends": { "client_closed": 41 + at },
            })
        };
        let session = |at: usize| {
            json!({
                "id": 1000 + at, "client": format!("203.0.113.{}:{}", at % 256, 40_000 + at), "route": "route-0",
                "target": "tcp://10.0.0.7:6667", "subprotocol": "text.ircv3.net", "age_seconds": 3600.0 + at as f64,
                "moved": { "bytes_up": moved * at as u64, "bytes_down": moved }, "held_bytes": 2048 * at,
                "client_blocked": at == 3, "backend_blocked": false, "ending": at == 4,
            })
        };
        Look {
            status: json!({
                "version": "0.1.0", "state": "ready", "pid": 7, "started": "2026-11-17T08:00:00Z",
                "generation": { "number": 3 }, "sessions": sessions, "max_sessions": 10_000, "opening": 3,
                "buffer_bytes": 1_300_000, "resident_bytes": 35_651_584, "open_files": 512, "max_open_files": 20_000,
                "refusals": { "drain": 12 },
                "listeners": [{ "address": "0.0.0.0:8443", "certificate_expires": "2026-12-24T12:00:00Z" }],
            }),
            routes: (0..routes).map(route).collect(),
            sessions: (0..sessions).map(session).collect(),
            found: sessions as u64,
        }
    }

    fn picture(routes: usize, sessions: usize) -> Picture {
        let before = Picture::new(look(routes, sessions, 1000), None);
        Picture::new(
            look(routes, sessions, 2000),
            Some((&before, Duration::from_secs(2))),
        )
    }

    fn view() -> View {
        View {
            sessions: Looking::by(table::BY_TRAFFIC),
            ..View::default()
        }
    }

    fn drawn(picture: &Picture, view: &mut View, about: &About, columns: usize, lines: usize) -> Vec<String> {
        let size = Size { columns, lines };
        let (_, tables) = settle(view, picture, about, size);
        let drawn = draw(picture, &tables, view, about, size);
        assert_eq!(drawn.len(), lines);
        for line in &drawn {
            assert!(line_width(line) <= columns, "{columns}: {line:?}");
        }
        let text = |line: &Line| -> String { line.iter().map(|piece| piece.text.as_str()).collect() };
        drawn
            .iter()
            .map(|line| text(line).trim_end().to_owned())
            .collect()
    }

    #[test]
    fn a_usual_terminal_shows_all_of_it() {
        let lines = drawn(&picture(3, 40), &mut view(), &about(), 80, 24);
        let expected = "\
sealock 0.1.0  ready  http://127.0.0.1:9901  running 3d04h              every 2s
sessions 40 of 10000   up 1.46 KiB/s   down 4.29 MiB/s   opening 3   queued 6
buffers 1.24 MiB   memory 34.0 MiB   files 512 of 20000   refused 12
generation 3   certificate of 0.0.0.0:8443 ends in 34d00h
Routes 3, by route
 route   state       sessions queued targets     up/s   down/s  ended path
 route-0 open              40      2     2/2    500 B 1.43 MiB     41 /閘門/*
 route-1 draining          40      2     2/2    500 B 1.43 MiB     42 /閘門/*
 route-2 partly down       40      2     1/2    500 B 1.43 MiB     43 /閘門/*
[Sessions] 40, by traffic, 1 to 12
    id client             route      age     up/s   down/s     held state
> 1039 203.0.113.39:40039 route-0  1h00m 19.0 KiB    500 B 78.0 KiB open
  1038 203.0.113.38:40038 route-0  1h00m 18.6 KiB    500 B 76.0 KiB open
  1037 203.0.113.37:40037 route-0  1h00m 18.1 KiB    500 B 74.0 KiB open
  1036 203.0.113.36:40036 route-0  1h00m 17.6 KiB    500 B 72.0 KiB open
  1035 203.0.113.35:40035 route-0  1h00m 17.1 KiB    500 B 70.0 KiB open
  1034 203.0.113.34:40034 route-0  1h00m 16.6 KiB    500 B 68.0 KiB open
  1033 203.0.113.33:40033 route-0  1h00m 16.1 KiB    500 B 66.0 KiB open
  1032 203.0.113.32:40032 route-0  1h00m 15.6 KiB    500 B 64.0 KiB open
  1031 203.0.113.31:40031 route-0  1h00m 15.1 KiB    500 B 62.0 KiB open
  1030 203.0.113.30:40030 route-0  1h00m 14.6 KiB    500 B 60.0 KiB open
  1029 203.0.113.29:40029 route-0  1h00m 14.2 KiB    500 B 58.0 KiB open
  1028 203.0.113.28:40028 route-0  1h00m 13.7 KiB    500 B 56.0 KiB open
q quit  Tab table  / search  Enter details  s sort  r reverse  p pause  j/k move";
        assert_eq!(lines.join("\n"), expected);
    }

    #[test]
    fn a_small_terminal_shows_the_table_that_is_looked_at() {
        let mut view = view();
        let lines = drawn(&picture(3, 40), &mut view, &about(), 40, 10);
        let expected = "\
sealock 0.1.0  ready  http://1… every 2s
sessions 40 of 10000   up 1.46 KiB/s   …
[Sessions] 40, by traffic, 1 to 5
    id client              up/s   down/s
> 1039 203.0.113.39:4… 19.0 KiB    500 B
  1038 203.0.113.38:4… 18.6 KiB    500 B
  1037 203.0.113.37:4… 18.1 KiB    500 B
  1036 203.0.113.36:4… 17.6 KiB    500 B
  1035 203.0.113.35:4… 17.1 KiB    500 B
q quit  Tab table  / search  Enter deta…";
        assert_eq!(lines.join("\n"), expected);
        view.act(Action::Switch, &picture(3, 40), 5);
        let lines = drawn(&picture(3, 40), &mut view, &about(), 40, 10);
        assert_eq!(lines[2], "[Routes] 3, by route");
        assert_eq!(lines[4], ">route-0       40    500 B 1.43 MiB");
    }

    #[test]
    fn a_large_terminal_shows_more_columns() {
        let lines = drawn(&picture(3, 10), &mut view(), &about(), 200, 60);
        for (line, starts) in [
            (4, "Routes 3, by route"),
            (5, " route   state"),
            (9, "[Sessions] 10, by traffic"),
            (10, "    id client"),
            (11, "> 1009 203.0.113.9:40009"),
            (
                16,
                "  1004 203.0.113.4:40004 route-0  1h00m 1.95 KiB    500 B 8.00 KiB ending",
            ),
            (
                17,
                "  1003 203.0.113.3:40003 route-0  1h00m 1.46 KiB    500 B 6.00 KiB slow client",
            ),
        ] {
            assert!(lines[line].starts_with(starts), "{:?}", lines[line]);
        }
        assert!(
            lines[5].ends_with("path") && lines[10].ends_with("subprotocol"),
            "{lines:#?}"
        );
        assert!(
            lines[11].ends_with("tcp://10.0.0.7:6667 text.ircv3.net"),
            "{lines:#?}"
        );
        assert!(lines[21..59].iter().all(String::is_empty), "{lines:#?}");
    }

    #[test]
    fn every_size_is_filled_and_none_overflown() {
        // Names that are wide, that a terminal would obey, and none at all.
        let mut look = look(4, 9, 5);
        look.routes[0]["name"] = "閘門".repeat(30).into();
        look.routes[3]["name"] = "\u{1b}[2J\u{202e}e\u{301}\n".into();
        look.sessions[2]["client"] = "\u{9b}31m".into();
        look.sessions[3]["subprotocol"] = "👩\u{200d}🚀".into();
        look.sessions[4] = json!(null);
        look.status["version"] = "閘".repeat(99).into();
        let picture = Picture::new(look, None);
        let away = About {
            away: Some((Duration::from_secs(75), "refused\u{7}".repeat(40))),
            ..about()
        };
        for columns in [0, 1, 2, 3, 5, 8, 13, 21, 34, 40, 55, 79, 80, 81, 200] {
            for lines in (0..20).chain([24, 60]) {
                let mut view = view();
                for action in [
                    Action::Switch,
                    Action::Search,
                    Action::Type('\u{9b}'),
                    Action::Clear,
                    Action::Details,
                ] {
                    for about in [&about(), &away] {
                        for line in drawn(&picture, &mut view, about, columns, lines) {
                            assert!(!line.contains(crate::escape::is_obeyed), "{line:?}");
                        }
                    }
                    view.act(action, &picture, lines);
                }
                view.act(Action::Last, &picture, lines);
                drawn(&picture, &mut view, &away, columns, lines);
            }
        }
    }

    #[test]
    fn words_say_what_the_head_says() {
        let mut picture = picture(1, 1);
        for (end, says, style) in [
            ("2026-12-20T12:00:00Z", "ends in 30d00h", Style::Plain),
            ("2026-12-20T11:59:59Z", "ends soon, in 29d23h", Style::Warn),
            ("2026-11-27T12:00:00Z", "ends soon, in 7d00h", Style::Warn),
            ("2026-11-27T11:59:59Z", "ends SOON, in 6d23h", Style::Bad),
            ("2026-11-20T11:00:00Z", "ENDED 1h00m ago", Style::Bad),
        ] {
            picture.head.certificate = Some(("[::]:8443".into(), end.parse().unwrap()));
            let line = configuration(&picture.head, NOW.parse().unwrap());
            assert_eq!(line.last(), Some(&piece(says, style)));
        }
        picture.head.certificate = None;
        let mut view = view();
        view.act(Action::Pause, &picture, 9);
        let away = About {
            away: Some((Duration::from_secs(75), "Connection refused".into())),
            ..about()
        };
        let lines = drawn(&picture, &mut view, &away, 80, 24);
        assert!(lines[0].ends_with("PAUSED"), "{lines:#?}");
        let says = "NO ANSWER for 1m15s, and shown as it was: Connection refused";
        assert_eq!(lines[1], says);
        assert_eq!(lines[4], "generation 3   no certificate");
        picture.found = 5000;
        let lines = drawn(&picture, &mut view, &about(), 80, 24);
        assert_eq!(lines[7], "[Sessions] 5000, the oldest 1 of them here, by traffic");
        view.route = Some("route-0".into());
        let lines = drawn(&picture, &mut view, &about(), 80, 24);
        assert_eq!(
            lines[7],
            "[Sessions] 5000 of route-0, the oldest 1 of them here, by traffic"
        );
    }

    #[test]
    fn a_search_stands_in_the_foot_and_over_the_table() {
        let picture = picture(1, 12);
        let mut view = view();
        for action in [
            Action::Search,
            Action::Type('1'),
            Action::Type('1'),
            Action::Reverse,
        ] {
            view.act(action, &picture, 9);
        }
        let lines = drawn(&picture, &mut view, &about(), 80, 24);
        assert_eq!(lines[7], "[Sessions] 12, 12 with \"11\", by traffic, reversed");
        assert_eq!(lines[23], "/11_   Enter keeps it, Esc clears it");
    }

    #[test]
    fn details_show_every_field_and_what_became_of_it() {
        let before = picture(1, 2);
        let mut view = view();
        settle(
            &mut view,
            &before,
            &about(),
            Size {
                columns: 80,
                lines: 24,
            },
        );
        view.act(Action::Details, &before, 9);
        let lines = drawn(&before, &mut view, &about(), 80, 24);
        let expected = "\
Session 1001
up/s              500 B
down/s            500 B
age_seconds       3601.0
backend_blocked   false
client            203.0.113.1:40001
client_blocked    false
ending            false
held_bytes        2048
id                1001
moved.bytes_down  2000
moved.bytes_up    2000
route             route-0
subprotocol       text.ircv3.net
target            tcp://10.0.0.7:6667";
        assert_eq!(lines[4..19].join("\n"), expected);
        // It ended; and on a low screen, the last lines can be reached, but not left behind.
        let now = picture(1, 1);
        view.act(Action::Last, &now, 9);
        let lines = drawn(&now, &mut view, &about(), 80, 10);
        assert_eq!(
            lines[2],
            "Session 1001, lines 9 to 14 of 14, gone: this is what was seen last"
        );
        assert_eq!(lines[8], "target            tcp://10.0.0.7:6667");
        view.act(Action::Back, &now, 9);
        assert!(drawn(&now, &mut view, &about(), 80, 10)[2].starts_with("[Sessions] 1"));
        // All of a route.
        view.act(Action::Switch, &now, 9);
        drawn(&now, &mut view, &about(), 80, 24);
        view.act(Action::Details, &now, 9);
        let lines = drawn(&now, &mut view, &about(), 80, 24);
        assert_eq!(lines[4], "Route route-0");
        assert!(
            lines.contains(&"targets.1.condition  unknown".into()),
            "{lines:#?}"
        );
    }

    #[test]
    fn the_chosen_row_is_marked_in_its_own_table_only() {
        let picture = picture(2, 3);
        let mut view = view();
        // Four lines of head, and two over each table.
        for marked in [10, 6] {
            let size = Size {
                columns: 80,
                lines: 24,
            };
            let (_, tables) = settle(&mut view, &picture, &about(), size);
            let lines = draw(&picture, &tables, &view, &about(), size);
            let chosen = |line: &Line| line.iter().any(|piece| piece.style == Style::Chosen);
            let found: Vec<usize> = (0..24).filter(|at| chosen(&lines[*at])).collect();
            assert_eq!(found, [marked]);
            assert_eq!(lines[marked][0].text, ">");
            view.act(Action::Switch, &picture, 9);
        }
    }

    #[test]
    fn plain_text_is_whole_and_has_no_marks() {
        let text = plain(&picture(2, 30), &view(), &about());
        assert!(!text.contains(['\u{1b}', '>', '[']), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "sealock 0.1.0  ready  http://127.0.0.1:9901  running 3d04h"
        );
        assert_eq!(lines[5], "Routes 2, by route");
        assert_eq!(lines[10], "Sessions 30, by traffic");
        assert_eq!(lines.len(), 4 + 1 + 4 + 1 + 2 + 30);
        assert!(lines.iter().all(|line| line.trim_end() == *line));
    }
}
