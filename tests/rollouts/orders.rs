//! What a person can order, and what is answered where it cannot be.

use xds_bridge::rollout::{Hold, Order, Outcome, Settings, Why, order};

use super::world::{NEW, OLD, SECOND, World, errors, instances};

impl World {
    fn order(&mut self, what: &Order) -> Result<(), String> {
        let decision = order(&self.record, &self.settings, &self.facts, what, "ann")?;
        self.record = decision.record;
        self.said.extend(decision.events);
        Ok(())
    }
}

fn pause() -> Order {
    Order::Pause {
        why: "lunch".to_owned(),
    }
}

fn abort() -> Order {
    Order::Abort {
        why: "it smells".to_owned(),
    }
}

fn start(version: Option<&str>) -> Order {
    Order::Start {
        version: version.map(Into::into),
    }
}

fn retry(version: Option<&str>) -> Order {
    Order::Retry {
        version: version.map(Into::into),
    }
}

#[test]
fn abort_rejects_and_retry_forgets_it() {
    let mut world = World::new(1, Settings::default()).deploy();
    world.order(&abort()).unwrap();
    assert_eq!((world.phase(), world.share(OLD)), ("taken back", 10_000));
    let why = Why::Order {
        by: "ann".to_owned(),
        reason: "it smells".to_owned(),
    };
    assert_eq!(world.record.rejected[0].why, why);
    let last = world.said.last().unwrap().text.clone();
    assert_eq!(
        last,
        "new was taken back by ann: it smells, with 10 % of the requests: it is taken back, and old has all requests"
    );
    assert_eq!(
        world.order(&abort()).unwrap_err(),
        "no rollout is under way; `rollout start` starts one"
    );
    assert_eq!(
        world.order(&retry(Some("other"))).unwrap_err(),
        "other was not rejected; `rollout show` lists those that were"
    );
    world.order(&retry(None)).unwrap();
    world.begin();
    assert_eq!((world.phase(), world.share(NEW)), ("running", 1_000));
    assert_eq!(world.order(&retry(None)).unwrap_err(), "no version was rejected");
}

#[test]
fn pause_and_resume() {
    let mut world = World::new(1, Settings::default()).deploy();
    assert_eq!(world.order(&Order::Resume).unwrap_err(), "new is not paused");
    world.order(&pause()).unwrap();
    assert_eq!(world.phase(), "paused");
    assert_eq!(world.order(&pause()).unwrap_err(), "new is paused already");
    world.order(&Order::Resume).unwrap();
    assert_eq!(world.phase(), "running");
    // A deadline counts again from then on.
    world.settings.deadline = 100 * SECOND;
    world.facts.now += 200_000;
    world.facts.clients.last_report = Some(world.facts.now);
    world.decide();
    assert_eq!(
        world.record.rollout.as_deref().unwrap().hold,
        Some(Hold::Deadline)
    );
    world.order(&Order::Resume).unwrap();
    assert_ne!(
        world.record.rollout.as_deref().unwrap().hold,
        Some(Hold::Deadline)
    );
}

#[test]
fn promote_is_the_next_step_or_everything() {
    let mut world = World::new(1, Settings::default()).deploy();
    world.order(&pause()).unwrap();
    world.order(&Order::Promote { all: false }).unwrap();
    assert_eq!((world.phase(), world.share(NEW)), ("running", 2_500));
    let mut all = world.clone();
    all.order(&Order::Promote { all: true }).unwrap();
    assert_eq!(
        (all.record.stable.as_deref(), all.phase()),
        (Some(NEW), "promoted")
    );
    for _ in 0..2 {
        world.order(&Order::Promote { all: false }).unwrap();
    }
    assert_eq!(world.share(NEW), 10_000);
    world.order(&Order::Promote { all: false }).unwrap();
    assert_eq!(
        (world.record.stable.as_deref(), &world.record.history[0].outcome),
        (Some(NEW), &Outcome::Promoted)
    );
    assert!(world.order(&Order::Promote { all: true }).is_err());
    let mut dry = World::new(
        1,
        Settings {
            dry_run: true,
            ..Settings::default()
        },
    )
    .deploy();
    assert!(
        dry.order(&Order::Promote { all: true })
            .unwrap_err()
            .contains("only judged")
    );
}

#[test]
fn start_is_for_what_does_not_start_by_itself() {
    let mut world = World::new(
        1,
        Settings {
            auto: false,
            ..Settings::default()
        },
    )
    .deploy();
    assert_eq!(
        world.order(&start(Some(OLD))).unwrap_err(),
        "old is the stable version already"
    );
    assert_eq!(
        world.order(&start(Some("gone"))).unwrap_err(),
        "gone has no healthy instance; start one first"
    );
    world
        .facts
        .versions
        .insert("newest".into(), instances(1, 99_000_000));
    world.facts.versions.insert("".into(), instances(1, 999_000_000));
    world.order(&start(None)).unwrap();
    assert_eq!(&*world.record.rollout.as_deref().unwrap().candidate, "newest");
    assert_eq!(world.record.rollout.as_deref().unwrap().by, "ann");
    assert_eq!(
        world.order(&start(Some("newest"))).unwrap_err(),
        "newest is rolled out already"
    );
    assert_eq!(
        world.order(&start(Some(NEW))).unwrap_err(),
        "newest is rolled out at present; abort or promote it first"
    );
    world.order(&abort()).unwrap();
    // Rejected ones, those before, and those without a version, too; and nobody waits for the grace time.
    world.order(&start(Some("newest"))).unwrap();
    world.order(&Order::Promote { all: true }).unwrap();
    assert_eq!(world.record.stable.as_deref(), Some("newest"));
    world.order(&start(Some(OLD))).unwrap();
    world.order(&abort()).unwrap();
    world.order(&start(Some(""))).unwrap();
    world.begin();
    assert_eq!(world.share(""), 1_000);
    let nothing = xds_bridge::rollout::Record::default();
    let unknown = order(&nothing, &world.settings, &world.facts, &start(None), "ann").unwrap_err();
    assert!(
        unknown.starts_with("no version of the service is known yet"),
        "{unknown}"
    );
}

#[test]
fn what_keeps_a_version_from_starting_is_said() {
    let mut world = World::new(1, Settings::default());
    world.facts.data = Some(11);
    let new = xds_bridge::rollout::Instances {
        healthy: 1,
        total: 1,
        first_seen: world.facts.now,
        data: Some(12),
        ..Default::default()
    };
    world.facts.versions.insert(NEW.into(), new);
    world.decide();
    let why = world.order(&start(None)).unwrap_err();
    assert!(
        why.starts_with("no version can start: ") && why.contains("it reads data 12 only, and 11 is stored"),
        "{why}"
    );
}

#[test]
fn nothing_waits_is_said() {
    let mut world = World::new(1, Settings::default());
    assert!(
        world
            .order(&start(None))
            .unwrap_err()
            .starts_with("no version waits; name one")
    );
    for what in [pause(), abort(), Order::Resume, Order::Promote { all: false }] {
        assert_eq!(
            world.order(&what).unwrap_err(),
            "no rollout is under way; `rollout start` starts one"
        );
    }
    world.pass(SECOND, errors(0.0), errors(0.0));
    assert_eq!(world.phase(), "idle");
}
