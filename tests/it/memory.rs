//! Memory: what a burst of sessions took is given back to the system.

use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::support::{BINARY, Backend, Client, PATIENCE, Program};

const SESSIONS: usize = 250;
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
    // Ten seconds where nothing is said: what was used just now may be needed again.
    let soon = ("MALLOC_CONF", "dirty_decay_ms:500");
    let program = Program::launch(&Program::file("", &route), "json", &[soon]).await;
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
        if kept < burst / 4 {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{kept} of {burst} KiB were kept");
    }
}
