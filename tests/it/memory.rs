//! Memory: what a burst of sessions took is given back to the system.

use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::support::{BINARY, Backend, Client, PATIENCE, Program};

const SESSIONS: usize = 400;
/// So much that what is shared and what is left of other things does not count.
const MESSAGE: usize = 16 * 1024;

async fn open(program: &Program) -> Client {
    let mut client = Client::tls(program.tls, "/echo").await;
    client.send(BINARY, &[7; MESSAGE]).await;
    assert_eq!(client.message().await.1.len(), MESSAGE);
    client
}

async fn close(mut client: Client) {
    client.close(1000, "").await;
    client.expect_refusal(1000, "").await;
}

#[tokio::test]
async fn what_a_burst_of_sessions_took_is_given_back() {
    let echo = Backend::echo().await;
    let route = format!(
        "[[route]]\nname = \"echo\"\npath = \"/echo\"\nbackend = \"tcp://{echo}\"\nframing = \"u32be\"\n"
    );
    // Else what was used just now is kept for ten seconds, and a few megabytes for longer. What cannot be given back because something
    // that lives stands on nearly every page is the same.
    let at_once = ("MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0");
    let program = Program::launch(&Program::file("", &route), "json", &[at_once]).await;
    // Buffers of threads, and code that has not run yet, are no part of it.
    for _ in 0..20 {
        close(open(&program).await).await;
    }
    let before = program.memory();
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(open(&program).await);
    }
    let burst = program.memory() - before;
    for session in sessions {
        close(session).await;
    }
    // Nothing more has to happen for it.
    let start = Instant::now();
    let mut look = interval(Duration::from_millis(100));
    loop {
        look.tick().await;
        let kept = program.memory().saturating_sub(before);
        if kept < burst / 2 {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{kept} of {burst} KiB were kept");
    }
}
