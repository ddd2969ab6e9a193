//! Tests of what is probed when, and of what the answers mean.

use proptest::prelude::*;

use super::*;
use crate::model::{Facts, Health};

fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn probing(ports: std::ops::Range<u16>) -> Probing {
    let mut probing = Probing::new(true);
    let standings = probing.follow(&"a".into(), ports.map(at), true, Duration::ZERO);
    assert!(standings.values().all(|s| *s == Standing::Pending));
    probing
}

/// Each answer at the time when it is due, not before this, and what it means.
fn meanings(after: Duration, answers: &[Answer]) -> Vec<Option<Meaning>> {
    let mut probing = probing(1..2);
    let mut seen = Vec::new();
    for answer in answers {
        let now = probing.due().expect("to be probed").max(after);
        assert_eq!(probing.questions(now), [at(1)]);
        assert_eq!(probing.due(), None, "one question at a time");
        seen.push(probing.answered(at(1), *answer, now).map(|(meaning, _)| meaning));
    }
    seen
}

#[test]
fn what_answers_mean() {
    use Answer::{Accepted, Refused, Silent};
    use Standing::{Alive, Doubtful, Unknown};
    let stands = |standing| Some(Meaning::Stands(standing));
    for (answers, expected) in [
        (
            &[Refused, Refused][..],
            vec![stands(Doubtful), Some(Meaning::Gone)],
        ),
        (&[Accepted, Accepted], vec![stands(Alive), None]),
        (
            &[Refused, Accepted, Refused, Refused],
            vec![
                stands(Doubtful),
                stands(Alive),
                stands(Doubtful),
                Some(Meaning::Gone),
            ],
        ),
        (
            &[Refused, Silent, Refused, Refused],
            vec![
                stands(Doubtful),
                stands(Unknown),
                stands(Doubtful),
                Some(Meaning::Gone),
            ],
        ),
        (
            &[Silent, Silent, Accepted],
            vec![stands(Unknown), None, stands(Alive)],
        ),
        (
            &[Accepted, Silent, Accepted, Silent, Silent],
            vec![stands(Alive), None, None, None, stands(Unknown)],
        ),
    ] {
        assert_eq!(meanings(RECENT, answers), expected, "{answers:?}");
    }
}

#[test]
fn an_instance_that_accepts_is_alive_after_a_moment() {
    let answers = [Answer::Accepted; 20];
    let seen: Vec<Standing> = meanings(Duration::ZERO, &answers)
        .into_iter()
        .filter_map(|meaning| match meaning {
            Some(Meaning::Stands(standing)) => Some(standing),
            _ => None,
        })
        .collect();
    assert_eq!(seen, [Standing::Recent, Standing::Alive]);
    // Not where the whole service is gone: that is no scale-in.
    let mut probing = Probing::new(true);
    probing.follow(&"a".into(), [at(1)], false, Duration::ZERO);
    probing.questions(Duration::ZERO);
    let (meaning, _) = probing
        .answered(at(1), Answer::Accepted, Duration::ZERO)
        .expect("it is news");
    assert_eq!(meaning, Meaning::Stands(Standing::Alive));
}

#[test]
fn an_address_of_two_services_is_probed_once() {
    let mut probing = probing(1..2);
    let known = probing.follow(&"b".into(), [at(1), at(2)], true, Duration::ZERO);
    assert_eq!(known.len(), 2);
    assert_eq!(probing.questions(Duration::ZERO), [at(1), at(2)]);
    let (meaning, services) = probing
        .answered(at(1), Answer::Accepted, ms(1))
        .expect("it is news");
    assert_eq!(meaning, Meaning::Stands(Standing::Recent));
    assert_eq!(services.into_iter().collect::<Vec<_>>(), ["a".into(), "b".into()]);
    assert_eq!(probing.alive(), 1);
    // One service has it again: it is probed for the other one.
    probing.follow(&"a".into(), [], true, ms(2));
    assert_eq!((probing.alive(), probing.probes.len()), (1, 2));
    let known = probing.follow(&"c".into(), [at(1)], true, ms(2));
    assert_eq!(
        known.into_values().collect::<Vec<_>>(),
        [Standing::Recent],
        "known already"
    );
    probing.follow(&"b".into(), [], true, ms(3));
    probing.follow(&"c".into(), [], true, ms(3));
    assert_eq!((probing.alive(), probing.due()), (0, None), "nothing is withheld");
    // Its answer is late, and it is withheld again meanwhile: not asked twice.
    assert_eq!(probing.answered(at(2), Answer::Accepted, ms(4)), None);
}

#[test]
fn an_address_that_is_withheld_again_waits_for_the_answer_under_way() {
    let mut probing = probing(1..2);
    assert_eq!(probing.questions(Duration::ZERO).len(), 1);
    probing.follow(&"a".into(), [], true, ms(1));
    probing.follow(&"a".into(), [at(1)], true, ms(100));
    assert_eq!(probing.due(), None);
    assert!(probing.answered(at(1), Answer::Accepted, ms(200)).is_some());
    assert!(probing.due() > Some(ms(200)));
}

#[test]
fn probes_become_rarer() {
    let mut probing = probing(1..2);
    let (mut last, mut pauses) = (Duration::ZERO, Vec::new());
    while last < Duration::from_secs(70) {
        let now = probing.due().expect("to be probed");
        probing.questions(now);
        probing.answered(at(1), Answer::Accepted, now);
        pauses.push(now.saturating_sub(last));
        last = now;
    }
    assert!(pauses[1..20].iter().all(|p| *p <= SOON * 5 / 4), "{pauses:?}");
    let end = pauses[pauses.len() - 1];
    assert!(end > SOON * 4 && end <= ALIVE * 5 / 4, "{end:?}");
}

#[test]
fn when_one_server_stops_the_others_of_its_service_are_probed() {
    let mut probing = probing(1..4);
    for address in probing.questions(Duration::ZERO) {
        probing.answered(address, Answer::Accepted, Duration::ZERO);
    }
    let now = probing.due().expect("to be probed");
    let asked = probing.questions(now);
    assert_eq!(asked.len(), 1, "they are spread");
    probing.answered(asked[0], Answer::Refused, now);
    assert_eq!(probing.questions(now + PAUSE).len(), 2);
}

#[test]
fn the_number_of_connections_is_bounded() {
    let mut probing = probing(1..1_001);
    let (mut now, mut asked) = (Duration::ZERO, 0);
    while let Some(due) = probing.due() {
        now = now.max(due);
        let questions = probing.questions(now);
        assert!(!questions.is_empty() && questions.len() <= TOGETHER);
        asked += questions.len();
        assert!(probing.questions(now).is_empty(), "a pause");
    }
    assert_eq!(asked, AT_ONCE, "nothing more until one is answered");
    probing.answered(at(1), Answer::Silent, now);
    assert_eq!(probing.questions(now + PAUSE).len(), 1);
}

#[test]
fn without_probes_all_is_unknown() {
    let mut probing = Probing::new(false);
    let known = probing.follow(&"a".into(), [at(1)], true, Duration::ZERO);
    assert_eq!(known.into_values().collect::<Vec<_>>(), [Standing::Unknown]);
    assert_eq!(probing.due(), None);
}

fn instance(port: u16, health: Health) -> Instance {
    Instance::from(Facts {
        health,
        ..Facts::new(port.to_string(), at(port))
    })
}

/// Ports that stand behind, of one instance per letter: X is registered, others are Pending, Recent, Alive,
/// Doubtful, Unknown; a small letter is not healthy.
fn standing_behind(letters: &str) -> Vec<u16> {
    let (mut instances, mut withheld) = (Vec::new(), BTreeMap::new());
    for (port, letter) in (1..).zip(letters.chars()) {
        let health = if letter.is_ascii_uppercase() {
            Health::Healthy
        } else {
            Health::Unhealthy
        };
        instances.push(instance(port, health));
        let standing = match letter.to_ascii_uppercase() {
            'P' => Standing::Pending,
            'R' => Standing::Recent,
            'A' => Standing::Alive,
            'D' => Standing::Doubtful,
            'U' => Standing::Unknown,
            _ => continue,
        };
        withheld.insert(at(port), standing);
    }
    behind(&instances, &withheld)
        .iter()
        .map(SocketAddr::port)
        .collect()
}

#[test]
fn who_stands_behind() {
    for (letters, expected) in [
        ("XXX", &[][..]),
        ("XPP", &[2, 3]),
        ("XRA", &[2]),
        ("PPP", &[]),
        ("RPPA", &[]),
        ("APP", &[]),
        ("XADU", &[3, 4]),
        ("AAD", &[3]),
        ("RD", &[2]),
        ("DDD", &[]),
        ("UUU", &[]),
        ("AUUUU", &[2, 3, 4, 5]),
        // One of six is too few to serve alone for long.
        ("XUUUUU", &[]),
        ("AUUUUU", &[]),
        ("XPPPPPRRR", &[2, 3, 4, 5, 6, 7, 8, 9]),
        // Who is not healthy serves nobody.
        ("xPU", &[]),
        ("aU", &[]),
    ] {
        assert_eq!(standing_behind(letters), expected, "{letters}");
    }
}

/// What happens to a set of servers.
#[derive(Clone, Copy, Debug)]
enum Step {
    Withhold(u8, u8),
    Again(u8),
    Ask(u16),
    Reply(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u8, 0..12_u8).prop_map(|(s, n)| Step::Withhold(s, n)),
        (0..4_u8).prop_map(Step::Again),
        (0..2_000_u16).prop_map(Step::Ask),
        (any::<u8>(), 0..3_u8).prop_map(|(n, answer)| Step::Reply(n, answer)),
    ]
}

proptest! {
    /// Whatever happens: nobody is asked twice at once, only one that has refused twice is gone, and each
    /// withheld address is asked in the end.
    #[test]
    fn each_withheld_address_is_asked(steps in prop::collection::vec(step(), 1..200)) {
        let mut probing = Probing::new(true);
        let mut now = Duration::ZERO;
        let mut awaited: Vec<SocketAddr> = Vec::new();
        let mut withheld: BTreeMap<u8, BTreeSet<SocketAddr>> = BTreeMap::new();
        let mut refused: BTreeMap<SocketAddr, u32> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Withhold(service, n) => {
                    // Services share some of their addresses.
                    let addresses: BTreeSet<SocketAddr> = (0..n).map(|i| at(1 + u16::from(service % 2 * 6 + i))).collect();
                    probing.follow(&service.to_string().into(), addresses.clone(), true, now);
                    withheld.insert(service, addresses);
                }
                Step::Again(service) => {
                    probing.follow(&service.to_string().into(), [], true, now);
                    withheld.remove(&service);
                }
                Step::Ask(after) => {
                    now += ms(after.into());
                    for address in probing.questions(now) {
                        prop_assert!(!awaited.contains(&address));
                        awaited.push(address);
                    }
                }
                Step::Reply(n, answer) => {
                    if awaited.is_empty() { continue }
                    let address = awaited.remove(usize::from(n) % awaited.len());
                    let answer = [Answer::Accepted, Answer::Refused, Answer::Silent][usize::from(answer)];
                    let row = refused.entry(address).or_default();
                    *row = if answer == Answer::Refused { *row + 1 } else { 0 };
                    if let Some((Meaning::Gone, services)) = probing.answered(address, answer, now) {
                        prop_assert!(*row >= REFUSALS);
                        for service in services {
                            withheld.get_mut(&service.parse::<u8>().unwrap()).unwrap().remove(&address);
                        }
                        prop_assert!(withheld.values().all(|all| !all.contains(&address)));
                        *row = 0;
                    }
                }
            }
            let all: BTreeSet<SocketAddr> = withheld.values().flatten().copied().collect();
            prop_assert_eq!(probing.probes.keys().copied().collect::<BTreeSet<_>>(), all);
            let alive = probing.probes.values().filter(|p| p.standing.accepts()).count();
            prop_assert_eq!(probing.alive(), alive);
            for (address, probe) in &probing.probes {
                let queued = probe.due.is_some_and(|due| probing.queue.contains(&(due, *address)));
                prop_assert!(queued != awaited.contains(address), "either queued or awaited");
            }
            prop_assert_eq!(probing.queue.len() + awaited.iter().filter(|a| probing.probes.contains_key(a)).count(), probing.probes.len());
        }
    }
}
