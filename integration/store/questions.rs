//! What one bridge asks all of them: the task of the bridge itself, twice on one registry.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use xds_bridge::clock;
use xds_bridge::config::load_str;
use xds_bridge::registry::store::{If, Status};
use xds_bridge::source::Budget;
use xds_bridge::state::{
    Answer, Answering, Drain, Laggard, Question, State, StateError, Target, Task, Wanted, random_id,
};

use super::scene::Scene;
use crate::support::registry::Registry;
use crate::support::wait;

/// A bridge as far as it shares something; in order it leaves by [`Member::leave`].
struct Member {
    state: State,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _answers: AbortOnDropHandle<()>,
}

impl Member {
    /// `answer`: how it answers all questions.
    fn join<F>(scene: &Scene, answer: impl Fn(Question, Answering) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let text = match &scene.registry {
            Some(Registry::Etcd(etcd)) => format!(
                "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\nprefix = \"/services/\"\n",
                etcd.url()
            ),
            Some(Registry::Consul(consul)) => consul.section(),
            None => {
                "[state]\nfile = \"state.json\"\n[sources.folder]\nkind = \"file\"\npath = \"services\"\n"
                    .to_owned()
            }
        };
        let file = scene.folder.path().join("bridge.toml");
        let text = format!("[cache]\nfolder = \"cache\"\n{text}");
        let config = load_str(Path::new(&file), &text, None).unwrap();
        let state = State::new(&config, &Budget::default(), &random_id());
        let stop = CancellationToken::new();
        let task = tokio::spawn(Task::new(state.clone()).run(stop.clone()));
        let answers = tokio::spawn(state.clone().answer_all(answer, stop.clone()));
        Self {
            state,
            stop,
            task,
            _answers: AbortOnDropHandle::new(answers),
        }
    }

    async fn leave(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    async fn sees(&self, replicas: usize) {
        wait::until(wait::PATIENCE, &format!("{replicas} bridges"), async || {
            let seen = self.state.replicas();
            wait::holds(seen.len() == replicas, || format!("{seen:?}"))
        })
        .await;
    }
}

fn question() -> Question {
    Question {
        kind: Wanted::Drained,
        service: "orders".into(),
        id: "orders/7".into(),
        address: None,
        since: clock::unix_millis(),
    }
}

/// Not done, with a laggard; a moment later it is.
async fn answers_in_two_steps(_: Question, mut answering: Answering) {
    answering.say(&Answer {
        clients: 1,
        laggards: vec![Laggard {
            node: "edge-2".to_owned(),
            fleet: "edge".to_owned(),
            since_ms: 12,
        }],
        open: Some(3),
        ..Answer::default()
    });
    answering.say(&Answer {
        done: true,
        clients: 2,
        ..Answer::default()
    });
    std::future::pending::<()>().await;
}

async fn never_answers(_: Question, _: Answering) {
    std::future::pending::<()>().await;
}

pub(super) async fn all_bridges_answer_what_one_asks(scene: Scene) {
    let one = Member::join(&scene, answers_in_two_steps);
    // A file has one bridge.
    let two = scene
        .registry
        .as_ref()
        .map(|_| Member::join(&scene, answers_in_two_steps));
    let members = 1 + usize::from(two.is_some());
    one.sees(members).await;
    let asked = one.state.ask(&question()).await.unwrap();
    wait::until(wait::PATIENCE, "all are done", async || {
        wait::holds(asked.is_done(), || format!("{:?}", asked.answers()))
    })
    .await;
    let answers = asked.answers();
    assert_eq!(answers.len(), members);
    for answer in answers.into_values() {
        let answer = answer.unwrap();
        assert_eq!((answer.done, answer.clients, answer.laggards.len()), (true, 2, 0));
    }
    // With the question the answers end.
    drop(asked);
    for member in std::iter::once(&one).chain(&two) {
        wait::until(wait::PATIENCE, "nothing is asked", async || {
            let documents = member.state.snapshot().documents.clone();
            let none = documents.questions.is_empty() && documents.answers.is_empty();
            wait::holds(none, || format!("{documents:?}"))
        })
        .await;
    }
    // One that does not answer is waited for, until it leaves.
    if let Some(two) = two {
        two.leave().await;
        let mute = Member::join(&scene, never_answers);
        one.sees(2).await;
        let asked = one.state.ask(&question()).await.unwrap();
        let of = |member: &Member| asked.answers().get(member.state.replica()).cloned().flatten();
        wait::until(wait::PATIENCE, "its own answer", async || {
            let own = of(&one);
            wait::holds(own.as_ref().is_some_and(|own| own.done), || format!("{own:?}"))
        })
        .await;
        assert!(!asked.is_done() && of(&mute).is_none());
        mute.leave().await;
        wait::until(wait::PATIENCE, "the others are done", async || {
            wait::holds(asked.is_done(), || format!("{:?}", asked.answers()))
        })
        .await;
    }
    one.leave().await;
}

pub(super) async fn a_question_is_asked_again_after_our_presence_was_lost(scene: Scene) {
    let one = Member::join(&scene, answers_in_two_steps);
    one.sees(1).await;
    let asked = one.state.ask(&question()).await.unwrap();
    wait::until(wait::PATIENCE, "it is answered", async || {
        wait::holds(asked.is_done(), || format!("{:?}", asked.answers()))
    })
    .await;
    let store = one.state.store().await.unwrap();
    let entries = store.list().await.unwrap();
    assert_eq!(entries.len(), 3, "{entries:?}");
    // As if the registry had forgotten us.
    for entry in &entries {
        store.delete(&entry.key, If::Always).await.unwrap();
    }
    let keys: Vec<Arc<str>> = entries.iter().map(|entry| entry.key.clone()).collect();
    wait::until(wait::PATIENCE * 2, "all of it is there again", async || {
        let now = store.list().await.unwrap();
        let now: Vec<Arc<str>> = now.iter().map(|entry| entry.key.clone()).collect();
        wait::holds(now == keys, || format!("{now:?}"))
    })
    .await;
    assert!(asked.is_done() || one.state.snapshot().status == Status::Live);
    one.leave().await;
}

pub(super) async fn drains_are_seen_by_all_bridges(scene: Scene) {
    let one = Member::join(&scene, never_answers);
    let two = scene
        .registry
        .as_ref()
        .map(|_| Member::join(&scene, never_answers));
    one.state.settled().await;
    assert_eq!(one.state.snapshot().status, Status::Live);
    let target = Target::Instance {
        service: "shop/orders".into(),
        id: "orders 7".into(),
    };
    let drain = |by: &str| Drain {
        since: 1,
        created: 7,
        by: by.to_owned(),
    };
    one.state.put_drain(&target, &drain("ann")).await.unwrap();
    one.state
        .put_drain(&Target::Zone("a".into()), &drain("bob"))
        .await
        .unwrap();
    let other = two.as_ref().unwrap_or(&one);
    let both = [
        (target.clone(), drain("ann")),
        (Target::Zone("a".into()), drain("bob")),
    ]
    .into();
    wait::until(wait::PATIENCE, "both drains", async || {
        let seen = other.state.drains();
        wait::holds(seen == both, || format!("{seen:?}"))
    })
    .await;
    // Over, as whoever judged it knew it; another one by now.
    assert!(!other.state.end_drain(&target, &drain("bob")).await.unwrap());
    assert!(other.state.end_drain(&target, &drain("ann")).await.unwrap());
    assert!(!other.state.end_drain(&target, &drain("ann")).await.unwrap());
    other.state.delete_drain(&target).await.unwrap();
    wait::until(wait::PATIENCE, "one drain", async || {
        let seen = one.state.drains();
        wait::holds(seen.len() == 1, || format!("{seen:?}"))
    })
    .await;
    let off = State::none("by the test");
    off.settled().await;
    let error = off.put_drain(&target, &drain("ann")).await.unwrap_err();
    assert_eq!(error, StateError::Off("by the test".to_owned()));
    assert!(matches!(off.ask(&question()).await, Err(StateError::Off(_))));
}

/// A bridge that starts while the registry is away knows what was drained, also the last that happened.
async fn remembered(mut scene: Scene) {
    let drain = Drain {
        since: 1,
        created: 7,
        by: "ann".to_owned(),
    };
    let (node, zone) = (Target::Node("n1".into()), Target::Zone("a".into()));
    let one = Member::join(&scene, never_answers);
    one.sees(1).await;
    for target in [&node, &zone] {
        one.state.put_drain(target, &drain).await.unwrap();
    }
    let drained = async |member: &Member, wanted: &[&Target]| {
        wait::until(wait::PATIENCE, &format!("drained: {wanted:?}"), async || {
            let seen = member.state.drains();
            let right = seen.keys().eq(wanted.iter().copied()) && seen.values().all(|seen| *seen == drain);
            wait::holds(right, || format!("{seen:?}"))
        })
        .await;
    };
    drained(&one, &[&node, &zone]).await;
    one.leave().await;
    scene.registry.as_mut().unwrap().kill();

    let two = Member::join(&scene, never_answers);
    two.state.settled().await;
    let snapshot = two.state.snapshot();
    assert!(
        matches!(snapshot.status, Status::Away { .. }),
        "{:?}",
        snapshot.status
    );
    assert_eq!(
        snapshot.documents.drains,
        [&node, &zone]
            .map(|target| (target.clone(), drain.clone()))
            .into()
    );
    assert!(snapshot.documents.replicas.is_empty(), "{snapshot:?}");
    let failed = two.state.delete_drain(&zone).await;
    assert!(matches!(failed, Err(StateError::Store(_))), "{failed:?}");
    scene.registry.as_mut().unwrap().restart().await;
    two.sees(1).await;
    two.state.delete_drain(&zone).await.unwrap();
    drained(&two, &[&node]).await;
    two.leave().await;
    scene.registry.as_mut().unwrap().kill();

    let three = Member::join(&scene, never_answers);
    three.state.settled().await;
    drained(&three, &[&node]).await;
    assert_ne!(three.state.snapshot().status, Status::Live);
    three.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drains_are_remembered_while_etcd_is_away() {
    remembered(Scene::etcd().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drains_are_remembered_while_consul_is_away() {
    remembered(Scene::consul().await).await;
}
