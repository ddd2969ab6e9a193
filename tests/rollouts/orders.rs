//! What a person can order, and what is answered where it cannot be.

use xds_bridge::rollout::{Hold, Order, Outcome, Person, Settings, Why, order};

use super::world::{NEW, OLD, SECOND, World, errors, instances};

impl World {
    fn order(&mut self, what: &Order) -> Result<(), String> {
        self.order_for(what, "")
    }

    fn order_for(&mut self, what: &Order, why: &str) -> Result<(), String> {
        let ann = Person {
            who: "ann".to_owned(),
            why: why.to_owned(),
        };
        let decision = order(&self.record, &self.settings, &self.facts, what, &ann)?;
        self.record = decision.record;
        self.said.extend(decision.events);
        Ok(())
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
    world.order_for(&Order::Abort, "it smells").unwrap();
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
        world.order(&Order::Abort).unwrap_err(),
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
    world.order(&Order::Pause).unwrap();
    assert_eq!(world.phase(), "paused");
    assert_eq!(world.order(&Order::Pause).unwrap_err(), "new is paused already");
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
    world.order(&Order::Pause).unwrap();
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
    world.order(&Order::Abort).unwrap();
    // Rejected ones, those before, and those without a version, too; and nobody waits for the grace time.
    world.order(&start(Some("newest"))).unwrap();
    world.order(&Order::Promote { all: true }).unwrap();
    assert_eq!(world.record.stable.as_deref(), Some("newest"));
    world.order(&start(Some(OLD))).unwrap();
    world.order(&Order::Abort).unwrap();
    world.order(&start(Some(""))).unwrap();
    world.begin();
    assert_eq!(world.share(""), 1_000);
    let nothing = xds_bridge::rollout::Record::default();
    let unknown = order(
        &nothing,
        &world.settings,
        &world.facts,
        &start(None),
        &"ann".into(),
    )
    .unwrap_err();
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
    for what in [
        Order::Pause,
        Order::Abort,
        Order::Resume,
        Order::Promote { all: false },
    ] {
        assert_eq!(
            world.order(&what).unwrap_err(),
            "no rollout is under way; `rollout start` starts one"
        );
    }
    world.pass(SECOND, errors(0.0), errors(0.0));
    assert_eq!(world.phase(), "idle");
}

/// What each order of the last rollout that has ended, or of the one under way, was.
fn orders(world: &World) -> Vec<String> {
    let record = &world.record;
    let past = record.history.last().map(|past| &past.orders);
    let running = record.rollout.as_deref().filter(|rollout| rollout.is_running());
    shown(running.map(|rollout| &rollout.orders).or(past).unwrap())
}

fn shown(orders: &[xds_bridge::rollout::Ordered]) -> Vec<String> {
    let one = |order: &xds_bridge::rollout::Ordered| format!("{} {}: {}", order.by, order.what, order.why);
    orders.iter().map(one).collect()
}

#[test]
fn who_ordered_what_and_why_is_remembered_with_the_rollout() {
    let mut world = World::new(1, Settings::default()).deploy();
    world.order_for(&Order::Pause, "lunch").unwrap();
    world.order_for(&Order::Resume, "back").unwrap();
    assert_eq!(orders(&world), ["ann pauses: lunch", "ann resumes: back"]);
    world.order_for(&Order::Abort, "INC-7\u{1b}[2J\nx").unwrap();
    world.order_for(&retry(None), "INC-7 is over").unwrap();
    let past = world.record.history.last().unwrap();
    assert_eq!(
        shown(&past.orders),
        [
            "ann pauses: lunch",
            "ann resumes: back",
            "ann takes back: INC-7\u{fffd}[2J x",
            "ann retries: INC-7 is over"
        ]
    );
    let said = world.said.iter().map(|event| &*event.text);
    assert!(
        said.clone().any(|text| text == "ann retries new: INC-7 is over"),
        "{}",
        world.transcript()
    );
    // The next one has its own; a restart forgets none.
    world.order_for(&start(Some(NEW)), "again").unwrap_err();
    world.begin();
    world.order_for(&Order::Promote { all: true }, "urgent").unwrap();
    assert_eq!(orders(&world), ["ann gives all requests to: urgent"]);
    let text = serde_json::to_string(&world.record).unwrap();
    let read: xds_bridge::rollout::Record = serde_json::from_str(&text).unwrap();
    assert_eq!(read, world.record);
    for _ in 0..50 {
        let _ = world.order_for(&start(Some(OLD)), &"why ".repeat(400));
        let _ = world.order_for(&Order::Pause, &"why ".repeat(400));
        let _ = world.order_for(&Order::Resume, &"why ".repeat(400));
    }
    assert!(orders(&world).len() <= 6);
}

/// `start --dry-run`, as the driver does it.
fn dry(world: &World) -> Settings {
    let is_dry = world
        .record
        .rollout
        .as_deref()
        .is_some_and(|rollout| rollout.dry_run);
    Settings {
        dry_run: is_dry,
        one_dry_run: is_dry,
        ..Settings::default()
    }
}

impl World {
    /// Time passes; settings are those of the driver.
    fn dry_pass(&mut self, seconds: u64, new: f64) {
        for _ in 0..seconds {
            self.settings = dry(self);
            // Who asks for the new version by header.
            self.count(NEW, xds_bridge::rollout::Stratum::Envoy, 20, errors(new));
            self.pass(SECOND, errors(0.001), errors(new));
        }
    }

    /// The new version was taken back, and is started as a dry run.
    fn judged() -> Self {
        let mut world = Self::new(1, Settings::default()).deploy();
        world.order(&Order::Abort).unwrap();
        world.pass(40 * SECOND, errors(0.0), errors(0.0));
        assert_eq!(world.phase(), "idle");
        world.settings.dry_run = true;
        world.settings.one_dry_run = true;
        world.order(&start(Some(NEW))).unwrap();
        world
    }
}

#[test]
fn a_dry_run_of_a_service_whose_rollouts_are_automatic_moves_no_share() {
    let mut world = World::judged();
    assert_eq!((world.share(OLD), world.share(NEW)), (10_000, 0));
    assert!(
        world.shares().weights.contains_key(NEW) && world.record.plain.is_empty(),
        "it gets who asks for it by header"
    );
    // Who comes meanwhile gets nothing, and it is said why.
    let now = world.facts.now;
    world.facts.versions.insert("third".into(), instances(5, now));
    world.dry_pass(3, 0.0);
    assert_eq!(
        (world.share(OLD), world.shares().weights.get("third")),
        (10_000, None)
    );
    assert!(
        world.record.waiting[0].why.contains("the dry run of new"),
        "{:?}",
        world.record.waiting
    );
    assert!(
        world
            .order(&start(Some("third")))
            .unwrap_err()
            .contains("new is judged at present (dry run); abort that first")
    );
    world.facts.versions.remove("third");
    // Good through all steps on paper, and each share stays.
    let mut good = world.clone();
    good.dry_pass(400, 0.0);
    let steps = good
        .said
        .iter()
        .filter(|event| event.dry_run && event.text.contains("would get"));
    assert_eq!(steps.count(), 4, "{}", good.transcript());
    let past = good.record.history.last().unwrap();
    assert!(past.dry_run && past.outcome == Outcome::Promoted, "{past:?}");
    assert_eq!(
        (good.share(OLD), good.record.stable.as_deref()),
        (10_000, Some(OLD))
    );
    // It was rejected before, and still is: nothing starts in earnest by a dry run.
    good.dry_pass(100, 0.0);
    assert_eq!((good.phase(), good.share(NEW)), ("idle", 0));
    assert!(good.record.is_rejected(NEW, false));
    good.order(&retry(Some(NEW))).unwrap();
    good.begin();
    assert_eq!((good.phase(), good.share(NEW)), ("running", 1_000));
    // Bad: it would be taken back.
    world.dry_pass(60, 0.5);
    let past = world.record.history.last().unwrap();
    assert!(
        past.dry_run && past.text.contains("is worse"),
        "{}",
        world.transcript()
    );
    assert_eq!(world.share(OLD), 10_000);
}

#[test]
fn what_waits_for_a_dry_run_starts_in_earnest_after_it() {
    let mut world = World::judged();
    let now = world.facts.now;
    world.facts.versions.insert("third".into(), instances(5, now));
    world.dry_pass(1, 0.0);
    world.order(&Order::Abort).unwrap();
    world.dry_pass(29, 0.0);
    assert_eq!(world.phase(), "taken back");
    assert!(
        world.record.waiting[0].why.contains("grace time"),
        "{:?}",
        world.record.waiting
    );
    world.dry_pass(4, 0.0);
    let rollout = world.record.rollout.as_deref().unwrap();
    assert_eq!(
        (&*rollout.candidate, rollout.dry_run),
        ("third", false),
        "{}",
        world.transcript()
    );
    let judged = world
        .said
        .iter()
        .filter(|event| &*event.version == "third" && event.dry_run);
    assert!(
        judged.clone().all(|event| event.text.contains("waits")),
        "{}",
        world.transcript()
    );
    assert_eq!(world.share(NEW), 0);
}

#[test]
fn a_dry_run_ends_when_the_stable_version_has_gone() {
    let mut world = World::judged();
    world.facts.versions.remove(OLD);
    world.dry_pass(40, 0.0);
    assert_eq!(
        (world.record.stable.as_deref(), world.share(NEW)),
        (Some(NEW), 10_000)
    );
}
