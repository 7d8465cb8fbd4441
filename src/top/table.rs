//! The two tables: their columns, which rows are shown and in which order, and how wide each column is; pure.

use std::cmp::Ordering;

use serde_json::Value;

use super::line::Style;
use super::model::{Picture, Rates, Route, Session};
use super::text;

/// A column of a table.
#[derive(Debug)]
pub(super) struct Column {
    /// Its title; what is sorted by is named so too.
    pub(super) title: &'static str,
    /// Numbers stand at the right, and the greatest of them comes first.
    pub(super) number: bool,
    /// Its width at least: where values come and go, what stands beside must not jump.
    least: usize,
    /// How narrow it may be made before others are left out, if it may.
    shrinks: Option<usize>,
    /// What is left out first where there is no room: the highest. Those above [`EXTRA`] go before any other is cut.
    rank: u8,
}

const EXTRA: u8 = 10;
/// Only to sort by.
const HIDDEN: u8 = u8::MAX;

const fn number(title: &'static str, least: usize, rank: u8) -> Column {
    Column {
        title,
        number: true,
        least,
        shrinks: None,
        rank,
    }
}

const fn words(title: &'static str, least: usize, shrinks: Option<usize>, rank: u8) -> Column {
    Column {
        title,
        number: false,
        least,
        shrinks,
        rank,
    }
}

pub(super) const ROUTES: &[Column] = &[
    words("route", 5, Some(8), 0),
    words("state", 5, None, 3),
    number("sessions", 8, 1),
    number("queued", 6, 5),
    number("targets", 7, 4),
    number("up/s", 8, 2),
    number("down/s", 8, 2),
    number("ended", 6, 6),
    words("path", 4, None, EXTRA + 1),
];

pub(super) const SESSIONS: &[Column] = &[
    number("id", 5, 3),
    words("client", 6, Some(10), 0),
    words("route", 5, Some(6), 4),
    number("age", 6, 6),
    number("up/s", 8, 1),
    number("down/s", 8, 2),
    number("held", 8, 7),
    words("state", 5, None, 5),
    words("target", 6, None, EXTRA + 1),
    words("subprotocol", 11, None, EXTRA + 2),
    number("traffic", 8, HIDDEN),
];

/// By both directions together: who is looking wants to see who is busy.
pub(super) const BY_TRAFFIC: usize = SESSIONS.len() - 1;

/// What can be sorted by.
pub(super) fn names(columns: &[Column]) -> impl Iterator<Item = &'static str> {
    columns.iter().map(|column| column.title)
}

#[derive(Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) style: Style,
    order: Order,
}

#[derive(Debug)]
enum Order {
    Number(f64),
    Text,
}

/// A row, and what it stands for.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// What stays the same from one look to the next.
    pub(super) key: String,
    pub(super) cells: Vec<Cell>,
    pub(super) fields: &'a Value,
}

pub(super) fn routes(picture: &Picture) -> Vec<Row<'_>> {
    let row = |route: &'_ Route| -> Vec<Cell> {
        let (usable, all) = route.targets;
        let Rates { up, down } = route.rates;
        vec![
            Cell::words(&route.name),
            Cell::words(route.state).with(match route.state {
                "open" => Style::Good,
                "down" => Style::Bad,
                _ => Style::Warn,
            }),
            Cell::number(route.sessions as f64, route.sessions.to_string()),
            Cell::number(route.queued as f64, route.queued.to_string()),
            Cell::number(usable as f64, format!("{usable}/{all}")),
            Cell::rate(up),
            Cell::rate(down),
            Cell::number(route.ends as f64, route.ends.to_string()),
            Cell::words(route.fields["path"].as_str().unwrap_or_default()),
        ]
    };
    let rows = picture.routes.iter();
    rows.map(|route| Row {
        key: route.name.clone(),
        cells: row(route),
        fields: &route.fields,
    })
    .collect()
}

pub(super) fn sessions(picture: &Picture) -> Vec<Row<'_>> {
    let row = |session: &'_ Session| -> Vec<Cell> {
        let Rates { up, down } = session.rates;
        vec![
            Cell::number(session.id as f64, session.id.to_string()),
            Cell::words(&session.client),
            Cell::words(&session.route),
            Cell::number(session.age.as_secs_f64(), text::span(session.age)),
            Cell::rate(up),
            Cell::rate(down),
            Cell::number(session.held as f64, text::size(session.held as f64)),
            Cell::words(session.state).with(match session.state {
                "open" => Style::Good,
                _ => Style::Warn,
            }),
            Cell::words(&session.target),
            Cell::words(session.fields["subprotocol"].as_str().unwrap_or("-")),
            Cell::rate(session.rates.sum()),
        ]
    };
    let rows = picture.sessions.iter();
    rows.map(|session| Row {
        key: session.id.to_string(),
        cells: row(session),
        fields: &session.fields,
    })
    .collect()
}

impl Cell {
    fn words(words: &str) -> Self {
        Self {
            text: text::visible(words),
            style: Style::Plain,
            order: Order::Text,
        }
    }

    fn number(value: f64, text: String) -> Self {
        Self {
            text,
            style: Style::Plain,
            order: Order::Number(value),
        }
    }

    /// One that is not known comes behind those that are.
    fn rate(rate: Option<f64>) -> Self {
        let style = if rate.is_some_and(|rate| rate > 0.0) {
            Style::Plain
        } else {
            Style::Dim
        };
        Self::number(rate.unwrap_or(-1.0), text::rate(rate)).with(style)
    }

    fn with(self, style: Style) -> Self {
        Self { style, ..self }
    }

    /// The order in which cells of a column come: numbers fall, texts rise.
    fn order(&self, other: &Self) -> Ordering {
        match (&self.order, &other.order) {
            (Order::Number(a), Order::Number(b)) => b.total_cmp(a),
            _ => self.text.cmp(&other.text),
        }
    }
}

impl Row<'_> {
    /// Whether what is searched for stands anywhere in what is known of it.
    fn holds(&self, wanted: &str) -> bool {
        fn holds(value: &Value, wanted: &str) -> bool {
            match value {
                Value::String(text) => text.to_lowercase().contains(wanted),
                Value::Number(number) => number.to_string() == wanted,
                Value::Array(values) => values.iter().any(|value| holds(value, wanted)),
                Value::Object(fields) => fields.values().any(|value| holds(value, wanted)),
                _ => false,
            }
        }
        self.cells
            .iter()
            .any(|cell| cell.text.to_lowercase().contains(wanted))
            || holds(self.fields, wanted)
    }
}

/// Leaves out what is not searched for, and sorts the rest by a column. Rows that are equal there keep their order.
pub(super) fn arrange(rows: &mut Vec<Row<'_>>, search: &str, by: usize, reversed: bool) {
    let wanted = search.to_lowercase();
    if !wanted.is_empty() {
        rows.retain(|row| row.holds(&wanted));
    }
    rows.sort_by(|a, b| {
        let order = match (a.cells.get(by), b.cells.get(by)) {
            (Some(a), Some(b)) => a.order(b),
            _ => Ordering::Equal,
        };
        if reversed { order.reverse() } else { order }
    });
}

/// Which columns there is room for, and how wide each is, with a space between two. `room` of none is all there may be.
pub(super) fn fit(columns: &[Column], rows: &[Row<'_>], room: Option<usize>) -> Vec<(usize, usize)> {
    let natural = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.cells.get(at));
        let longest = cells.map(|cell| text::width(&cell.text)).max().unwrap_or(0);
        longest.max(columns[at].least).max(columns[at].title.len())
    };
    let shown = (0..columns.len()).filter(|at| columns[*at].rank != HIDDEN);
    let mut widths: Vec<(usize, usize)> = shown.map(|at| (at, natural(at))).collect();
    let Some(room) = room else {
        return widths;
    };
    let total = |widths: &[(usize, usize)]| {
        widths
            .iter()
            .map(|(_, width)| width + 1)
            .sum::<usize>()
            .saturating_sub(1)
    };
    loop {
        let over = total(&widths).saturating_sub(room);
        let spare = |(at, width): &(usize, usize)| {
            columns[*at]
                .shrinks
                .map_or(0, |least| width.saturating_sub(least))
        };
        let last = widths.iter().map(|(at, _)| columns[*at].rank).max().unwrap_or(0);
        if last < EXTRA && over <= widths.iter().map(spare).sum() {
            for _ in 0..over {
                if let Some(widest) = widths.iter_mut().max_by_key(|widths| spare(widths)) {
                    widest.1 -= 1;
                }
            }
            return widths;
        }
        if over == 0 {
            return widths;
        }
        if widths.len() == 1 {
            widths[0].1 = room;
            return widths;
        }
        // Of two that are as good, the one at the right.
        let out = (0..widths.len())
            .rev()
            .find(|at| columns[widths[*at].0].rank == last);
        widths.remove(out.unwrap_or(0));
    }
}
