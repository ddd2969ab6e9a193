//! What stands in front of every route of an exposure, and what a route asks for beside it, as requests through a real
//! Envoy find it.

mod authorization;
mod callers;
mod tokens;

use std::net::SocketAddr;

use crate::support::bridge::{Bridge, Step};
use crate::support::folder::Folder;
use crate::support::servers::Server;
use crate::support::{process, raw, wait};

/// Where a listener of the test may be.
fn somewhere() -> SocketAddr {
    let [port] = process::ports();
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The status of GET with these header lines, each ended.
async fn status(at: SocketAddr, host: &str, path: &str, headers: &str) -> Result<u16, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n");
    raw::exchange(at, &request).await.map(|answer| answer.0)
}

/// Waits for a status.
async fn becomes(at: SocketAddr, (host, path, headers): (&str, &str, &str), wanted: u16) {
    wait::until(wait::PATIENCE, &format!("{host}{path} is {wanted}"), async || {
        let status = status(at, host, path, headers).await?;
        wait::holds(status == wanted, || status.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_let_in_by_their_addresses() {
    let server = Server::http("web").await;
    let keys = [
        ("expose", "internal,edge"),
        ("route", "host=a.test"),
        ("route-2", "host=a.test path=/own respond=200:own"),
    ];
    let folder = Folder::of(&[("web", server.address, &keys)]);
    let edge = somewhere();
    let bridge = Bridge::start(&format!(
        "{}[exposures.internal]\ndeny_ips = [\"127.0.0.1\"]\n[exposures.edge]\nhosts = [\"a.test\"]\nallow_ips = \
         [\"10.0.0.0/8\", \"2001:db8::/32\"]\ndeny_ips = [\"10.9.0.0/16\"]\n[listeners.edge]\naddress = \"{edge}\"\n\
         exposure = \"edge\"\ntrusted_hops = 1\n",
        folder.section()
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    becomes(edge, ("a.test", "/", &from("10.1.1.1")), 200).await;
    for (address, wanted) in [
        ("2001:db8::7", 200),
        ("10.9.1.1", 403),
        ("11.1.1.1", 403),
        // Only the last one is of the hop that is believed.
        ("10.1.1.1, 11.1.1.1", 403),
    ] {
        for path in ["/", "/own"] {
            assert_eq!(
                status(edge, "a.test", path, &from(address)).await,
                Ok(wanted),
                "{address}"
            );
        }
    }
    assert_eq!(
        status(edge, "a.test", "/", "").await,
        Ok(403),
        "it comes from 127.0.0.1"
    );
    // Nobody is believed there: what callers say of themselves does not count.
    becomes(envoy.listener(), ("web", "/", ""), 403).await;
    assert_eq!(
        status(envoy.listener(), "web", "/", &from("10.1.1.1")).await,
        Ok(403)
    );
    assert_eq!(server.requests(), 2);
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_an_exposure_counts_whatever_a_route_says() {
    let server = Server::http("web").await;
    let keys = [
        ("expose", "internal,edge"),
        ("route", "host=a.test"),
        ("route-2", "host=a.test path=/own rate-limit=1000/s"),
        ("route-3", "host=a.test path=/few rate-limit=2/h"),
    ];
    let folder = Folder::of(&[("web", server.address, &keys)]);
    let edge = somewhere();
    let bridge = Bridge::start(&format!(
        "{}[exposures.edge]\nhosts = [\"a.test\"]\n[exposures.edge.rate_limit]\nrequests = 5\nper = \"1h\"\n\
         [listeners.edge]\naddress = \"{edge}\"\nexposure = \"edge\"\n",
        folder.section()
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    // The route comes with the first request that is not lost in front of it; what has no route counts, too.
    let at = envoy.listener();
    wait::until(wait::PATIENCE, "the route is there", async || {
        let status = status(at, "a.test", "/", "").await?;
        wait::holds(status == 200, || status.to_string())
    })
    .await;
    wait::until(wait::PATIENCE, "the other listener listens", async || {
        let ready = tokio::net::TcpStream::connect(edge).await;
        wait::holds(ready.is_ok(), || "it does not".to_owned())
    })
    .await;
    let mut statuses = Vec::new();
    for path in ["/", "/own", "/few", "/own", "/", "/own", "/", "/few"] {
        statuses.push(status(edge, "a.test", path, "").await.expect("an answer"));
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
    // Where the exposure has none, that of the route counts.
    let mut statuses = Vec::new();
    for path in ["/few", "/few", "/few", "/"] {
        statuses.push(status(at, "a.test", path, "").await.expect("an answer"));
    }
    assert_eq!(statuses, [200, 200, 429, 200]);
    bridge.assert_no_nacks().await;
}

/// At the edge by the connection, whatever a header says, and inside as well, where headers count otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_of_a_route_are_those_of_its_listener() {
    let server = Server::http("web").await;
    let keys = [
        ("expose", "internal,edge"),
        ("route", "host=a.test"),
        ("route-2", "host=a.test path=/own allow-ips=127.0.0.0/8,::1"),
        ("route-3", "host=a.test path=/other allow-ips=10.0.0.0/8"),
        ("route-4", "host=a.test path=/not deny-ips=127.0.0.1"),
        (
            "route-5",
            "host=a.test path=/but allow-ips=127.0.0.0/8 deny-ips=127.0.0.1",
        ),
        ("route-6", "host=a.test path=/free deny-ips=10.0.0.0/8"),
        (
            "route-7",
            "host=a.test path=/moved allow-ips=10.0.0.0/8 redirect=https:",
        ),
    ];
    let folder = Folder::of(&[("web", server.address, &keys)]);
    let edge = somewhere();
    let bridge = Bridge::start(&format!(
        "{}[exposures.edge]\nhosts = [\"a.test\"]\n[listeners.edge]\naddress = \"{edge}\"\nexposure = \"edge\"\n",
        folder.section()
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    for at in [envoy.listener(), edge] {
        wait::until(wait::PATIENCE, "the route is there", async || {
            let status = status(at, "a.test", "/", "").await?;
            wait::holds(status == 200, || status.to_string())
        })
        .await;
        for headers in [
            "",
            "X-Forwarded-For: 10.1.1.1\r\n",
            "X-Forwarded-For: 127.0.0.1\r\n",
        ] {
            for (path, wanted) in [
                ("/own", 200),
                ("/other", 403),
                ("/not", 403),
                ("/but", 403),
                ("/free", 200),
                ("/moved", 403),
            ] {
                // Inside the header counts as well, where it lets in fewer.
                let is_fewer = at != edge && headers.contains("10.1.1.1");
                let wanted = if is_fewer { 403 } else { wanted };
                let seen = status(at, "a.test", path, headers).await;
                assert_eq!(seen, Ok(wanted), "{path} at {at} with {headers:?}");
            }
        }
    }
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_are_compressed_where_somebody_says_so() {
    let server = Server::http("web").await;
    let text = format!("\"200:{}\"", "word ".repeat(100));
    let route = |words: &str| {
        format!("host=a.test {words} set-response-header=content-type:text/plain respond={text}")
    };
    let routes = [
        "path=/",
        "path=/all compress=gzip,brotli,zstd",
        "path=/zstd compress=zstd",
        "path=/no compress=none",
    ];
    let routes = routes.map(route);
    let keys = [
        ("expose", "internal,edge"),
        ("route", &*routes[0]),
        ("route-2", &*routes[1]),
        ("route-3", &*routes[2]),
        ("route-4", &*routes[3]),
    ];
    let folder = Folder::of(&[("web", server.address, &keys)]);
    let edge = somewhere();
    let bridge = Bridge::start(&format!(
        "{}[exposures.edge]\nhosts = [\"a.test\"]\ncompress = [\"gzip\"]\n[listeners.edge]\naddress = \"{edge}\"\nexposure \
         = \"edge\"\n",
        folder.section()
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    becomes(edge, ("a.test", "/", ""), 200).await;
    becomes(envoy.listener(), ("a.test", "/", ""), 200).await;
    let inside = envoy.listener();
    for (at, path, accepted, wanted) in [
        (inside, "/", "gzip, br, zstd", None),
        (inside, "/all", "gzip", Some("gzip")),
        (inside, "/all", "br", Some("br")),
        (inside, "/all", "zstd", Some("zstd")),
        (inside, "/all", "gzip, deflate, br, zstd", Some("br")),
        (inside, "/all", "identity", None),
        (inside, "/zstd", "gzip, br", None),
        (inside, "/zstd", "gzip, zstd", Some("zstd")),
        (edge, "/", "gzip, br", Some("gzip")),
        (edge, "/zstd", "gzip", None),
        (edge, "/zstd", "zstd", Some("zstd")),
        (edge, "/no", "gzip, br, zstd", None),
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: {accepted}\r\nConnection: close\r\n\r\n"
        );
        let encoding = encoding(at, &request).await;
        assert_eq!(encoding.as_deref(), wanted, "{path} for {accepted}");
    }
    bridge.assert_no_nacks().await;
}

/// The header `content-encoding` of what is answered.
async fn encoding(at: SocketAddr, request: &str) -> Option<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(at).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("writing");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut lines = answer.lines();
    lines.find_map(|line| line.strip_prefix("content-encoding: ").map(str::to_owned))
}

/// A listener in Envoy's own file, without filters, takes what routes say to filters and lets requests pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_of_envoys_own_file_lets_nobody_past_a_check() {
    let server = Server::http("web").await;
    let keys = [
        ("expose", "edge"),
        ("route", "host=a.test"),
        ("route-2", "host=a.test path=/few rate-limit=1/h"),
        ("route-3", "host=a.test path=/token jwt=nobody"),
    ];
    let folder = Folder::of(&[("web", server.address, &keys)]);
    let own = somewhere();
    let mut bridge = Bridge::start(&format!(
        "{}[exposures.edge]\nhosts = [\"a.test\"]\n",
        folder.section()
    ))
    .await;
    let envoy = crate::support::envoy::Envoy::start(own, async |admin| {
        // As somebody writes it who has never heard of the bridge's filters.
        let text = bridge.bootstrap(Step::Clusters, admin, &[]);
        let mut file: serde_json::Value = serde_yaml_ng::from_str(&text).expect("a bootstrap");
        let listener = &mut file["static_resources"]["listeners"][0];
        listener["address"]["socket_address"]["port_value"] = own.port().into();
        let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
        manager["rds"]["route_config_name"] = "edge".into();
        let filters = manager["http_filters"].as_array_mut().expect("filters");
        filters.retain(|filter| filter["name"] == "envoy.filters.http.router");
        file.to_string()
    })
    .await;
    becomes(own, ("a.test", "/", ""), 200).await;
    for path in ["/few", "/token"] {
        assert_eq!(status(own, "a.test", path, "").await, Ok(403), "{path}");
    }
    // The operator says that they are there: it is served as it is.
    let text = std::fs::read_to_string(bridge.file()).expect("bridge.toml");
    let text = text.replace("[exposures.edge]\n", "[exposures.edge]\nfile_filters = true\n");
    std::fs::write(bridge.file(), text).expect("writing bridge.toml");
    bridge.program().signal("HUP");
    becomes(own, ("a.test", "/few", ""), 200).await;
    assert_eq!(status(own, "a.test", "/token", "").await, Ok(403));
    drop(envoy);
    bridge.assert_no_nacks().await;
}
