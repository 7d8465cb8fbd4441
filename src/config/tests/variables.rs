//! Environment variables.

use super::*;

#[test]
fn variables_stand_in_strings() {
    let config = good(&format!(
        "{LISTENER}[limits]\nmax_sessions = \"${{MANY:-12}}\"\n[[route]]\nname = \"a\"\npath = \"/${{EMPTY:-irc}}\"\n\
         backend = \"tcp://${{HOST}}:${{PORT:?the port of the service}}\"\nframing = \"${{FRAMING:-lines}}\"\n\
         subprotocols = [\"a$$b${{EMPTY}}\"]"
    ));
    let route = &config.routes[0];
    assert_eq!(config.limits.max_sessions, 12);
    assert_eq!(route.backend.targets[0].to_string(), "tcp://127.0.0.1:6667");
    assert_eq!(route.path.to_string(), "/irc");
    assert_eq!(route.policy.subprotocols, ["a$b"]);
    assert!(matches!(route.settings.to_client, Framing::Delimiter(_)));
}

#[test]
fn variables_that_cannot_be_expanded_are_told() {
    for (written, marked, title, help) in [
        ("${NO}", "${NO}", "variable NO is not set", "${NO:-default}"),
        (
            "x${NO:?ask me}y",
            "${NO:?ask me}",
            "NO is not set: ask me",
            "set NO",
        ),
        ("${EMPTY:?fill it}", "${EMPTY:?fill it}", "fill it", "set EMPTY"),
        (
            "$HOST/x",
            "$HOST",
            "not a variable",
            "write ${HOST} for the variable, $$HOST",
        ),
        ("5$", "$", "not a variable", "$$ for a dollar sign"),
        ("${}", "${}", "not a variable", "${NAME:-default}"),
        ("${1A}", "${1A}", "not a variable", "${NAME}"),
        ("${A-b}", "${A-b}", "not a variable", "${NAME:-default}"),
        ("${A:-${B}}", "${A:-${B}", "not a variable", "not nested"),
        ("${HOST", "${HOST", "not a variable", "closing brace"),
    ] {
        route_problem(
            &format!("framing = \"raw\"\nsubprotocols = [\"{written}\"]"),
            marked,
            title,
            help,
        );
    }
    // What a variable holds is not searched again.
    let (_, one) = only(&route_with("framing = \"${NESTED}\""));
    assert_eq!(one.title, "there is no such preset");
}

#[test]
fn values_from_the_environment_are_never_shown() {
    for secret in [
        "bind = \"${SECRET}\"",
        "plaintext = \"${SECRET}\"",
        "cert_file = \"${SECRET}\"",
        "max_head = \"${SECRET}\"",
        "request_timeout = \"${SECRET}\"",
        "[limits]\nmax_sessions = \"${SECRET}\"",
        "[[route]]\nname = \"${SECRET}\"",
        "[[route]]\npath = \"${SECRET}\"",
        "[[route]]\nhosts = [\"${SECRET}\"]",
        "[[route]]\nbackend = \"${SECRET}\"",
        "[[route]]\nframing = \"${SECRET}\"",
        "[[route]]\nframing = { kind = \"${SECRET}\" }",
        "[[route]]\nframing = { kind = \"delimiter\", delimiter = { hex = \"${SECRET}\" } }",
        "[[route]]\norigins = \"${SECRET}\"",
        "[[route]]\norigins = [\"${SECRET}\"]",
        "[[route]]\nsubprotocols = [\"${SECRET}\"]",
        "[[route]]\nmessage = \"${SECRET}\"",
        "[[route]]\nembedded_delimiter = \"${SECRET}\"",
        "[[route]]\nidle_timeout = \"${SECRET}\"",
    ] {
        let said = bad(&format!("[[listener]]\n{secret}")).to_string();
        assert!(!said.contains("s3cret"), "{said}");
        let told = said.contains("the value comes from the environment: ${SECRET}");
        assert!(told || secret.starts_with("cert_file"), "{said}");
    }
}
