//! A real PostgreSQL, Debian's, behind `framing = "postgres"`: each message of its protocol, version 3, is a message, with its header.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::{BINARY, Client, Program, Service, program};

/// The user and group `nobody` of Debian.
const NOBODY: u32 = 65534;

/// Where Debian has the programs of a server: in a folder for each version.
fn bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let bins = versions.map(|version| version.unwrap().path().join("bin"));
    bins.filter(|bin| bin.join("initdb").exists())
        .max()
        .expect("PostgreSQL: tests/install-deps.sh installs it")
}

/// A database that forgets, for a test is over before it has to remember.
async fn postgres() -> Service {
    Service::start("ready to accept connections", |port, dir| {
        let bin = bin();
        let data = dir.join("data");
        let mut initdb = as_a_user(&bin.join("initdb"), dir);
        initdb
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ])
            .arg("--pgdata")
            .arg(&data);
        let made = initdb.as_std_mut().stdout(Stdio::null()).status().unwrap();
        assert!(made.success());
        let mut command = as_a_user(&bin.join("postgres"), dir);
        command.arg("-D").arg(data).arg("-h").arg("127.0.0.1");
        command.arg("-p").arg(port.to_string());
        // No socket in a shared place, no waiting for a disk, no memory that outlives a server that was killed.
        for setting in [
            "unix_socket_directories=",
            "fsync=off",
            "dynamic_shared_memory_type=mmap",
        ] {
            command.arg("-c").arg(setting);
        }
        command
    })
    .await
}

/// A program of the server, which refuses to be run by root, in this folder.
fn as_a_user(path: &Path, dir: &Path) -> tokio::process::Command {
    let mut command = program(path.to_str().unwrap());
    command.current_dir(dir);
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        std::os::unix::fs::chown(dir, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// A message: its type, the length of itself and what follows, the rest.
fn message(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&[kind][..], &untyped(rest)].concat()
}

/// The same without a type, as the first message of a client is.
fn untyped(rest: &[u8]) -> Vec<u8> {
    [&(4 + rest.len() as u32).to_be_bytes(), rest].concat()
}

/// A simple query.
fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), b"\0"].concat())
}

/// A row of one column.
fn row(value: &[u8]) -> Vec<u8> {
    message(
        b'D',
        &[&[0, 1], &(value.len() as u32).to_be_bytes()[..], value].concat(),
    )
}

fn complete(tag: &str) -> Vec<u8> {
    message(b'C', &[tag.as_bytes(), b"\0"].concat())
}

/// The server waits for a query, outside a transaction.
fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// Reads on to a message of this type; all before it are complete messages too.
async fn until(client: &mut Client, kind: u8) -> Vec<u8> {
    loop {
        let (opcode, message) = client.message().await;
        assert_eq!(opcode, BINARY);
        assert_eq!(message[1..5], (message.len() as u32 - 1).to_be_bytes());
        if message[0] == kind {
            return message;
        }
    }
}

/// A session of the database that is ready for a query, and what another needs to cancel that.
async fn session(sealock: &Program) -> (Client, Vec<u8>) {
    let mut client = Client::tls(sealock.tls, "/").await;
    client
        .send(
            BINARY,
            &untyped(b"\0\x03\0\0user\0postgres\0database\0postgres\0\0"),
        )
        .await;
    // Nobody is asked for a password here. Then come parameters, and the key for cancelling.
    client.expect(BINARY, &message(b'R', &[0; 4])).await;
    let key = until(&mut client, b'K').await;
    client.expect(BINARY, &ready()).await;
    (client, key[5..].to_vec())
}

#[tokio::test]
async fn queries_get_their_rows() {
    let server = postgres().await;
    let mut sealock = server.behind("framing = \"postgres\"").await;
    let (mut client, _) = session(&sealock).await;
    client.send(BINARY, &query("SELECT 'grüße'")).await;
    until(&mut client, b'T').await;
    client.expect(BINARY, &row("grüße".as_bytes())).await;
    client.expect(BINARY, &complete("SELECT 1")).await;
    client.expect(BINARY, &ready()).await;

    // The extended protocol: parse, bind, execute, five times; then sync. The server answers all at once.
    let mut messages = vec![message(b'P', b"\0SELECT $1 || '!'\0\0\0")];
    for n in b'1'..=b'5' {
        messages.push(message(
            b'B',
            &[b"\0\0\0\0\0\x01\0\0\0\x01", &[n][..], b"\0\0"].concat(),
        ));
        messages.push(message(b'E', b"\0\0\0\0\0"));
    }
    messages.push(message(b'S', b""));
    client.send_all(BINARY, &messages).await;
    client.expect(BINARY, &message(b'1', b"")).await;
    for n in b'1'..=b'5' {
        client.expect(BINARY, &message(b'2', b"")).await;
        client.expect(BINARY, &row(&[n, b'!'])).await;
        client.expect(BINARY, &complete("SELECT 1")).await;
    }
    client.expect(BINARY, &ready()).await;

    // A long query, and its longer row.
    let text = "0123456789".repeat(30_000);
    client
        .send(BINARY, &query(&format!("SELECT repeat('{text}', 3)")))
        .await;
    until(&mut client, b'T').await;
    client.expect(BINARY, &row(text.repeat(3).as_bytes())).await;
    until(&mut client, b'Z').await;

    // COPY: data in both directions.
    client
        .send(BINARY, &query("CREATE TEMP TABLE boat (name text)"))
        .await;
    until(&mut client, b'Z').await;
    client.send(BINARY, &query("COPY boat FROM STDIN")).await;
    until(&mut client, b'G').await;
    client
        .send_all(
            BINARY,
            &[
                message(b'd', b"ada\ngra"),
                message(b'd', b"ce\n"),
                message(b'c', b""),
            ],
        )
        .await;
    client.expect(BINARY, &complete("COPY 2")).await;
    client.expect(BINARY, &ready()).await;
    client.send(BINARY, &query("COPY boat TO STDOUT")).await;
    until(&mut client, b'H').await;
    client.expect(BINARY, &message(b'd', b"ada\n")).await;
    client.expect(BINARY, &message(b'd', b"grace\n")).await;
    client.expect(BINARY, &message(b'c', b"")).await;
    until(&mut client, b'Z').await;

    // Terminate.
    client.send(BINARY, &message(b'X', b"")).await;
    client.expect_close(1000, "backend closed").await;
    let record = sealock.ended("backend_closed").await;
    // The start, a query, the extended ones, the long one, the copies, the end.
    assert_eq!(record["messages_up"], 1 + 1 + 12 + 1 + 6 + 1);
    server.stop("INT").await;
}

#[tokio::test]
async fn a_query_is_cancelled_from_beside() {
    let server = postgres().await;
    let mut sealock = server.behind("framing = \"postgres\"").await;
    let (mut client, key) = session(&sealock).await;
    client
        .send(
            BINARY,
            &query("DO $$ BEGIN RAISE NOTICE 'here'; PERFORM pg_sleep(600); END $$"),
        )
        .await;
    until(&mut client, b'N').await;

    // The whole of a session of its own: a message without a type, which nothing answers.
    let mut other = Client::tls(sealock.tls, "/").await;
    let request = [&[0x04, 0xD2, 0x16, 0x2E][..], &key].concat();
    other.send(BINARY, &untyped(&request)).await;
    other.expect_close(1000, "backend closed").await;
    let record = sealock.ended("backend_closed").await;
    assert_eq!(
        (&record["messages_up"], &record["messages_down"]),
        (&1.into(), &0.into())
    );

    let error = until(&mut client, b'E').await;
    assert!(
        error.windows(7).any(|field| field == b"C57014\0"),
        "{}",
        error.escape_ascii()
    );
    client.expect(BINARY, &ready()).await;
    server.stop("INT").await;
}
