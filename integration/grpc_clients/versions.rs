//! Versions of a service share the calls of clients without a proxy.

use super::{call, call_by, servers};
use crate::support::bridge::Bridge;
use crate::support::grpc::Language;
use crate::support::versions::Versions;

/// Calls from which shares are read.
const MANY: usize = 600;

/// A share of 25 %, then another version alone, then one that leaves.
pub(super) async fn shares(language: Language) {
    let [old, new, newer] = &servers(["old", "new", "newer"]).await;
    let keys = [("protocol", "grpc"), ("rollout", "auto")];
    let versions = Versions::of(&keys, &[(old, "1", &[]), (new, "2", &[("share", "25%")])]);
    let bridge = Bridge::start(&versions.section()).await;
    let client = call(language, &bridge);
    client.reaches(&["old", "new"]).await;
    let asked = call_by(&["CALL_VERSION=2".to_owned()], language, &bridge);
    asked.reaches(&["new"]).await;
    let from = client.calls().answers.len();
    client.goes_on(MANY).await;
    let answers = client.calls().answers;
    let share = answers[from..].iter().filter(|answer| *answer == "new").count();
    let percent = 100 * share / (answers.len() - from);
    assert!((16..=34).contains(&percent), "{percent} % of 25");

    versions.write(&[(old, "1", &[]), (new, "2", &[("share", "0%")])]);
    client.reaches(&["old"]).await;
    // Who asks for it gets it nevertheless.
    asked.goes_on(24).await;
    asked.reaches(&["new"]).await;
    versions.write(&[(old, "1", &[]), (new, "2", &[("share", "100%")])]);
    client.reaches(&["new"]).await;
    versions.write(&[(new, "2", &[]), (newer, "3", &[("share", "50%")])]);
    client.reaches(&["new", "newer"]).await;
    versions.write(&[(newer, "3", &[])]);
    client.reaches(&["newer"]).await;
    client.assert_clean();
    asked.assert_clean();
    bridge.assert_no_nacks().await;
}
