//! The Consul source and an agent that is down for half a minute, with ten thousand services watched: few
//! tries while it is down, and no herd when it is back. A second stands for ten.

use std::collections::BTreeMap;
use std::time::Duration;

use xds_bridge::source::consul::Timing;

use crate::consul_fake::{Welcome, timing};
use crate::multiplexed::{Site, assert_lossless};

const SERVICES: usize = 10_000;
/// Reads at once, beside those that block.
const AT_ONCE: usize = 32;
/// Pauses double to 2.5 to 5 s: at most sixteen tries, each of at most four connections.
const TRIES: std::ops::RangeInclusive<usize> = 3..=64;

#[tokio::test]
async fn ten_thousand_watches_and_an_agent_that_is_down_for_thirty_seconds() {
    let site = Site::of(SERVICES).await;
    let usual = Timing::default();
    let mut hub = site
        .watched(&Timing {
            backoff_min: usual.backoff_min / 10,
            backoff_max: usual.backoff_max / 10,
            audit_pace: timing().audit_pace,
            ..usual
        })
        .await;
    hub.forget();
    let (fake, door) = (&site.fake, &site.fake.door);
    fake.forget();
    door.welcome(Welcome::Close);
    door.hang_up();
    tokio::time::sleep(Duration::from_secs(3)).await; // it is to last
    let tries = door.refused();
    assert!(
        TRIES.contains(&tries),
        "{tries} connections in what stands for 30 s"
    );
    assert_eq!(fake.count(|_| true), 0);
    hub.until_away("").await;

    fake.slow();
    door.welcome(Welcome::Serve);
    hub.until_live().await;
    site.until_blocked(&mut hub).await;
    let mut reads: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for ask in fake.asked(|ask| ask.path.starts_with("/v1/health/service/s")) {
        let (confirmed, blocked) = reads.entry(ask.path).or_default();
        *if ask.consistent { confirmed } else { blocked } += 1;
    }
    assert_eq!(reads.len(), SERVICES);
    let others: Vec<_> = reads.iter().filter(|(_, counts)| **counts != (1, 1)).collect();
    assert!(
        others.is_empty(),
        "not confirmed once and watched once: {others:?}"
    );
    assert!(fake.most_reads() <= AT_ONCE, "{} at once", fake.most_reads());
    assert_eq!(hub.named(), []);
    site.changes(&mut hub, 3).await;
    assert_lossless(&hub);
}
