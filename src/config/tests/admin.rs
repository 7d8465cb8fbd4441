//! `[admin]`.

use super::*;

fn file(admin: &str) -> String {
    format!("[admin]\n{admin}\n{LISTENER}{ROUTE}framing = \"raw\"\n")
}

fn admin(lines: &str) -> Admin {
    good(&file(lines)).admin.unwrap()
}

#[test]
fn it_is_there_where_the_file_says_so() {
    assert_eq!(good(&route_with("framing = \"raw\"")).admin, None);
    let plain = Admin {
        bind: "127.0.0.1:9901".parse().unwrap(),
        token: None,
        hosts: Vec::new(),
    };
    assert_eq!(admin("bind = \"127.0.0.1:9901\""), plain);
    let public = admin("bind = \"0.0.0.0:9901\"\ntoken_file = \"t\"\nhosts = [\"Sealock.internal.\"]");
    assert_eq!(public.token, Some(Token::File("/etc/sealock/t".into())));
    assert_eq!(public.hosts, ["sealock.internal"]);
    let secret = admin("bind = \"[::]:9901\"\ntoken = \"0123456789abcdef\"");
    assert_eq!(secret.token, Some(Token::Here("0123456789abcdef".to_owned())));
    assert!(!format!("{secret:?}").contains("0123"), "{secret:?}");
}

#[test]
fn mistakes_are_told() {
    let bind = "bind = \"127.0.0.1:9901\"\n";
    for (lines, marked, title, help) in [
        ("", "[admin]", "[admin] needs `bind`", "127.0.0.1:9901"),
        (
            "bind = \"0.0.0.0:9901\"",
            "\"0.0.0.0:9901\"",
            "open to everybody",
            "token_file",
        ),
        (
            "bind = \"10.0.0.1:9901\"",
            "\"10.0.0.1:9901\"",
            "open to everybody",
            "127.0.0.1:9901",
        ),
        (
            "bind = \"localhost:1\"",
            "\"localhost:1\"",
            "an IP address",
            "127.0.0.1:1",
        ),
        (
            &format!("{bind}token = \"short\""),
            "[admin]",
            "16 to 512",
            "openssl rand",
        ),
        (
            &format!("{bind}token = \"0123456789 abcdef\""),
            "[admin]",
            "no spaces",
            "",
        ),
        (
            &format!("{bind}token = \"0123456789abcdef\"\ntoken_file = \"t\""),
            "token_file",
            "one token",
            "remove",
        ),
        (&format!("{bind}hosts = []"), "[]", "1 to 64", "sealock.internal"),
        (
            &format!("{bind}hosts = [\"http://a\"]"),
            "\"http://a\"",
            "not a host name",
            "without scheme",
        ),
        (
            &format!("{bind}hosts = [\"a\", \"A\"]"),
            "\"A\"",
            "the same twice",
            "remove",
        ),
        (&format!("{bind}port = 1"), "port", "not a key of [admin]", "bind"),
    ] {
        problem(&file(lines), marked, title, help);
        let told = bad(&file(lines)).render(false);
        assert!(!told.contains("0123456789"), "{told}");
    }
}

#[test]
fn no_message_shows_a_secret() {
    let bind = "bind = \"127.0.0.1:9901\"\n";
    for lines in [
        "token = \"hunter2hunter2hunter2\"\ntoken = \"hunter2hunter2hunter2\"",
        "token = \"hunter2hunter2hunter2",
        "token = hunter2hunter2hunter2",
        "token = 'hunter2hunter2hunter2' token_file = 'x'",
        "token = [\"hunter2hunter2hunter2\"]",
        "token = { hunter = \"hunter2hunter2hunter2\" }",
        "token = \"hunter2\"",
        "tokn = \"hunter2hunter2hunter2\"",
        "password = \"hunter2hunter2hunter2\"",
        "token = \"hunter2hunter2hunter2\"\ntoken_file = \"x\"",
        "token = \"\"\"\nhunter2hunter2hunter2\nbind = 1",
    ] {
        let told = bad(&file(&format!("{bind}{lines}"))).to_string();
        assert!(
            told.contains("sealock.toml") && !told.contains("hunter2"),
            "{told}"
        );
    }
}
