//! The log file: where it is, and that it can be renamed.

use std::path::Path;
use std::time::Duration;

use crate::support::{Backend, Client, Program, TEXT, sealock, soon};

/// Waits until a file holds this.
async fn until_holds(path: &Path, what: &str) -> String {
    let holds = async {
        loop {
            match std::fs::read_to_string(path) {
                Ok(text) if text.contains(what) => return text,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    soon(what, holds).await
}

#[tokio::test]
async fn a_renamed_log_file_is_let_go_of() {
    let dir = tempfile::tempdir().unwrap();
    let (path, renamed) = (dir.path().join("sealock.log"), dir.path().join("sealock.log.1"));
    let echo = Backend::echo().await;
    let mut program = Program::start_with(
        &format!("log_file = {path:?}"),
        &format!(
            "[[route]]\nname = \"echo\"\npath = \"/echo\"\nbackend = \"tcp://{echo}\"\nframing = \"lines\"\n"
        ),
    )
    .await;
    let mut running = Client::plain(program.plain, "/echo").await;
    let visit = async |name: &str| {
        let refused = crate::support::Request::get(&format!("/{name}"))
            .plain(program.plain)
            .await;
        assert_eq!(refused.err().unwrap().status, 404);
    };
    visit("before").await;
    until_holds(&path, "/before").await;
    std::fs::rename(&path, &renamed).unwrap();
    // Nobody has said anything yet.
    visit("meanwhile").await;
    until_holds(&renamed, "/meanwhile").await;
    program.signal("USR1").await;
    until_holds(&path, "the log file was opened again").await;
    visit("after").await;
    let log = until_holds(&path, "/after").await;
    assert!(
        log.lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "{log}"
    );
    assert!(!log.contains("/before"));
    assert!(!std::fs::read_to_string(&renamed).unwrap().contains("/after"));
    // A folder that is gone costs nothing but the renaming.
    std::fs::rename(&path, dir.path().join("sealock.log.2")).unwrap();
    std::fs::create_dir(&path).unwrap();
    program.signal("USR1").await;
    until_holds(&dir.path().join("sealock.log.2"), "the old one stays in use").await;
    running.send(TEXT, b"still here").await;
    assert_eq!(running.message().await, (TEXT, b"still here".to_vec()));
    drop(running);
    program.signal("TERM").await;
    assert_eq!(program.exit().await, Some(0));
    // The last line is not lost.
    let log = std::fs::read_to_string(dir.path().join("sealock.log.2")).unwrap();
    assert!(log.contains("all sessions have ended"), "{log}");
    assert_eq!(program.log(), "", "nothing goes to standard error");
}

#[tokio::test]
async fn a_log_file_that_cannot_be_opened_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sealock.toml");
    std::fs::write(
        &path,
        Program::file(
            "log_file = \"missing/sealock.log\"",
            "[[route]]\nname = \"a\"\npath = \"/\"\nbackend = \"tcp://127.0.0.1:1\"\nframing = \"raw\"\n",
        ),
    )
    .unwrap();
    let config = path.to_str().unwrap();
    let output = sealock(["run", "-c", config], "").await;
    assert_eq!(output.code, Some(1));
    let named = dir.path().join("missing/sealock.log");
    assert!(
        output.stderr.contains(named.to_str().unwrap()),
        "{}",
        output.stderr
    );
    // The command line stands over the file.
    let output = sealock(["run", "-c", config, "--log-file", "/dev/null/here"], "").await;
    assert!(output.stderr.contains("/dev/null/here"), "{}", output.stderr);
}

#[tokio::test]
async fn what_is_odd_about_the_configuration_is_logged_like_all_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sealock.log");
    let mut program = Program::start_with(
        &format!("log_file = {path:?}\nlimits.max_sessions = 9"),
        "[[route]]\nname = \"a\"\npath = \"/a\"\nbackend = \"tcp://127.0.0.1:1\"\nframing = \"raw\"\nmax_sessions = 10\n",
    )
    .await;
    let log = until_holds(&path, "never reached").await;
    let line = log.lines().find(|line| line.contains("never reached")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "WARN");
    program.signal("TERM").await;
    assert_eq!(program.exit().await, Some(0));
    program.close_log().await;
    assert_eq!(program.log(), "", "nothing goes to standard error");
}

#[tokio::test]
async fn without_a_file_the_signal_changes_nothing() {
    let echo = Backend::echo().await;
    let program = Program::start(&format!(
        "[[route]]\nname = \"echo\"\npath = \"/echo\"\nbackend = \"tcp://{echo}\"\nframing = \"lines\"\n"
    ))
    .await;
    let mut client = Client::plain(program.plain, "/echo").await;
    program.signal("USR1").await;
    client.send(TEXT, b"still here").await;
    assert_eq!(client.message().await, (TEXT, b"still here".to_vec()));
}

#[tokio::test]
async fn a_log_file_that_cannot_be_written_is_told_once_on_standard_error() {
    let mut program = Program::start_with(
        "log_file = \"/dev/full\"",
        "[[route]]\nname = \"a\"\npath = \"/a\"\nbackend = \"tcp://127.0.0.1:1\"\nframing = \"raw\"\n",
    )
    .await;
    for _ in 0..3 {
        let refused = crate::support::Request::get("/none").plain(program.plain).await;
        assert_eq!(refused.err().unwrap().status, 404);
    }
    program.logged("cannot write to the log file /dev/full").await;
    program.signal("TERM").await;
    assert_eq!(program.exit().await, Some(0));
    assert_eq!(program.log().lines().count(), 1, "{}", program.log());
}

#[tokio::test]
async fn a_line_that_was_torn_is_not_continued() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sealock.log");
    std::fs::write(&path, "{\"torn\":").unwrap();
    let program = Program::start_with(
        &format!("log_file = {path:?}"),
        "[[route]]\nname = \"a\"\npath = \"/a\"\nbackend = \"tcp://127.0.0.1:1\"\nframing = \"raw\"\n",
    )
    .await;
    let refused = crate::support::Request::get("/none").plain(program.plain).await;
    assert_eq!(refused.err().unwrap().status, 404);
    let log = until_holds(&path, "/none").await;
    assert!(log.starts_with("{\"torn\":\n"), "{log}");
    let whole = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
    assert!(log.lines().skip(1).all(whole), "{log}");
}
