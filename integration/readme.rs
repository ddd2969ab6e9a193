//! What the documents show works when it is pasted: the declaration of the README from a bridge, an Envoy and a server
//! to two requests, by etcd and by Consul, the certificates of docs/tls.md, and the examples. Only the ports differ.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::bridge::binary;
use crate::support::consul::Consul;
use crate::support::etcd::Etcd;
use crate::support::http::Http;
use crate::support::process::{self, Program, Start};
use crate::support::wait;

/// What stands in the documents, and what stands in its place.
struct Places(Vec<(&'static str, String)>);

impl Places {
    fn new(etcd: &Etcd, consul: &Consul) -> Self {
        let [xds, admin, edge, internal, server, envoy] = process::ports();
        let at = |port: u16| format!("127.0.0.1:{port}");
        Self(vec![
            (
                "http.server 8080",
                format!("http.server {server} --bind 127.0.0.1"),
            ),
            ("8080", server.to_string()),
            ("127.0.0.1:18000", at(xds)),
            ("127.0.0.1:18001", at(admin)),
            ("127.0.0.1:10000", at(edge)),
            ("127.0.0.1:10001", at(internal)),
            ("127.0.0.1:2379", etcd.address().to_string()),
            ("127.0.0.1:8500", consul.address().to_string()),
            ("127.0.0.1:9901", at(envoy)),
            ("bootstrap ", format!("bootstrap --admin {} ", at(envoy))),
        ])
    }

    fn put_into(&self, text: &str) -> String {
        // In one pass: a free port may begin with one that is shown.
        let (mut rest, mut put) = (text, String::new());
        while !rest.is_empty() {
            let shown = self.0.iter().filter(|(from, _)| rest.starts_with(from));
            if let Some((from, to)) = shown.max_by_key(|(from, _)| from.len()) {
                put.push_str(to);
                rest = &rest[from.len()..];
                continue;
            }
            let next = rest.chars().next().map_or(0, char::len_utf8);
            put.push_str(&rest[..next]);
            rest = &rest[next..];
        }
        put
    }

    /// The same in a file, where Envoy writes an address and its port on two lines.
    fn put_into_file(&self, text: &str) -> String {
        let ports = self.0.iter().filter_map(|(shown, instead)| {
            let port = |address: &str| {
                address
                    .rsplit_once(':')
                    .map(|(_, port)| format!("port_value: {port}\n"))
            };
            Some((port(shown)?, port(instead)?))
        });
        ports.fold(self.put_into(text), |text, (from, to)| text.replace(&from, &to))
    }

    fn of(&self, shown: &str) -> &str {
        let found = self.0.iter().find(|(from, _)| *from == shown);
        &found.expect("a place that stands in the documents").1
    }
}

/// The fenced blocks of one language below a heading.
fn blocks(file: &str, heading: &str, language: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(file).expect("a document");
    let (_, text) = text.split_once(&format!("\n{heading}\n")).unwrap_or(("", &text));
    let text = text.split("\n## ").next().expect("a part");
    let fence = format!("```{language}\n");
    let after = text.split(&fence).skip(1);
    after
        .map(|block| block.split("```").next().expect("a block").to_owned())
        .collect()
}

/// A folder in which the program, etcdctl, Consul and Envoy are found as the documents call them.
fn folder(etcd: &Etcd, consul: &Consul) -> (TempDir, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let (target, bin) = (dir.path().join("target/debug"), dir.path().join("bin"));
    std::fs::create_dir_all(&target).expect("a folder");
    std::fs::create_dir_all(&bin).expect("a folder");
    std::os::unix::fs::symlink(binary(), target.join("xds-bridge")).expect("a link");
    // Without hot restart Envoys of other tests are not in its way.
    for (name, variable, more) in [
        (
            "envoy",
            "ENVOY_BIN",
            "--disable-hot-restart --concurrency 1 --log-level warning",
        ),
        ("etcdctl", "ETCDCTL_BIN", ""),
        ("consul", "CONSUL_BIN", ""),
    ] {
        let program = process::tool(variable, name);
        let script = format!(
            "#!/bin/sh\nETCDCTL_API=3 ETCDCTL_ENDPOINTS={} CONSUL_HTTP_ADDR={} exec {} \"$@\" {more}\n",
            etcd.url(),
            consul.address(),
            program.display()
        );
        let file = bin.join(name);
        std::fs::write(&file, script).expect("a script");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    }
    let before = format!("cd {} && PATH={}:$PATH && ", dir.path().display(), bin.display());
    (dir, before)
}

/// Runs some lines to their end; what they print.
fn paste(before: &str, lines: &str) -> Result<String, String> {
    let output = Command::new("sh")
        .args(["-c", &format!("{before} set -e; {lines}")])
        .output()
        .expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!(
            "{lines}: {}\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// A command that goes on; ends with the test.
async fn begin(before: &str, line: &str, url: &str) -> (TempDir, Program) {
    let dir = tempfile::tempdir().expect("a folder");
    // The shell makes way for the program, which is what the test ends.
    let line = match line.split_once(" && ") {
        Some((first, last)) => format!("{first} && exec {last}"),
        None => format!("exec {line}"),
    };
    let args = ["-c".to_owned(), format!("{before} {line}")];
    let mut program = Program::start("pasted", Path::new("sh"), args, dir.path());
    let http = Http::fresh();
    let ready = program.ready(async || http.get(url).await.map(drop)).await;
    assert_eq!(ready, Start::Ready, "{line}: a port is taken");
    (dir, program)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_declaration_of_the_readme_works_when_it_is_pasted() {
    let (etcd, consul) = tokio::join!(Etcd::start(), Consul::start());
    let places = Places::new(&etcd, &consul);
    let (dir, before) = folder(&etcd, &consul);
    let heading = "## One declaration that works";
    let toml = places.put_into(&blocks("README.md", heading, "toml").concat());
    std::fs::write(dir.path().join("bridge.toml"), toml).expect("bridge.toml");
    let shown = places.put_into(&blocks("README.md", heading, "sh").concat());
    let commands = commands(&shown);
    let [bridge, envoy, server, etcdctl, register, requests @ ..] = commands.as_slice() else {
        panic!("the README shows other commands: {commands:?}")
    };

    let _bridge = begin(
        &before,
        bridge,
        &format!("http://{}/readyz", places.of("127.0.0.1:18001")),
    )
    .await;
    let _server = begin(
        &before,
        server,
        &format!("http://127.0.0.1:{}/", places.of("8080")),
    )
    .await;
    let _envoy = begin(
        &before,
        envoy,
        &format!("http://{}/ready", places.of("127.0.0.1:9901")),
    )
    .await;
    assert_eq!(requests.len(), 2, "{requests:?}");
    for (put, take) in [
        (etcdctl, "etcdctl del /services/web/instances/web-1".to_owned()),
        (register, String::new()),
    ] {
        paste(&before, put).expect(put);
        for request in requests {
            wait::until(wait::PATIENCE, request, async || {
                let text = paste(&before, request)?;
                wait::holds(text.contains("bridge.toml"), || text)
            })
            .await;
        }
        paste(&before, &take).expect("taking it out again");
    }
}

/// Two versions of a service, of which one is rolled out, by the declaration of the document.
async fn rolls_out(registry: &str) {
    let (etcd, consul) = tokio::join!(Etcd::start(), Consul::start());
    let places = Places::new(&etcd, &consul);
    let servers: [u16; 2] = process::ports();
    let put = |text: &str| {
        // A port that was given may have the digits of one that is shown.
        let named = text.replace("8081", "SERVER-1").replace("8082", "SERVER-2");
        let named = places
            .put_into(&named)
            .replace("http.server SERVER-1", "http.server --bind 127.0.0.1 SERVER-1");
        let named = named.replace("http.server SERVER-2", "http.server --bind 127.0.0.1 SERVER-2");
        let [one, two] = servers.map(|port| port.to_string());
        named.replace("SERVER-1", &one).replace("SERVER-2", &two)
    };
    let (dir, before) = folder(&etcd, &consul);
    let heading = "## A declaration that works";
    let toml = [
        blocks("README.md", "## One declaration that works", "toml").concat(),
        blocks("docs/rollouts.md", heading, "toml").concat(),
    ];
    std::fs::write(dir.path().join("bridge.toml"), places.put_into(&toml.join("\n"))).expect("bridge.toml");
    let shown = commands(&put(&blocks("docs/rollouts.md", heading, "sh").concat()));
    let admin = places.of("127.0.0.1:18001");
    let _bridge = begin(
        &before,
        "target/debug/xds-bridge run",
        &format!("http://{admin}/readyz"),
    )
    .await;
    let envoy = places.put_into("target/debug/xds-bridge bootstrap > envoy.yaml && envoy -c envoy.yaml");
    let ready = format!("http://{}/ready", places.of("127.0.0.1:9901"));
    let _envoy = begin(&before, &envoy, &ready).await;
    let (mut running, mut last) = (Vec::new(), String::new());
    for command in &shown {
        let is_of = |name: &str| command.contains(&format!("{name} "));
        if is_of("http.server") {
            let port = servers[running.len()];
            running.push(begin(&before, command, &format!("http://127.0.0.1:{port}/")).await);
        } else if is_of("etcdctl") || is_of("curl") {
            if is_of("etcdctl") == (registry == "etcd") {
                paste(&before, command).expect(command);
            }
        } else {
            last.clone_from(command);
        }
    }
    assert_eq!(running.len(), 2, "{shown:?}");
    assert!(last.contains("rollout show orders"), "{shown:?}");
    wait::until(
        wait::PATIENCE,
        &format!("{registry}: its first step"),
        async || {
            let text = paste(&before, &last)?;
            wait::holds(text.contains("running: 2 beside 1, step 10 "), || text)
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rollout_of_the_document_works_when_it_is_pasted() {
    rolls_out("etcd").await;
    rolls_out("consul").await;
}

/// One command a line, as it is continued with a backslash or inside of quotes; without its comment.
fn commands(text: &str) -> Vec<String> {
    let (mut all, mut command) = (Vec::new(), String::new());
    for line in text.lines() {
        let line = line.split("    #").next().expect("a line");
        if command.is_empty() && (line.is_empty() || line.starts_with('#')) {
            continue;
        }
        let _ = writeln!(command, "{line}");
        if !line.ends_with('\\') && command.matches('\'').count().is_multiple_of(2) {
            all.push(std::mem::take(&mut command).trim().to_owned());
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificates_of_the_document_work_when_they_are_pasted() {
    let (etcd, consul) = tokio::join!(Etcd::start(), Consul::start());
    let places = Places::new(&etcd, &consul);
    let (dir, before) = folder(&etcd, &consul);
    let shell = blocks("docs/tls.md", "# TLS on the discovery port", "sh");
    let [certificates, envoy] = shell.as_slice() else {
        panic!("docs/tls.md shows other commands: {shell:?}")
    };
    paste(&before, certificates).expect("the certificates: is openssl 3 installed?");
    let toml = [
        blocks("README.md", "## One declaration that works", "toml").concat(),
        blocks("docs/tls.md", "# TLS on the discovery port", "toml").concat(),
    ];
    std::fs::write(dir.path().join("bridge.toml"), places.put_into(&toml.join("\n"))).expect("bridge.toml");
    let bridge = "target/debug/xds-bridge run";
    let admin = places.of("127.0.0.1:18001").to_owned();
    let _bridge = begin(&before, bridge, &format!("http://{admin}/readyz")).await;
    let envoy = places.put_into(envoy.trim());
    let ready = format!("http://{}/ready", places.of("127.0.0.1:9901"));
    let _envoy = begin(&before, &envoy, &ready).await;
    let http = Http::fresh();
    wait::until(wait::PATIENCE, "Envoy has a stream", async || {
        let text = http.text(&format!("http://{admin}/streams")).await?;
        wait::holds(text.contains("envoy-1"), || text)
    })
    .await;
}

/// The examples, with the ports of this test.
fn copy_examples(from: &Path, to: &Path, places: &Places) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the examples") {
        let (from, to) = {
            let entry = entry.expect("an example");
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            copy_examples(&from, &to, places);
        } else {
            let text = std::fs::read_to_string(&from).expect("an example");
            std::fs::write(to, places.put_into_file(&text)).expect("a copy");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_example_works_when_it_is_pasted() {
    for heading in ["## Consul", "## etcd", "## TLS"] {
        let (etcd, consul) = tokio::join!(Etcd::start(), Consul::start());
        let places = Places::new(&etcd, &consul);
        let (dir, before) = folder(&etcd, &consul);
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        copy_examples(&examples, &dir.path().join("examples"), &places);
        let shown = places.put_into(&blocks("examples/README.md", heading, "sh").concat());
        let (mut running, mut requests) = (Vec::new(), 0);
        for command in commands(&shown) {
            let ready = match command.as_str() {
                // The registry runs already, on ports of its own.
                "etcd" | "consul agent -dev" => continue,
                line if line.contains("xds-bridge run") => {
                    Some(format!("http://{}/readyz", places.of("127.0.0.1:18001")))
                }
                line if line.contains("envoy -c") => {
                    Some(format!("http://{}/ready", places.of("127.0.0.1:9901")))
                }
                line if line.contains("http.server") => {
                    Some(format!("http://127.0.0.1:{}/", places.of("8080")))
                }
                _ => None,
            };
            if let Some(ready) = ready {
                running.push(begin(&before, &command, &ready).await);
            } else if command.starts_with("curl") {
                requests += 1;
                wait::until(wait::PATIENCE, &command, async || {
                    let text = paste(&before, &command)?;
                    wait::holds(text.contains("examples"), || text)
                })
                .await;
            } else {
                paste(&before, &command).expect(heading);
            }
        }
        assert_eq!((running.len(), requests), (3, 2), "{heading}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_accepts_the_files_of_the_three_steps() {
    let (etcd, consul) = tokio::join!(Etcd::start(), Consul::start());
    let (dir, before) = folder(&etcd, &consul);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    copy_examples(
        &examples,
        &dir.path().join("examples"),
        &Places::new(&etcd, &consul),
    );
    for step in ["endpoints", "clusters", "listeners"] {
        let line = format!("envoy --mode validate -c examples/envoy/{step}.yaml");
        paste(&before, &line).expect(step);
    }
}
