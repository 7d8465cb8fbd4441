//! The shortest way through.

use crate::support::{Backend, Client, Program, TEXT, read, write};

#[tokio::test]
async fn a_line_goes_through_and_the_answer_comes_back() {
    let backend = Backend::start().await;
    let mut program = Program::start(&format!(
        "[[route]]\nname = \"lines\"\npath = \"/lines\"\nbackend = \"tcp://{}\"\nframing = \"lines\"\nmessage = \"text\"\n",
        backend.address
    ))
    .await;
    for tls in [false, true] {
        let mut client = if tls {
            Client::tls(program.tls, "/lines").await
        } else {
            Client::plain(program.plain, "/lines").await
        };
        let mut service = backend.accept().await;
        client.send(TEXT, b"hello").await;
        assert_eq!(read(&mut service, 6).await, b"hello\n");
        write(&mut service, b"hi\nthere\n").await;
        assert_eq!(client.message().await, (TEXT, b"hi".to_vec()));
        assert_eq!(client.message().await, (TEXT, b"there".to_vec()));
        drop(service);
        client.expect_close(1000, "backend closed").await;
        client.expect_end().await;
        let record = program.ended("backend_closed").await;
        assert_eq!(record["messages_up"], 1);
        assert_eq!(record["messages_down"], 2);
        // Nothing had to wait, but for a frame or a line that came in pieces.
        assert!(record["held_max"].as_u64().unwrap() < 1024, "{record}");
    }
}
