//! `reload`: what changes is in force at once, said in words, and no request is lost; a file with a mistake changes nothing.

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::folder::Folder;
use crate::support::load::Load;
use crate::support::servers::Server;
use crate::support::{process, raw, wait};

/// Reloads under load.
const RELOADS: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_say_what_changed_and_lose_no_request() {
    let (web, more) = (Server::http("web-1").await, Server::http("more-1").await);
    let keys: &[_] = &[("expose", "internal,edge"), ("route", "host=api.x path=/")];
    let folder = Folder::of(&[("web", web.address, keys)]);
    let other = Folder::of(&[("more", more.address, &[][..])]);
    let bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let text = std::fs::read_to_string(bridge.file()).expect("bridge.toml");
    let write = |more: &str| std::fs::write(bridge.file(), format!("{text}{more}")).expect("bridge.toml");
    envoy.client().reaches(&Call::http("web"), &["web-1"]).await;
    let unchanged = bridge.command("reload").await;
    assert_eq!(
        unchanged.stdout,
        "the file says what is in force: nothing changes\n"
    );

    let [port] = process::ports();
    let second = other.section().replace("[sources.folder]", "[sources.second]");
    let with = |n: usize| {
        format!(
            "{second}[exposures.edge]\nhosts = [\"api.x\", \"h{n}.x\"]\n[listeners.edge]\naddress = \"127.0.0.1:{port}\"\n\
             exposure = \"edge\"\n[clusters]\nretries = {}\n[external.maps]\naddresses = [\"127.0.0.1:{}\"]\n",
            n % 5,
            9_000 + n
        )
    };
    let load = Load::start(envoy.listener(), &[Call::http("web")], 100, 4);
    for n in 0..RELOADS {
        // What can change changes: sources, exposures, listeners, clusters and externals; every third time all of it goes.
        write(&if n % 3 == 2 { String::new() } else { with(n) });
        let output = bridge.command("reload").await;
        assert!(output.status.success(), "{}", output.stderr);
        let wanted = match n % 3 {
            0 => [
                "in force: sources.second: added",
                "in force: listeners.edge: added",
            ],
            1 => ["in force: exposures.edge: changed", "in force: clusters: changed"],
            _ => [
                "in force: sources.second: removed",
                "in force: external.maps: removed",
            ],
        };
        assert!(
            wanted.iter().all(|line| output.stdout.contains(line)),
            "{n}: {}",
            output.stdout
        );
    }
    write(&with(0));
    assert!(bridge.command("reload").await.status.success());
    let edge = format!("127.0.0.1:{port}").parse().expect("an address");
    wait::until(wait::PATIENCE, "the new listener serves", async || {
        let (status, text) = raw::get(edge, "api.x", "/").await?;
        wait::holds(status == 200, || format!("{status} {text}"))
    })
    .await;
    envoy.client().reaches(&Call::http("more"), &["more-1"]).await;
    load.goes_on(50).await;
    load.finish().await.assert_clean(100);

    // What takes a restart says so, and what does not is in force.
    write(&format!("{}[log]\nfilter = \"debug\"\n", with(1)));
    let output = bridge.command("reload").await.stdout;
    assert!(
        output.contains("! [log] differs: that takes effect with a restart"),
        "{output}"
    );
    assert!(output.contains("in force: exposures.edge: changed"), "{output}");

    // A mistake: each is said, by the command and by the port, and nothing changes.
    let before = bridge.generation().await;
    write("[exposures.edge]\nhosts = [1]\nnonsense = true\n");
    let output = bridge.command("reload").await;
    assert!(
        !output.status.success() && output.stderr.contains("nonsense"),
        "{}",
        output.stderr
    );
    let head = format!(
        "POST /reload HTTP/1.1\r\nHost: {}\r\nx-xds-bridge: 1\r\nConnection: close\r\n\r\n",
        bridge.admin
    );
    let (status, answer) = raw::whole(bridge.admin, &head).await.expect("an answer");
    assert!(
        status == 422 && answer.contains("nonsense") && answer.contains("stays"),
        "{status} {answer}"
    );
    assert_eq!(bridge.generation().await, before);
    bridge.assert_no_nacks().await;
}
