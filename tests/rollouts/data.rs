//! Stored data that some versions cannot read.

use xds_bridge::rollout::{Happened, Hold, Instances, Order, Outcome, Settings, Signal, Why, order};

use super::world::{NEW, OLD, SECOND, World, errors, instances};

fn declares(healthy: u32, first_seen: u64, data: u32, reads: (u32, u32)) -> Instances {
    Instances {
        data: Some(data),
        reads: Some(reads.0..=reads.1),
        ..instances(healthy, first_seen)
    }
}

/// What the old one and the new one declare.
fn world(settings: Settings, old: (u32, (u32, u32)), new: (u32, (u32, u32))) -> World {
    let mut world = World::new(1, settings);
    world
        .facts
        .versions
        .insert(OLD.into(), declares(10, 1, old.0, old.1));
    world
        .facts
        .versions
        .insert(NEW.into(), declares(2, 9, new.0, new.1));
    world.facts.data = Some(11);
    world.begin();
    world
}

fn fail(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.pass(SECOND, errors(0.001), errors(0.5));
    }
}

#[test]
fn who_cannot_read_what_is_stored_waits_until_it_can() {
    let mut world = world(Settings::default(), (11, (11, 12)), (12, (12, 12)));
    assert_eq!((world.phase(), world.shares().weights.get(NEW)), ("idle", None));
    assert_eq!(
        world.record.waiting[0].why,
        "it reads data 12 only, and 11 is stored"
    );
    world.facts.data = Some(12);
    world.begin();
    assert_eq!((world.phase(), world.share(NEW)), ("running", 1_000));
    // What is stored goes back.
    world.facts.data = Some(11);
    world.decide();
    assert_eq!((world.phase(), world.share(OLD)), ("taken back", 10_000));
    assert_eq!(
        world.record.history[0].outcome,
        Outcome::TakenBack {
            why: Why::Data { stored: 11 }
        }
    );
    assert!(world.record.rejected.is_empty());
}

#[test]
fn before_the_first_step_it_is_said_whether_there_is_a_way_back() {
    let one_way = world(Settings::default(), (11, (11, 11)), (12, (11, 12)));
    let text: Vec<&str> = one_way.said.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(
        text[1..],
        [
            "new is rolled out beside old; there is no way back once it has written: it writes data 12, and the stable \
             version reads 11 only",
            "new: there is no way back once it has written: it writes data 12, and the stable version reads 11 only. If \
             it turns out bad afterwards, a version that is right has to be deployed",
            "new gets 10 % of the requests"
        ]
    );
    assert_eq!(one_way.said[2].what, Happened::Warning);
    let both_ways = world(Settings::default(), (11, (11, 12)), (12, (11, 12)));
    assert!(
        both_ways.said[1]
            .text
            .ends_with("the way back exists: the stable version reads data 12, which it writes")
    );
    let refused = world(
        Settings {
            refuse_one_way: true,
            ..Settings::default()
        },
        (11, (11, 11)),
        (12, (11, 12)),
    );
    assert_eq!(refused.phase(), "idle");
    assert!(
        refused.record.waiting[0]
            .why
            .ends_with("this service refuses that: deploy a stable version first that reads it")
    );
}

#[test]
fn nothing_goes_back_to_who_cannot_read_what_is_stored() {
    let mut world = world(Settings::default(), (11, (11, 11)), (12, (11, 12)));
    world.pass(SECOND, errors(0.001), errors(0.0));
    world.facts.data = Some(12);
    fail(&mut world, 30);
    let rollout = world.record.rollout.as_deref().unwrap();
    let why = Why::Worse {
        signal: Signal::Errors,
    };
    assert_eq!(
        (rollout.hold.clone(), world.share(NEW)),
        (Some(Hold::RollForward { why }), 1_000)
    );
    assert!(
        world
            .said
            .last()
            .unwrap()
            .text
            .contains("Roll forward: deploy a version that is right")
    );
    let refused = order(
        &world.record,
        &world.settings,
        &world.facts,
        &Order::Abort,
        &"ann".into(),
    )
    .unwrap_err();
    assert_eq!(
        refused,
        "there is no way back: 12 is stored, and old reads data 11 only. Roll forward: deploy a version that is right"
    );
    // One that is right takes its place, with its share.
    world
        .facts
        .versions
        .insert("fix".into(), declares(2, 99, 12, (11, 12)));
    world.decide();
    assert_eq!(
        (
            world.share("fix"),
            world.shares().weights.get(NEW),
            world.share(OLD)
        ),
        (1_000, None, 9_000)
    );
    assert_eq!(world.record.rejected[0].why, Why::Replaced { by: "fix".into() });
    assert_eq!(&*world.record.rollout.as_deref().unwrap().candidate, "fix");
}

#[test]
fn where_the_stable_version_has_gone_a_bad_one_stays_until_the_next_has_proved_itself() {
    let mut world = World::new(1, Settings::default()).deploy();
    world.serve(20 * SECOND, errors(0.001), errors(0.5));
    world.facts.versions.remove(OLD);
    world.decide();
    assert_eq!((world.phase(), world.share(NEW)), ("held", 10_000));
    fail(&mut world, 100);
    let fix = instances(2, 99_000_000);
    world.facts.versions.insert("fix".into(), fix);
    world.begin();
    let held = world
        .record
        .rollout
        .as_deref()
        .map(|rollout| rollout.candidate.to_string());
    assert_eq!(
        (world.record.stable.as_deref(), held.as_deref()),
        (Some(NEW), Some("fix"))
    );
    assert_eq!(
        (world.share(NEW), world.share("fix")),
        (9_000, 1_000),
        "{}",
        world.transcript()
    );
}

#[test]
fn a_candidate_that_can_read_goes_on_where_the_stable_version_cannot() {
    let mut world = world(Settings::default(), (11, (11, 11)), (12, (11, 12)));
    world.facts.data = Some(12);
    for _ in 0..400 {
        world.pass(SECOND, errors(0.001), errors(0.001));
    }
    assert_eq!(world.record.stable.as_deref(), Some(NEW));
}

#[test]
fn a_candidate_that_goes_leaves_everything_to_who_is_there() {
    let mut world = world(Settings::default(), (11, (11, 11)), (12, (11, 12)));
    world.facts.data = Some(12);
    world.pass(SECOND, errors(0.001), errors(0.001));
    world.facts.versions.remove(NEW);
    world.decide();
    assert_eq!((world.phase(), world.share(OLD)), ("taken back", 10_000));
    assert!(
        world
            .said
            .last()
            .unwrap()
            .text
            .contains("cannot read the stored data: roll forward")
    );
}
