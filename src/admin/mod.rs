//! The admin listener: health, metrics, what runs, and the few things that an operator may change. Off the public port.
//!
//! Each connection carries one request, and has one deadline for its head and one for all of it; `places` says who goes when there are
//! too many. `access` decides whether it is answered, `api`, `past` and `change` what the answer is; `console` is a page that shows it.
//! Nothing that is asked for with GET changes anything.

mod access;
mod api;
mod change;
mod console;
mod history;
mod metrics;
mod past;
mod places;
mod process;
mod query;
mod serve;

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use crate::accept::Listener;
use crate::app::Bound;
use crate::session::Service;
use history::History;

pub use access::Access;
pub(crate) use access::read_token;

/// What the admin listener tells of.
struct Admin {
    service: Arc<Service>,
    /// The other listeners.
    listeners: Vec<Bound>,
    started: SystemTime,
    history: Mutex<History>,
}

/// Serves. Accepts no more after the first of the stops, answers no more after the second. Unless the port is another process's too, that
/// is one moment: it is still there while sessions are told that the process ends.
pub(crate) fn start(
    listener: Listener,
    service: Arc<Service>,
    listeners: Vec<Bound>,
    stops: (CancellationToken, CancellationToken),
) {
    let admin = Arc::new(Admin {
        service,
        listeners,
        started: SystemTime::now(),
        history: Mutex::default(),
    });
    tokio::spawn(past::watch(Arc::clone(&admin), stops.1.clone()));
    tokio::spawn(serve::serve(listener, admin, stops));
}
