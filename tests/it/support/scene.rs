//! The stage of a misdeed: a sealock with the route it happens on, and beside it a session that must never notice.

use serde_json::Value;
use tokio::net::TcpStream;

use super::{BINARY, Backend, Client, Program};

/// See the module's documentation.
pub struct Scene {
    pub program: Program,
    /// The backend of the route `/test`, unless that names another.
    pub backend: Backend,
    neighbour: Client,
    /// Messages that the neighbour has exchanged with its own backend.
    exchanged: u64,
}

impl Scene {
    /// Starts sealock with these settings of the route `/test`.
    pub async fn start(route: &str) -> Self {
        Self::start_with("", route).await
    }

    /// The same with the lines that [`Program::start_with`] takes.
    pub async fn start_with(top: &str, route: &str) -> Self {
        let backend = Backend::start().await;
        let echo = Backend::echo().await;
        // Other routes may follow the one under test.
        let names_another = route
            .split("[[route]]")
            .next()
            .is_some_and(|own| own.lines().any(|line| line.starts_with("backend = ")));
        let own = if names_another {
            String::new()
        } else {
            format!("backend = \"tcp://{}\"", backend.address)
        };
        let config = format!(
            "[[route]]\nname = \"neighbour\"\npath = \"/neighbour\"\nbackend = \"tcp://{echo}\"\nframing = \"u32be\"\n\
             [[route]]\nname = \"test\"\npath = \"/test\"\n{own}\n{route}\n"
        );
        let program = Program::start_with(top, &config).await;
        let neighbour = Client::tls(program.tls, "/neighbour").await;
        let mut scene = Self {
            program,
            backend,
            neighbour,
            exchanged: 0,
        };
        scene.neighbour().await;
        scene
    }

    /// A session on the route: its client, and the connection at the backend.
    pub async fn open(&self) -> (Client, TcpStream) {
        let client = Client::plain(self.program.plain, "/test").await;
        (client, self.backend.accept().await)
    }

    /// The neighbour exchanges a message, as if nothing had happened.
    pub async fn neighbour(&mut self) {
        self.exchanged += 1;
        let message = format!("message {}", self.exchanged).into_bytes();
        self.neighbour.send(BINARY, &message).await;
        assert_eq!(self.neighbour.message().await, (BINARY, message));
    }

    /// The record of the session under test, which has these fields. Meanwhile the neighbour exchanges a message.
    pub async fn ended(&mut self, cause: &str, fields: Value) -> Value {
        self.neighbour().await;
        let record = self.program.ended(cause).await;
        for (name, value) in fields.as_object().unwrap() {
            assert_eq!(&record[name], value, "{name} in {record}");
        }
        record
    }

    /// The neighbour leaves in peace; nothing else has ended that was not looked at. Gives the log, which holds all until then.
    pub async fn done(mut self) -> String {
        self.neighbour().await;
        self.neighbour.close(1000, "").await;
        self.neighbour.expect_refusal(1000, "").await;
        let record = self.program.ended("client_closed").await;
        assert_eq!(record["route"], "neighbour", "{record}");
        assert_eq!(record["messages_up"], self.exchanged, "{record}");
        assert_eq!(record["messages_down"], self.exchanged, "{record}");
        self.program.log()
    }
}
