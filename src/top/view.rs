//! How somebody looks at the picture: which table, which row, in which order; pure.

use serde_json::Value;

use super::keys::{Action, Mode};
use super::model::{Picture, Rates};
use super::table::{self, Column, ROUTES, Row, SESSIONS};

/// The longest text to search for.
const LONGEST_SEARCH: usize = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Focus {
    Routes,
    #[default]
    Sessions,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) focus: Focus,
    pub(super) mode: Mode,
    pub(super) paused: bool,
    /// The only route whose sessions are asked for, if not all are.
    pub(super) route: Option<String>,
    pub(super) routes: Looking,
    pub(super) sessions: Looking,
    /// What the details are of.
    pub(super) details: Option<Details>,
    /// The first line of them that is shown.
    pub(super) scrolled: usize,
}

/// A row of which everything is shown, as it was seen last.
#[derive(Debug)]
pub(super) struct Details {
    pub(super) focus: Focus,
    pub(super) key: String,
    pub(super) rates: Rates,
    pub(super) fields: Value,
    /// It is in the picture no longer.
    pub(super) gone: bool,
}

impl Details {
    fn find(focus: Focus, key: &str, picture: &Picture) -> Option<Self> {
        let (rates, fields) = match focus {
            Focus::Routes => picture
                .routes
                .iter()
                .find(|route| route.name == key)
                .map(|route| (route.rates, &route.fields)),
            Focus::Sessions => picture
                .sessions
                .iter()
                .find(|session| session.id.to_string() == key)
                .map(|session| (session.rates, &session.fields)),
        }?;
        Some(Self {
            focus,
            key: key.to_owned(),
            rates,
            fields: fields.clone(),
            gone: false,
        })
    }
}

/// How a table is looked at.
#[derive(Debug, Default)]
pub(super) struct Looking {
    /// The column that it is sorted by.
    pub(super) by: usize,
    pub(super) reversed: bool,
    pub(super) search: String,
    /// The row that is chosen: it stays chosen where it moves. Once it is gone, the one in its place is.
    pub(super) key: Option<String>,
    pub(super) row: usize,
    /// The first row that is shown.
    pub(super) first: usize,
}

/// The rows of both tables, as they are shown.
#[derive(Debug)]
pub(super) struct Tables<'a> {
    pub(super) routes: Vec<Row<'a>>,
    pub(super) sessions: Vec<Row<'a>>,
}

/// What the driver has to do about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Nothing,
    Quit,
    Suspend,
    Redraw,
}

impl Looking {
    pub(super) fn by(column: usize) -> Self {
        Self {
            by: column,
            ..Self::default()
        }
    }

    fn choose(&mut self, row: usize, rows: &[Row<'_>]) {
        self.row = row.min(rows.len().saturating_sub(1));
        self.key = rows.get(self.row).map(|row| row.key.clone());
    }

    /// Finds the chosen row where it is now, and moves what is shown so that it is in it.
    fn settle(&mut self, rows: &[Row<'_>], height: usize) {
        let moved = self
            .key
            .as_ref()
            .and_then(|key| rows.iter().position(|row| row.key == *key));
        match moved {
            Some(row) => self.row = row,
            None => self.choose(self.row, rows),
        }
        let last_first = rows.len().saturating_sub(height);
        let lowest = (self.row + 1).saturating_sub(height);
        self.first = self
            .first
            .clamp(lowest, self.row.max(lowest))
            .min(last_first.max(lowest));
    }
}

impl View {
    /// The rows of a table as they are shown.
    pub(super) fn rows<'a>(&self, focus: Focus, picture: &'a Picture) -> Vec<Row<'a>> {
        let (mut rows, looking) = match focus {
            Focus::Routes => (table::routes(picture), &self.routes),
            Focus::Sessions => (table::sessions(picture), &self.sessions),
        };
        table::arrange(&mut rows, &looking.search, looking.by, looking.reversed);
        rows
    }

    pub(super) fn looking(&self, focus: Focus) -> &Looking {
        match focus {
            Focus::Routes => &self.routes,
            Focus::Sessions => &self.sessions,
        }
    }

    fn looking_mut(&mut self) -> &mut Looking {
        match self.focus {
            Focus::Routes => &mut self.routes,
            Focus::Sessions => &mut self.sessions,
        }
    }

    pub(super) fn columns(focus: Focus) -> &'static [Column] {
        match focus {
            Focus::Routes => ROUTES,
            Focus::Sessions => SESSIONS,
        }
    }

    /// The rows of both tables. There may be very many: they are made once for a screen.
    pub(super) fn tables<'a>(&self, picture: &'a Picture) -> Tables<'a> {
        Tables {
            routes: self.rows(Focus::Routes, picture),
            sessions: self.rows(Focus::Sessions, picture),
        }
    }

    /// Follows the chosen rows into a new picture, or onto a screen with room for so many rows of each table.
    pub(super) fn settle<'a>(&mut self, picture: &'a Picture, routes: usize, sessions: usize) -> Tables<'a> {
        let tables = self.tables(picture);
        self.routes.settle(&tables.routes, routes);
        self.sessions.settle(&tables.sessions, sessions);
        if let Some(details) = &mut self.details {
            match Details::find(details.focus, &details.key, picture) {
                Some(now) => *details = now,
                None => (details.gone, details.rates) = (true, Rates::default()),
            }
        }
        tables
    }

    /// Does what a key asks for, where a screen shows `page` lines.
    pub(super) fn act(&mut self, action: Action, picture: &Picture, page: usize) -> Order {
        match action {
            Action::Quit => return Order::Quit,
            Action::Suspend => return Order::Suspend,
            Action::Redraw => return Order::Redraw,
            Action::Move(by) => self.step(by, picture),
            Action::Page(by) => self.step(by.saturating_mul(page.max(1).cast_signed()), picture),
            Action::First => self.step(isize::MIN, picture),
            Action::Last => self.step(isize::MAX, picture),
            Action::Switch => {
                self.focus = match self.focus {
                    Focus::Routes => Focus::Sessions,
                    Focus::Sessions => Focus::Routes,
                }
            }
            Action::Sort => {
                let columns = Self::columns(self.focus).len();
                let looking = self.looking_mut();
                looking.by = (looking.by + 1) % columns;
                looking.reversed = false;
            }
            Action::Reverse => {
                let looking = self.looking_mut();
                looking.reversed = !looking.reversed;
            }
            Action::Search => self.mode = Mode::Search,
            Action::Details => {
                let key = self.looking(self.focus).key.as_deref();
                self.details = key.and_then(|key| Details::find(self.focus, key, picture));
                if self.details.is_some() {
                    (self.mode, self.scrolled) = (Mode::Details, 0);
                }
            }
            Action::Pause => self.paused = !self.paused,
            Action::Back => (self.mode, self.details) = (Mode::Tables, None),
            Action::Clear => {
                self.mode = Mode::Tables;
                self.looking_mut().search.clear();
            }
            Action::Type(c) => {
                let search = &mut self.looking_mut().search;
                if search.chars().count() < LONGEST_SEARCH {
                    search.push(c);
                }
            }
            Action::Erase => {
                self.looking_mut().search.pop();
            }
        }
        Order::Nothing
    }

    fn step(&mut self, by: isize, picture: &Picture) {
        if self.mode == Mode::Details {
            // The screen knows how many lines there are, and keeps this within them.
            self.scrolled = self.scrolled.saturating_add_signed(by);
            return;
        }
        let rows = self.rows(self.focus, picture);
        let looking = self.looking_mut();
        looking.choose(looking.row.saturating_add_signed(by), &rows);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::top::model::Look;

    fn picture(ids: &[u64]) -> Picture {
        let session =
            |id: &u64| json!({ "id": id, "route": format!("r{}", id % 2), "client": "192.0.2.1:5" });
        Picture::new(
            Look {
                sessions: ids.iter().map(session).collect(),
                routes: vec![json!({ "name": "r0" }), json!({ "name": "r1" })],
                ..Look::default()
            },
            None,
        )
    }

    /// By id, the lowest first.
    fn view() -> View {
        let mut view = View::default();
        view.sessions.reversed = true;
        view
    }

    fn shown(view: &View, picture: &Picture) -> Vec<String> {
        let rows = view.rows(view.focus, picture);
        rows.into_iter().map(|row| row.key).collect()
    }

    #[test]
    fn the_chosen_row_is_followed_where_it_moves() {
        let mut view = view();
        let before = picture(&[1, 2, 3, 4]);
        view.settle(&before, 3, 3);
        assert_eq!(view.sessions.key.as_deref(), Some("1"));
        assert_eq!(view.act(Action::Move(1), &before, 3), Order::Nothing);
        assert_eq!((view.sessions.key.as_deref(), view.sessions.row), (Some("2"), 1));
        // One came in front of it.
        let now = picture(&[0, 1, 2, 3, 4]);
        view.settle(&now, 3, 3);
        assert_eq!((view.sessions.key.as_deref(), view.sessions.row), (Some("2"), 2));
        // It went: the one in its place is chosen.
        let now = picture(&[0, 1, 3, 4]);
        view.settle(&now, 3, 3);
        assert_eq!((view.sessions.key.as_deref(), view.sessions.row), (Some("3"), 2));
        let now = picture(&[0]);
        view.settle(&now, 3, 3);
        assert_eq!((view.sessions.key.as_deref(), view.sessions.row), (Some("0"), 0));
        let now = picture(&[]);
        view.settle(&now, 3, 3);
        assert_eq!((view.sessions.key.as_deref(), view.sessions.row), (None, 0));
        assert_eq!(view.act(Action::Details, &now, 3), Order::Nothing);
        assert_eq!(view.mode, Mode::Tables);
    }

    #[test]
    fn the_chosen_row_is_always_shown() {
        let picture = picture(&(0..100).collect::<Vec<_>>());
        let mut view = view();
        for (action, row, first) in [
            (Action::Move(-1), 0, 0),
            (Action::Move(9), 9, 0),
            (Action::Move(1), 10, 1),
            (Action::Page(1), 20, 11),
            (Action::Move(-9), 11, 11),
            (Action::Move(-1), 10, 10),
            (Action::Last, 99, 90),
            (Action::Move(1), 99, 90),
            (Action::Page(-1), 89, 89),
            (Action::First, 0, 0),
        ] {
            view.act(action, &picture, 10);
            view.settle(&picture, 3, 10);
            assert_eq!(
                (view.sessions.row, view.sessions.first),
                (row, first),
                "{action:?}"
            );
        }
        view.act(Action::Last, &picture, 10);
        for (height, first) in [(10, 90), (5, 95), (50, 50), (200, 0), (1, 99), (0, 100)] {
            view.settle(&picture, 0, height);
            assert_eq!(view.sessions.first, first, "{height}");
        }
    }

    #[test]
    fn a_search_leaves_out_what_does_not_hold_it() {
        let picture = picture(&[1, 2, 3, 12]);
        let mut view = view();
        view.act(Action::Search, &picture, 9);
        assert_eq!(view.mode, Mode::Search);
        for (typed, left) in [
            ("R1", &["1", "3"][..]),
            ("zz", &[]),
            ("192.0", &["1", "2", "3", "12"]),
            ("2", &["1", "2", "3", "12"]),
        ] {
            for c in typed.chars() {
                view.act(Action::Type(c), &picture, 9);
            }
            assert_eq!(shown(&view, &picture), left, "{typed}");
            for _ in typed.chars() {
                view.act(Action::Erase, &picture, 9);
            }
        }
        view.act(Action::Type('r'), &picture, 9);
        view.act(Action::Type('0'), &picture, 9);
        view.act(Action::Back, &picture, 9);
        assert_eq!(shown(&view, &picture), ["2", "12"]);
        // The other table is searched for itself.
        view.act(Action::Switch, &picture, 9);
        assert_eq!(shown(&view, &picture), ["r0", "r1"]);
        view.act(Action::Switch, &picture, 9);
        view.act(Action::Clear, &picture, 9);
        assert_eq!(shown(&view, &picture).len(), 4);
        for _ in 0..1000 {
            view.act(Action::Type('x'), &picture, 9);
        }
        assert_eq!(view.sessions.search.len(), LONGEST_SEARCH);
    }

    #[test]
    fn each_column_can_be_sorted_by_and_turned_round() {
        let picture = picture(&[2, 1, 3]);
        let mut view = View::default();
        assert_eq!(shown(&view, &picture), ["3", "2", "1"]);
        view.act(Action::Reverse, &picture, 9);
        assert_eq!(shown(&view, &picture), ["1", "2", "3"]);
        view.act(Action::Sort, &picture, 9);
        // By client, where all are equal: as they came.
        assert_eq!(
            (shown(&view, &picture), view.sessions.reversed),
            (vec!["2".into(), "1".into(), "3".into()], false)
        );
        view.act(Action::Sort, &picture, 9);
        assert_eq!(shown(&view, &picture), ["2", "1", "3"], "r0 before r1");
        for _ in 2..SESSIONS.len() {
            view.act(Action::Sort, &picture, 9);
        }
        assert_eq!(view.sessions.by, 0);
    }
}
