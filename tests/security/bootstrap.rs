//! Which flags of `xds-bridge bootstrap` go with which `[xds.tls]`, through the program.

use std::path::Path;
use std::process::Command;

const PLAIN: &str = "[sources.a]\nkind = \"file\"\npath = \".\"\n";
const TLS: &str = "[xds.tls]\ncertificate = \"a.pem\"\nkey = \"b.pem\"\n";
const MTLS: &str = "[xds.tls]\ncertificate = \"a.pem\"\nkey = \"b.pem\"\nclient_ca = \"c.pem\"\n";

/// What it prints, or what it says is wrong.
fn bootstrap(folder: &Path, tls: &str, flags: &str) -> Result<String, String> {
    let file = folder.join("bridge.toml");
    std::fs::write(&file, format!("{PLAIN}{tls}")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_xds-bridge"))
        .args(["bootstrap", "--config"])
        .arg(&file)
        .args(flags.split_whitespace())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

#[test]
fn flags_fit_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |tls, flags| bootstrap(folder.path(), tls, flags);
    assert!(!ask("", "").unwrap().contains("transport_socket"));
    assert!(ask("", "--ca ca.pem").unwrap_err().contains("need [xds.tls]"));
    assert!(ask(TLS, "--for grpc").unwrap_err().contains("--ca FILE"));
    assert!(
        ask(TLS, "--for grpc --ca ca.pem --sni bridge.example")
            .unwrap_err()
            .contains("--sni is for Envoy")
    );
    assert!(ask(TLS, "").unwrap_err().contains("--ca FILE"));
    let one_sided = ask(TLS, "--ca ca.pem --sni bridge.example").unwrap();
    assert!(one_sided.contains("sni: bridge.example") && one_sided.contains("san_type: DNS"));
    assert!(!one_sided.contains("tls_certificates"));
    assert!(
        ask(MTLS, "--ca ca.pem")
            .unwrap_err()
            .contains("--cert FILE --key FILE")
    );
    assert!(
        ask(MTLS, "--ca ca.pem --cert e.pem")
            .unwrap_err()
            .contains("go together")
    );
    let both = ask(
        MTLS,
        "--ca ca.pem --cert e.pem --key k.pem --bridge 10.0.0.7:18000",
    )
    .unwrap();
    assert!(both.contains("exact: 10.0.0.7") && both.contains("filename: k.pem"));
}

#[test]
fn files_for_services_by_tls_fit_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let shop = "[tls.shop]\nca = \"a.pem\"\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";
    let ask = |flags| bootstrap(folder.path(), shop, flags);
    let printed = ask("--for grpc --tls shop=ca.pem,c.pem,k.pem").unwrap();
    assert!(printed.contains("certificate_providers"), "{printed}");
    for (flags, words) in [
        ("--for grpc --tls shop=ca.pem", "--tls shop=CA,CERT,KEY"),
        ("--for grpc --tls shops=ca.pem", "no [tls.shops]"),
        ("--for grpc --tls shop", "must be NAME=CA"),
        ("--tls shop=ca.pem,c.pem,k.pem", "--tls is for --for grpc"),
    ] {
        let error = ask(flags).unwrap_err();
        assert!(error.contains(words), "{flags}: {error}");
    }
}

#[test]
fn check_opens_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bridge.toml");
    std::fs::write(&file, format!("{PLAIN}{TLS}")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_xds-bridge"))
        .args(["check", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("a.pem"), "{said}");
}
