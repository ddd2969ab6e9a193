//! A good rollout and a bad one, as a person reads them.

use expect_test::expect;
use xds_bridge::rollout::{Settings, Stratum};

use super::world::{NEW, OLD, SECOND, World, errors};

/// Each second 200 requests, one of a thousand fails; of the candidate's this part of a hundred.
fn run(bad_of_ten: u64, seconds: u64) -> World {
    let mut world = World::new(1, Settings::default()).deploy();
    world.rate = 0.0;
    for second in 0..seconds {
        let new = 200 * u64::from(world.share(NEW)) / 10_000;
        let (bad, old) = (new * bad_of_ten / 10, 200 - new);
        let old_bad = u64::from(second % 5 == 0 && old > 0);
        world.add(NEW, Stratum::Envoy, new - bad, bad, 0);
        world.add(OLD, Stratum::Envoy, old - old_bad, old_bad, 0);
        world.pass(SECOND, errors(0.0), errors(0.0));
    }
    world
}

#[test]
fn a_good_one() {
    expect![[r#"
        0.0 Info: old is the stable version: it serves now
        0.0 Info: new is rolled out beside old; the way back exists, as far as is declared
        1.5 Info: new gets 10 % of the requests
        61.5 Info: new gets 25 % of the requests
        121.5 Info: new gets 50 % of the requests
        181.5 Info: new gets 100 % of the requests
        241.5 Info: new is the stable version, instead of old; new beside old, by errors: 0 of 22200 (0.00 %) against 36 of 25800 (0.14 %) before, E = 0.33 (bad from 100), with 100 % of the requests, at 200.0 requests per second on 2 instances
    "#]].assert_eq(&run(0, 300).transcript());
}

#[test]
fn a_bad_one() {
    expect![[r#"
        0.0 Info: old is the stable version: it serves now
        0.0 Info: new is rolled out beside old; the way back exists, as far as is declared
        1.5 Info: new gets 10 % of the requests
        3.5 Alert: new is worse than old by errors: 4 of 40 (10.00 %) against 1 of 360 (0.28 %), E = 172 (bad from 100), with 10 % of the requests, at 20.0 requests per second on 2 instances: it is taken back, and old has all requests
    "#]].assert_eq(&run(1, 60).transcript());
}

#[test]
fn a_broken_one() {
    expect![[r#"
        0.0 Info: old is the stable version: it serves now
        0.0 Info: new is rolled out beside old; the way back exists, as far as is declared
        1.5 Info: new gets 10 % of the requests
        2.5 Alert: new is worse than old by errors: 20 of 20 (100.00 %) against 1 of 180 (0.56 %), E = more than 1e9 (bad from 100), with 10 % of the requests, at 20.0 requests per second on 2 instances: it is taken back, and old has all requests
    "#]].assert_eq(&run(10, 40).transcript());
}
