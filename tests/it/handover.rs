//! Upgrades while clients keep coming: sockets of systemd, and a port that two processes share. And what systemd is told meanwhile.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::process::Stdio;

use socket2::{Domain, Socket, Type};
use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::admin;
use crate::limits::limit_files;
use crate::support::{
    Backend, CLOSE, Client, Frame, Program, Request, TEXT, answer, connect, frame, program, sealock, soon,
    write,
};

/// A listener in the clear, and a route to an echo.
fn file(bind: &str, echo: SocketAddr) -> String {
    format!(
        "[[listener]]\n{bind}\nplaintext = \"loopback\"\n\
         [[route]]\nname = \"echo\"\npath = \"/echo\"\nbackend = \"tcp://{echo}\"\nframing = \"lines\"\n"
    )
}

/// Clients that connect, say something, and leave, again and again.
struct Crowd {
    clients: JoinSet<()>,
    visits: Vec<watch::Receiver<u32>>,
    over: watch::Sender<bool>,
}

impl Crowd {
    const CLIENTS: u32 = 200;

    fn start(address: SocketAddr) -> Self {
        let over = watch::Sender::new(false);
        let (mut clients, mut visits) = (JoinSet::new(), Vec::new());
        for _ in 0..Self::CLIENTS {
            let (done, seen) = watch::channel(0);
            visits.push(seen);
            let over = over.subscribe();
            clients.spawn(async move {
                while !*over.borrow() {
                    visit(address).await;
                    done.send_modify(|done| *done += 1);
                }
            });
        }
        Self {
            clients,
            visits,
            over,
        }
    }

    /// Waits until each client has come twice more: so it has begun and ended a whole visit.
    async fn expect_visits(&mut self) {
        let enough: Vec<u32> = self.visits.iter().map(|visits| *visits.borrow() + 2).collect();
        for (visits, enough) in self.visits.iter_mut().zip(enough) {
            let waited = visits.wait_for(|visits| *visits >= enough);
            soon("visits", waited).await.expect("no client failed");
        }
    }

    /// Sends them home. Panics when one of them ever failed.
    async fn end(mut self) {
        self.over.send_replace(true);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
    }
}

/// A whole session, which panics at whatever is not one: a connection that is refused or reset, an answer that is no 101, an end
/// without a Close frame. To be told to come again is fine.
async fn visit(address: SocketAddr) {
    let mut client = Client::plain(address, "/echo").await;
    client.send(TEXT, b"hello").await;
    let first = client.frame().await.expect("an echo or a Close frame");
    let told = match first.opcode {
        CLOSE => first,
        _ => {
            assert_eq!(first.payload, b"hello");
            client.close(1000, "").await;
            client.frame().await.expect("a Close frame")
        }
    };
    if told == Frame::close(1001, "server is shutting down") {
        client.raw(&frame(true, CLOSE, &1001_u16.to_be_bytes())).await;
    } else {
        assert_eq!(told, Frame::close(1000, ""));
    }
    client.expect_end().await;
}

async fn stop(old: &mut Program) {
    old.signal("TERM").await;
    assert_eq!(old.exit().await, Some(0));
    assert!(old.log().contains("all sessions have ended"));
}

/// Starts sealock with a socket at descriptor 3, as systemd does.
async fn activated(socket: &TcpListener, echo: SocketAddr) -> Program {
    const SCRIPT: &str =
        "export LISTEN_FDS=1 LISTEN_FDNAMES=public LISTEN_PID=$$; exec \"$@\" 3<&0 0</dev/null";
    let mut command = Command::new("sh");
    command
        .args(["-c", SCRIPT, "sh"])
        .stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    Program::start_by(command, &file("bind = \"systemd:public\"", echo), 1).await
}

#[tokio::test]
async fn no_client_is_refused_while_a_socket_outlives_its_processes() {
    let echo = Backend::echo().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut running = activated(&socket, echo).await;
    assert_eq!(running.plain, address);
    let mut crowd = Crowd::start(address);
    // As systemd restarts a service: first the end, then the beginning. Once also with both at work.
    for both in [false, true, false] {
        crowd.expect_visits().await;
        if both {
            let next = activated(&socket, echo).await;
            stop(&mut running).await;
            running = next;
        } else {
            stop(&mut running).await;
            running = activated(&socket, echo).await;
        }
    }
    crowd.expect_visits().await;
    crowd.end().await;
    stop(&mut running).await;
}

#[tokio::test]
async fn no_client_is_refused_while_processes_share_a_port() {
    let echo = Backend::echo().await;
    let [(address, _held), (admin, _held_too)] = [held_port(), held_port()];
    let file = file(&format!("bind = \"{address}\"\nreuse_port = true"), echo);
    let file = format!("[admin]\nbind = \"{admin}\"\n{file}");
    let start = async || Program::start_by(Command::new("env"), &file, 1).await;
    let mut running = start().await;
    let mut crowd = Crowd::start(address);
    for _ in 0..3 {
        crowd.expect_visits().await;
        let next = start().await;
        crowd.expect_visits().await;
        stop(&mut running).await;
        running = next;
        let now = admin::json(&running, "GET /api/v1/status", 200).await;
        assert_eq!(now["pid"], running.pid());
    }
    crowd.expect_visits().await;
    crowd.end().await;
    stop(&mut running).await;
}

#[tokio::test]
async fn who_waits_for_room_is_served_before_a_shared_port_closes() {
    let echo = Backend::echo().await;
    let file = file("bind = \"127.0.0.1:0\"\nreuse_port = true", echo);
    let file = format!("[limits]\nmax_handshakes = 1\n{file}");
    let mut sealock = Program::start_by(Command::new("env"), &file, 1).await;
    // It has all the room there is; the others are in the kernel's queue.
    let mut slow = connect(sealock.plain).await;
    write(&mut slow, b"GET ").await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(sealock.plain).await;
        write(&mut stream, &Request::get("/echo").bytes()).await;
        waiting.push(stream);
    }
    sealock.signal("TERM").await;
    for stream in waiting {
        let mut client = answer(Box::new(stream)).await.unwrap();
        client.expect_close(1001, "server is shutting down").await;
    }
    drop(slow);
    assert_eq!(sealock.exit().await, Some(0));
    assert!(sealock.log().contains("all sessions have ended"));
}

#[tokio::test]
async fn what_cannot_be_accepted_any_more_is_counted() {
    // More than can be refused one after another before the end, on most machines.
    const CLIENTS: usize = 400;
    let echo = Backend::echo().await;
    let file = file("bind = \"127.0.0.1:0\"\nreuse_port = true", echo);
    let mut sealock = Program::start_by(Command::new("env"), &file, 1).await;
    let pid = sealock.pid();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    limit_files(pid, open).await;
    let mut silent = Vec::new();
    for _ in 0..CLIENTS {
        silent.push(connect(sealock.plain).await);
    }
    sealock.logged("cannot accept connections").await;
    sealock.signal("TERM").await;
    assert_eq!(sealock.exit().await, Some(0));
    let log = sealock.log();
    assert!(log.contains("all sessions have ended"), "{log}");
    // How many can be refused before the end is a matter of the machine, and on a slow one not all may be counted.
    let lost = log
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["lost"].as_u64())
        .sum::<u64>();
    let refused = log.matches("\"cause\":\"out_of_descriptors\"").count();
    assert!(refused > 0, "{log}");
    let counted = usize::try_from(lost).unwrap() + refused;
    let all = !log.contains("more connections are lost than could be counted");
    assert!(
        counted == CLIENTS || counted < CLIENTS && !all,
        "{counted}: {log}"
    );
    // Which is said once, and not for each.
    assert_eq!(log.matches("cannot accept connections").count(), 1);
}

/// A port that is kept for others to share, by a socket that never listens.
fn held_port() -> (SocketAddr, Socket) {
    let holder = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    holder.set_reuse_port(true).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    holder.bind(&any.into()).unwrap();
    (holder.local_addr().unwrap().as_socket().unwrap(), holder)
}

#[tokio::test]
async fn a_port_is_not_shared_unless_all_say_so() {
    let echo = Backend::echo().await;
    let shared = file("bind = \"127.0.0.1:0\"\nreuse_port = true", echo);
    let running = Program::start_by(Command::new("env"), &shared, 1).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alone.toml");
    std::fs::write(&path, file(&format!("bind = \"{}\"", running.plain), echo)).unwrap();
    let output = sealock(["run", "-c", path.to_str().unwrap()], "").await;
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("cannot listen on"), "{}", output.stderr);
}

/// Binds a socket for each name on loopback, and becomes the command with them. An empty name alone is not passed.
const MANAGER: &str = "
import fcntl, os, socket, sys
names = sys.argv[1].split(':')
def made(name):
    if name == 'local':
        return socket.socket(socket.AF_UNIX)
    return socket.socket(type=socket.SOCK_DGRAM if name == 'datagrams' else socket.SOCK_STREAM)
sockets = [made(name) for name in names]
for at, (name, one) in enumerate(zip(names, sockets)):
    one.bind('' if name == 'local' else ('127.0.0.1', 0))
    if name not in ('datagrams', 'asleep'):
        one.listen()
high = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 100) for one in sockets]
for at, descriptor in enumerate(high):
    os.dup2(descriptor, 3 + at)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)))
if any(names):
    os.environ.update(LISTEN_FDNAMES=sys.argv[1])
os.execv(sys.argv[2], sys.argv[2:])
";

fn manager(names: &str) -> Command {
    let mut command = program("python3");
    command.args(["-c", MANAGER, names]);
    command
}

#[tokio::test]
async fn listeners_find_their_sockets_by_name() {
    let echo = Backend::echo().await;
    let two = file("bind = \"systemd:inner\"", echo).replacen(
        "[[route]]",
        "[[listener]]\nbind = \"systemd:public\"\nplaintext = \"anywhere\"\n[[route]]",
        1,
    );
    // Two sockets have one name, as of a unit with two lines of `ListenStream=`.
    let mut sealock = Program::start_by(manager("public:inner:public:spare"), &two, 3).await;
    sealock.logged("no listener names").await;
    assert!(sealock.log().contains("spare"));
    for address in &sealock.listeners {
        visit(*address).await;
    }
}

#[tokio::test]
async fn a_socket_without_a_name_is_unknown() {
    let echo = Backend::echo().await;
    let file = file("bind = \"systemd:unknown\"", echo);
    for (names, sockets) in [("", 1), (":", 2)] {
        let sealock = Program::start_by(manager(names), &file, sockets).await;
        for address in &sealock.listeners {
            visit(*address).await;
        }
    }
}

#[tokio::test]
async fn sockets_that_are_not_as_they_should_be_are_told() {
    let echo = Backend::echo().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sealock.toml");
    for (bind, names, says) in [
        (
            "systemd:public",
            None,
            "systemd has passed no sockets\n  help: start the socket unit: systemctl enable --now sealock.socket",
        ),
        (
            "systemd:public",
            Some("inner:outer"),
            "of this name, but \"inner\", \"outer\"",
        ),
        ("systemd:public", Some(""), "of this name, but \"unknown\""),
        (
            "systemd:datagrams",
            Some("datagrams"),
            "its unit needs `ListenStream=` with a TCP port",
        ),
        (
            "systemd:local",
            Some("local"),
            "its unit needs `ListenStream=` with a TCP port",
        ),
        ("systemd:asleep", Some("asleep"), "the socket does not listen"),
    ] {
        std::fs::write(&path, file(&format!("bind = {bind:?}"), echo)).unwrap();
        let mut command = names.map_or_else(|| Command::new("env"), manager);
        command
            .args([env!("CARGO_BIN_EXE_sealock"), "run", "-c"])
            .arg(&path)
            .kill_on_drop(true);
        let output = soon("sealock's end", command.output()).await.unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(
            told.contains(says) && told.contains(&bind["systemd:".len()..]),
            "{told}"
        );
    }
}

async fn notification(manager: &UnixDatagram) -> String {
    let mut bytes = [0; 256];
    let got = manager.recv(&mut bytes).await.unwrap();
    String::from_utf8(bytes[..got].to_vec()).unwrap()
}

#[tokio::test]
async fn the_service_manager_hears_of_every_state_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let echo = Backend::echo().await;
    let route = format!("{}close_timeout = \"1h\"\n", file("bind = \"127.0.0.1:0\"", echo));
    let mut command = Command::new("env");
    command
        .env("NOTIFY_SOCKET", &path)
        // Every 50 ms.
        .env("WATCHDOG_USEC", "100000");
    let mut sealock = Program::start_by(command, &route, 1).await;
    // Whatever the test does: a manager that does not read is sent no signs of life.
    let (sender, mut notifications) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            // The test may be over already.
            drop(sender.send(notification(&manager).await));
        }
    });
    let mut told = async || soon("a notification", notifications.recv()).await.unwrap();
    // The next that is no sign of life, and whether there were such signs before it.
    async fn state(mut told: impl AsyncFnMut() -> String) -> (bool, String) {
        let mut alive = false;
        loop {
            match told().await.as_str() {
                "WATCHDOG=1\n" => alive = true,
                state => return (alive, state.to_owned()),
            }
        }
    }
    assert_eq!(told().await, "READY=1\nSTATUS=serving\n");
    for _ in 0..3 {
        assert_eq!(told().await, "WATCHDOG=1\n");
    }
    let mut first = Client::plain(sealock.plain, "/echo").await;
    let mut last = Client::plain(sealock.plain, "/echo").await;
    for client in [&mut first, &mut last] {
        client.send(TEXT, b"hello").await;
        assert_eq!(client.message().await, (TEXT, b"hello".to_vec()));
    }
    sealock.signal("TERM").await;
    let stopping = state(&mut told).await.1;
    assert_eq!(stopping, "STOPPING=1\nSTATUS=stopping: 2 sessions remain\n");
    for (client, remain) in [(&mut first, Some(1)), (&mut last, None)] {
        assert_eq!(
            client.frame().await,
            Some(Frame::close(1001, "server is shutting down"))
        );
        client.close(1001, "").await;
        client.expect_end().await;
        if let Some(remain) = remain {
            // The watchdog is fed as long as the process lives.
            let status = format!("STATUS=stopping: {remain} session remains\n");
            assert_eq!(state(&mut told).await, (true, status));
        }
    }
    assert_eq!(sealock.exit().await, Some(0));
}

/// The socket's queue fills up, and a send would wait: for ever.
#[tokio::test]
async fn a_service_manager_that_does_not_read_stops_no_session() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let echo = Backend::echo().await;
    let mut command = Command::new("env");
    command
        .env("NOTIFY_SOCKET", &path)
        // Every millisecond.
        .env("WATCHDOG_USEC", "2000")
        .env("SEALOCK_LOG", "debug")
        // There is no other that could run the session.
        .env("TOKIO_WORKER_THREADS", "1");
    let mut sealock = Program::start_by(command, &file("bind = \"127.0.0.1:0\"", echo), 1).await;
    sealock.logged("no sign of life is sent").await;
    visit(sealock.plain).await;
    let status = "STATUS=stopping: 1 session remains\n";
    let mut client = Client::plain(sealock.plain, "/echo").await;
    sealock.signal("TERM").await;
    client.expect_close(1001, "server is shutting down").await;
    // What is no sign of life waits until it is read.
    let told = async { while !notification(&manager).await.ends_with(status) {} };
    soon("the end in the notifications", told).await;
    assert_eq!(sealock.exit().await, Some(0));
}

#[tokio::test]
async fn a_service_manager_may_listen_on_an_abstract_name_and_want_no_signs_of_life() {
    let name = format!("sealock-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let manager = std::os::unix::net::UnixDatagram::bind_addr(&address).unwrap();
    manager.set_nonblocking(true).unwrap();
    let manager = UnixDatagram::from_std(manager).unwrap();
    let echo = Backend::echo().await;
    let mut command = Command::new("env");
    command
        .env("NOTIFY_SOCKET", format!("@{name}"))
        .env("WATCHDOG_USEC", "0");
    let mut sealock = Program::start_by(command, &file("bind = \"127.0.0.1:0\"", echo), 1).await;
    let told = async || soon("a notification", notification(&manager)).await;
    assert_eq!(told().await, "READY=1\nSTATUS=serving\n");
    visit(sealock.plain).await;
    sealock.signal("TERM").await;
    // Whether the visitor's session has ended by then is a matter of the machine.
    let last = told().await;
    assert!(last.starts_with("STOPPING=1\nSTATUS=stopping: "), "{last}");
    assert_eq!(sealock.exit().await, Some(0));
}
