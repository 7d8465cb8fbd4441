//! What a scanner of TLS servers has to say: sslyze, by people who look for what servers do wrong.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Scene, certificate, missing, soon};

/// Scans a sealock, and gives the results by their names.
async fn scan(scene: &Scene, profile: &str) -> (Value, bool, String) {
    // tests/install-deps.sh puts it there.
    let sslyze = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sslyze/bin/sslyze");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("found.json");
    let mut command = Command::new(sslyze);
    command
        // Of a profile, all scans are run that it needs; these are beside it.
        .args(["--certinfo", "--tlsv1_2", "--tlsv1_3", "--resum", "--early_data"])
        .arg(format!("--mozilla_config={profile}"))
        .args(["--sni", "localhost"])
        .arg("--certinfo_ca_file")
        .arg(certificate("ca.pem"))
        .arg("--json_out")
        .arg(&file)
        .arg(scene.program.tls.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = soon("the scan", command.output()).await;
    let output = output.unwrap_or_else(|error| missing(&command, &error));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let mut found: Value = serde_json::from_str(&text).unwrap();
    let scan = found["server_scan_results"][0]["scan_result"].take();
    (scan, output.status.success(), said)
}

/// What a scan found, once it is certain that it took place.
fn result<'a>(found: &'a Value, scan: &str) -> &'a Value {
    assert_eq!(found[scan]["status"], "COMPLETED", "{scan}: {}", found[scan]);
    &found[scan]["result"]
}

/// The suites that were accepted in a version.
fn suites<'a>(found: &'a Value, version: &str) -> BTreeSet<&'a str> {
    let accepted = result(found, version)["accepted_cipher_suites"]
        .as_array()
        .unwrap();
    accepted
        .iter()
        .map(|one| one["cipher_suite"]["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_scanner_finds_nothing_wrong() {
    let mut scene = Scene::start("framing = \"lines\"").await;
    let (found, compliant, said) = scan(&scene, "intermediate").await;
    assert!(compliant && said.contains("OK - Compliant"), "{said}");

    for version in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        let scan = format!("{version}_cipher_suites");
        assert_eq!(suites(&found, &scan), BTreeSet::new(), "{version}");
        assert_eq!(
            result(&found, &scan)["is_tls_version_supported"],
            false,
            "{version}"
        );
    }
    // Every one has forward secrecy and authenticated encryption.
    let ecdsa = [
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ];
    assert_eq!(suites(&found, "tls_1_2_cipher_suites"), BTreeSet::from(ecdsa));
    let aead = [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    ];
    assert_eq!(suites(&found, "tls_1_3_cipher_suites"), BTreeSet::from(aead));

    for (scan, expected) in [
        ("tls_compression", json!({"supports_compression": false})),
        ("tls_1_3_early_data", json!({"supports_early_data": false})),
        (
            "openssl_ccs_injection",
            json!({"is_vulnerable_to_ccs_injection": false}),
        ),
        ("heartbleed", json!({"is_vulnerable_to_heartbleed": false})),
        (
            "robot",
            json!({"robot_result": "NOT_VULNERABLE_RSA_NOT_SUPPORTED"}),
        ),
        ("tls_fallback_scsv", json!({"supports_fallback_scsv": true})),
        (
            "tls_extended_master_secret",
            json!({"supports_ems_extension": true}),
        ),
        (
            "session_renegotiation",
            json!({
                "supports_secure_renegotiation": true,
                "is_vulnerable_to_client_renegotiation_dos": false,
                "client_renegotiations_success_count": 0,
            }),
        ),
        // Sessions are resumed. That tickets are, too, OpenSSL tells (see tls_clients): this scanner takes a ticket that is renewed
        // each time for one that was refused.
        (
            "session_resumption",
            json!({"session_id_resumption_result": "FULLY_SUPPORTED"}),
        ),
    ] {
        let result = result(&found, scan);
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&result[name], value, "{scan}: {result}");
        }
    }
    // Whatever was tried, the neighbour did not notice.
    scene.neighbour().await;
}

#[tokio::test]
async fn a_scanner_tells_what_is_not_as_it_wants_it() {
    // The profile "modern" has TLS 1.3 only: proof that the verdict above is not said of everything.
    let scene = Scene::start("framing = \"lines\"").await;
    let (_, compliant, said) = scan(&scene, "modern").await;
    assert!(!compliant, "{said}");
    assert!(said.contains("tls_versions: TLS versions {'TLSv1.2'}"), "{said}");
}
