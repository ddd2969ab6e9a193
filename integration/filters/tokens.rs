//! Tokens (JWT): what the exposure requires of all routes, what a route requires beside it, and keys that change.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};

use super::{becomes, somewhere, status};
use crate::support::bridge::{Bridge, Step};
use crate::support::folder::Folder;
use crate::support::servers::Server;
use crate::support::wait;

/// Who issues tokens.
struct Issuer {
    name: &'static str,
    key: KeyPair,
}

impl Issuer {
    fn new(name: &'static str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        Self { name, key }
    }

    /// The file with its public key.
    fn keys(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.key.der_bytes());
        format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","x":"{x}"}}]}}"#)
    }

    fn write(&self, to: &Path) {
        let draft = to.with_extension("draft");
        std::fs::write(&draft, self.keys()).expect("writing keys");
        std::fs::rename(draft, to).expect("the keys at once");
    }

    fn token(&self, audience: &str) -> String {
        let claims = format!(r#"{{"iss":"{}","aud":"{audience}","exp":4102444800}}"#, self.name);
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA"}"#),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = self.key.sign(signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// As a header of a request.
    fn bearer(&self, audience: &str) -> String {
        format!("Authorization: Bearer {}\r\n", self.token(audience))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_asks_for_more_tokens_and_never_for_fewer() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str| dir.path().join(format!("{name}.json"));
    let (corp, partner, stranger) = (Issuer::new("corp"), Issuer::new("partner"), Issuer::new("corp"));
    corp.write(&file("corp"));
    partner.write(&file("partner"));
    let server = Server::http("web").await;
    let keys = [
        ("expose", "internal,edge"),
        ("route", "host=a.test"),
        ("route-2", "host=a.test path=/partner jwt=partner expose=edge"),
        ("route-3", "host=a.test path=/unknown jwt=unknown"),
        ("route-4", "host=a.test path=/moved redirect=/new"),
    ];
    let folder = Folder::of(&[("web", server.address, &keys)]);
    let edge = somewhere();
    let issuer = |name: &str, more: &str| {
        format!(
            "[exposures.edge.jwt.{name}]\nissuer = \"{name}\"\naudiences = [\"shop\"]\nfile = \"{}\"\n{more}",
            file(name).display()
        )
    };
    let bridge = Bridge::start(&format!(
        "{}[exposures.edge]\nhosts = [\"a.test\"]\n{}{}[listeners.edge]\naddress = \"{edge}\"\nexposure = \"edge\"\n",
        folder.section(),
        issuer("corp", ""),
        issuer("partner", "require = false\nheader = \"x-partner\"\n"),
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    becomes(edge, ("a.test", "/", &corp.bearer("shop")), 200).await;
    let partner_says = |audience: &str| format!("X-Partner: {}\r\n", partner.token(audience));
    let both = corp.bearer("shop") + &partner_says("shop");
    let other = corp.bearer("shop") + &partner_says("other");
    for (path, headers, wanted) in [
        ("/", String::new(), 401),
        ("/", corp.bearer("other"), 403),
        ("/", stranger.bearer("shop"), 401),
        ("/", partner.bearer("shop"), 401),
        ("/moved", String::new(), 401),
        ("/moved", corp.bearer("shop"), 301),
        ("/partner", corp.bearer("shop"), 401),
        ("/partner", partner_says("shop"), 401),
        ("/partner", both, 200),
        ("/partner", other, 403),
        ("/unknown", corp.bearer("shop"), 403),
    ] {
        assert_eq!(
            status(edge, "a.test", path, &headers).await,
            Ok(wanted),
            "{path} {headers}"
        );
    }
    // The other exposure has no issuers: the route that needs one is closed, the others are not.
    becomes(envoy.listener(), ("a.test", "/", ""), 200).await;
    assert_eq!(status(envoy.listener(), "a.test", "/unknown", "").await, Ok(403));
    let said = bridge.text("/sources").await.expect("an answer");
    assert!(
        said.contains("`jwt=unknown` is no [exposures.edge.jwt.unknown]"),
        "{said}"
    );

    // A file that cannot be used leaves the keys in force; new ones take their place.
    std::fs::write(file("corp"), "{}").expect("writing");
    wait::until(wait::PATIENCE, "it is logged", async || {
        let log = bridge.log();
        wait::holds(log.contains("holds no key set"), || log)
    })
    .await;
    assert_eq!(status(edge, "a.test", "/", &corp.bearer("shop")).await, Ok(200));
    stranger.write(&file("corp"));
    becomes(edge, ("a.test", "/", &stranger.bearer("shop")), 200).await;
    becomes(edge, ("a.test", "/", &corp.bearer("shop")), 401).await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_nobody_passes() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("corp.json");
    let corp = Issuer::new("corp");
    let server = Server::http("web").await;
    let folder = Folder::of(&[(
        "web",
        server.address,
        &[("expose", "edge,far"), ("route", "host=a.test")],
    )]);
    let (edge, far) = (somewhere(), somewhere());
    let bridge = Bridge::start(&format!(
        "{}[exposures.edge]\nhosts = [\"a.test\"]\n[exposures.edge.jwt.corp]\nissuer = \"corp\"\naudiences = [\"shop\"]\nfile \
         = \"{}\"\n[exposures.far]\nhosts = [\"a.test\"]\n[exposures.far.jwt.corp]\nissuer = \"corp\"\naudiences = \
         [\"shop\"]\nurl = \"http://login/keys\"\nservice = \"login\"\n[listeners.edge]\naddress = \"{edge}\"\nexposure = \
         \"edge\"\n[listeners.far]\naddress = \"{far}\"\nexposure = \"far\"\n",
        folder.section(),
        file.display(),
    ))
    .await;
    let _envoy = bridge.envoy(Step::Listeners, &[]).await;
    becomes(edge, ("a.test", "/", &corp.bearer("shop")), 403).await;
    // Nobody is registered who could be asked for keys.
    becomes(far, ("a.test", "/", &corp.bearer("shop")), 401).await;
    assert_eq!(server.requests(), 0);
    corp.write(&file);
    becomes(edge, ("a.test", "/", &corp.bearer("shop")), 200).await;
    assert_eq!(status(edge, "a.test", "/", "").await, Ok(401));

    // Somebody is.
    let answer = corp.keys();
    let router = axum::Router::new().route("/keys", axum::routing::get(move || async move { answer }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let login = listener.local_addr().expect("an address");
    let task = tokio::spawn(async move { axum::serve(listener, router).await });
    folder.write(&[
        (
            "web",
            server.address,
            &[("expose", "edge,far"), ("route", "host=a.test")],
        ),
        ("login", login, &[]),
    ]);
    becomes(far, ("a.test", "/", &corp.bearer("shop")), 200).await;
    assert_eq!(status(far, "a.test", "/", "").await, Ok(401));
    task.abort();
    bridge.assert_no_nacks().await;
}
