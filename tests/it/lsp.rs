//! A real language server, pylsp, behind `framing = "lsp"`. It sends a second header beside the length, as the base protocol allows.

use serde_json::{Value, json};

use crate::support::{Client, Service, TEXT, pypi};

const FILE: &str = "file:///harbour/boat.py";

async fn pylsp() -> Service {
    Service::start("Serving PythonLSPServer", |port, _| {
        let mut command = pypi("pylsp");
        command
            .args(["--tcp", "--host", "127.0.0.1", "--port"])
            .arg(port.to_string())
            .arg("--verbose");
        command
    })
    .await
}

/// What an editor sends: a request if it has a number, otherwise a notification.
fn call(number: Option<u32>, method: &str, params: Value) -> Vec<u8> {
    let mut call = json!({ "jsonrpc": "2.0", "method": method, "params": params });
    if let Some(number) = number {
        call["id"] = number.into();
    }
    call.to_string().into_bytes()
}

/// The result of the request with this number, which is the next answer. When it has the time, the server tells its opinion of the
/// file meanwhile.
async fn result(client: &mut Client, number: u32) -> Value {
    loop {
        let (kind, message) = client.message().await;
        assert_eq!(kind, TEXT);
        let mut answer: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(answer["jsonrpc"], "2.0");
        if answer["method"] == "textDocument/publishDiagnostics" {
            assert_eq!(answer["params"]["uri"], FILE);
            continue;
        }
        assert_eq!(answer["id"], number);
        return answer["result"].take();
    }
}

fn open(text: &str) -> Vec<u8> {
    let document = json!({ "uri": FILE, "languageId": "python", "version": 1, "text": text });
    call(None, "textDocument/didOpen", json!({ "textDocument": document }))
}

fn symbols(number: u32) -> Vec<u8> {
    call(
        Some(number),
        "textDocument/documentSymbol",
        json!({ "textDocument": { "uri": FILE } }),
    )
}

/// A function as the server lists it.
fn symbol(name: &str, line: u32) -> Value {
    let range =
        json!({ "start": { "line": line, "character": 0 }, "end": { "line": line + 2, "character": 0 } });
    json!({ "name": name, "containerName": null, "location": { "uri": FILE, "range": range }, "kind": 12 })
}

#[tokio::test]
async fn an_editor_gets_its_answers() {
    let server = pylsp().await;
    let mut sealock = server.behind("framing = \"lsp\"").await;
    let mut client = Client::tls(sealock.tls, "/").await;
    let params = json!({ "processId": null, "rootUri": null, "capabilities": {} });
    client.send(TEXT, &call(Some(1), "initialize", params)).await;
    let answer = result(&mut client, 1).await;
    assert_eq!(answer["serverInfo"]["name"], "pylsp");
    assert_eq!(answer["capabilities"]["documentSymbolProvider"], true);

    // Notifications and requests that are read at once. The length counts bytes, not characters.
    let definition = json!({ "textDocument": { "uri": FILE }, "position": { "line": 3, "character": 2 } });
    client
        .send_all(
            TEXT,
            &[
                call(None, "initialized", json!({})),
                open("def grüße(name):\n    return name\n\ngrüße(1)\n"),
                symbols(2),
                call(Some(3), "textDocument/definition", definition),
            ],
        )
        .await;
    assert_eq!(result(&mut client, 2).await, json!([symbol("grüße", 0)]));
    let range = json!({ "start": { "line": 0, "character": 4 }, "end": { "line": 0, "character": 9 } });
    assert_eq!(
        result(&mut client, 3).await,
        json!([{ "uri": FILE, "range": range }])
    );

    // A long file, and a longer answer.
    let functions: String = (0..1000)
        .map(|n| format!("def function_{n}():\n    pass\n\n"))
        .collect();
    client.send_all(TEXT, &[open(&functions), symbols(4)]).await;
    let expected: Vec<Value> = (0..1000)
        .map(|n| symbol(&format!("function_{n}"), 3 * n))
        .collect();
    assert_eq!(result(&mut client, 4).await, json!(expected));

    client.send(TEXT, &call(Some(5), "shutdown", Value::Null)).await;
    assert_eq!(result(&mut client, 5).await, Value::Null);
    client.send(TEXT, &call(None, "exit", Value::Null)).await;
    client.expect_close(1000, "backend closed").await;
    let record = sealock.ended("backend_closed").await;
    assert_eq!(record["messages_up"], 9);
    assert!(record["bytes_down"].as_u64().unwrap() > 100_000, "{record}");
}
