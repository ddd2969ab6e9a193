//! Tests of the ledger: what is delivered, and when.

use super::*;
use crate::config::TraefikImport;
use crate::model::Instance;

#[path = "ledger_commands_tests.rs"]
mod commands;

const MANY: usize = 100;

/// Findings of readers who know what is held.
impl Ledger {
    fn service(&mut self, epoch: u64, index: u64, name: &Arc<str>, found: Result<Arc<Found>, String>) {
        assert!(self.judged(epoch, index, name, found, None));
    }

    fn hidden(
        &mut self,
        epoch: u64,
        index: u64,
        name: &Arc<str>,
        found: Result<Arc<Found>, String>,
        hidden: Hidden,
    ) {
        assert!(self.judged(epoch, index, name, found, Some(hidden)));
    }

    fn judged(
        &mut self,
        epoch: u64,
        index: u64,
        name: &Arc<str>,
        found: Result<Arc<Found>, String>,
        hidden: Option<Hidden>,
    ) -> bool {
        let before = self.found(name).unwrap_or_default();
        let finding = Finding {
            found,
            before,
            hidden,
        };
        self.finding(epoch, index, name, finding)
    }
}

fn names(all: &[&str]) -> Names {
    Names {
        names: all.iter().map(|n| (*n).into()).collect(),
        canary: true,
        ..Names::default()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a finding as it is")]
fn found(ids: &[&str]) -> Result<Arc<Found>, String> {
    let ids: BTreeSet<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    let instance = |id: &String| Instance::new(id.as_str(), ([127, 0, 0, 1], id.parse().unwrap()).into());
    let instances = ids.iter().map(instance).collect();
    Ok(Arc::new(Found {
        ids,
        record: Some(Arc::new(ServiceRecord {
            instances,
            ..ServiceRecord::default()
        })),
        ..Found::default()
    }))
}

fn text(change: Option<Change>) -> String {
    let Some(change) = change else {
        return "-".to_owned();
    };
    let one = |(name, record): &(Arc<str>, Option<ServiceRecord>)| {
        record
            .as_ref()
            .map_or_else(|| format!("-{name}"), |r| format!("{name}{}", r.instances.len()))
    };
    let all: Vec<String> = change.services.iter().map(one).collect();
    format!("{}{}", if change.complete { "all: " } else { "" }, all.join(" "))
}

fn started() -> Ledger {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.names(1, names(&["a", "b"]), MANY).started.len(), 2);
    ledger.service(1, 5, &"a".into(), found(&["1", "2"]));
    ledger.documents(1, None);
    assert_eq!(text(ledger.take()), "-", "b is missing");
    ledger.service(1, 5, &"b".into(), found(&["1"]));
    assert_eq!(text(ledger.take()), "all: a2 b1");
    ledger
}

#[test]
fn the_first_change_waits_for_everything() {
    let ledger = started();
    assert!(ledger.current(1) && !ledger.current(2));
    let mut empty = Ledger::default();
    assert_eq!(text(empty.take()), "-");
    empty.names(1, names(&[]), MANY);
    empty.documents(1, None);
    assert_eq!(text(empty.take()), "all: ");
}

#[test]
fn what_is_the_same_or_older_is_not_delivered() {
    let mut ledger = started();
    ledger.service(1, 9, &"a".into(), found(&["1", "2"]));
    assert_eq!(text(ledger.take()), "-");
    ledger.service(1, 8, &"a".into(), found(&[]));
    assert_eq!(text(ledger.take()), "-");
    ledger.service(1, 10, &"a".into(), found(&[]));
    assert_eq!(
        text(ledger.take()),
        "-",
        "in the catalog, and empty: its nodes are hidden from us"
    );
    ledger.service(1, 11, &"a".into(), found(&["2"]));
    assert_eq!(text(ledger.take()), "a1");
    ledger.service(1, 12, &"a".into(), found(&[]));
    assert_eq!(text(ledger.take()), "-");
    assert!(
        ledger.names(1, names(&["b"]), MANY).doubtful.is_empty(),
        "it was confirmed"
    );
    assert_eq!(text(ledger.take()), "-a");
}

#[test]
fn nothing_waits_for_a_service_that_came_and_went_unheard() {
    let mut ledger = started();
    assert_eq!(
        ledger.names(1, names(&["a", "b", "c"]), MANY).started,
        ["c".into()]
    );
    assert_eq!(ledger.names(1, names(&["a", "b"]), MANY).doubtful, ["c".into()]);
    assert_eq!(text(ledger.take()), "-");
    ledger.service(1, 9, &"c".into(), found(&[]));
    ledger.service(1, 9, &"a".into(), found(&["1"]));
    assert_eq!(text(ledger.take()), "a1", "what others lost is delivered");
    assert!(ledger.current(1));
}

#[test]
fn what_an_audit_asks_for() {
    let ledger = started();
    assert_eq!(
        (ledger.index(1, "a"), ledger.index(2, "a"), ledger.index(1, "x")),
        (5, 0, 0)
    );
    assert!(!ledger.differs("a", &found(&["1", "2"]).unwrap()));
    assert!(ledger.differs("a", &found(&["1"]).unwrap()) && !ledger.differs("x", &found(&[]).unwrap()));
    assert!(ledger.names_differ(&names(&["a"])) && !ledger.names_differ(&names(&["b", "a"])));
    let all: Vec<_> = std::iter::successors(ledger.after(None), |name| ledger.after(Some(name))).collect();
    assert_eq!(all, ["a".into(), "b".into()]);
}

#[test]
fn gone_is_not_named_and_confirmed_empty() {
    let mut ledger = started();
    assert_eq!(ledger.names(1, names(&["b"]), MANY).doubtful, ["a".into()]);
    assert_eq!(text(ledger.take()), "-", "not confirmed");
    ledger.service(1, 9, &"a".into(), found(&[]));
    assert_eq!(text(ledger.take()), "-a");
    assert!(!ledger.knows("a") && ledger.forgotten() == ["a".into()]);
    assert_eq!(ledger.names(1, names(&["a", "b"]), MANY).started, ["a".into()]);
}

#[test]
fn what_a_new_epoch_takes_away_is_delivered_at_once_and_in_one_change() {
    let mut ledger = started();
    // A wiped catalog: both are gone, and something new is there.
    ledger.documents(2, None);
    let diff = ledger.names(2, names(&["c"]), MANY);
    assert_eq!((diff.started.len(), diff.doubtful.len()), (1, 2));
    ledger.service(2, 1, &"a".into(), found(&[]));
    assert_eq!(text(ledger.take()), "-", "b and c are missing");
    assert_eq!(ledger.names(2, names(&["c"]), MANY).doubtful, ["b".into()]);
    ledger.service(2, 1, &"c".into(), found(&["1"]));
    assert_eq!(text(ledger.take()), "c1", "what is new need not wait");
    ledger.service(2, 1, &"b".into(), found(&[]));
    assert_eq!(text(ledger.take()), "-a -b");
    assert_eq!(ledger.forgotten(), ["a".into(), "b".into()]);
}

#[test]
fn a_part_that_is_lost_waits_too_and_its_new_instances_do_not() {
    let mut ledger = started();
    ledger.service(2, 1, &"a".into(), found(&["2", "3"]));
    assert_eq!(text(ledger.take()), "a3", "1 may still be there");
    ledger.documents(2, None);
    ledger.names(2, names(&["a", "b"]), MANY);
    assert_eq!(text(ledger.take()), "-");
    ledger.service(2, 1, &"b".into(), found(&["1"]));
    assert_eq!(text(ledger.take()), "a2");
}

#[test]
fn back_in_the_catalog_is_read_again() {
    let mut ledger = started();
    ledger.names(1, names(&[]), MANY);
    ledger.service(1, 9, &"a".into(), found(&[]));
    assert_eq!(text(ledger.take()), "-", "b is missing");
    let diff = ledger.names(1, names(&["a", "b"]), MANY);
    assert_eq!((diff.started.len(), diff.doubtful), (0, vec!["a".into()]));
    assert_eq!(text(ledger.take()), "-", "it was empty, and is not now");
    ledger.service(1, 10, &"a".into(), found(&["1", "2"]));
    assert_eq!(text(ledger.take()), "-");
}

#[test]
fn what_cannot_be_read_is_held_and_reported() {
    let mut ledger = started();
    ledger.service(1, 0, &"a".into(), Err("html".into()));
    let change = ledger.take().unwrap();
    assert_eq!((change.services.len(), change.stray.unwrap().len()), (0, 1));
    ledger.service(1, 5, &"a".into(), found(&["1"]));
    let change = ledger.take().unwrap();
    assert_eq!((change.services.len(), change.stray), (1, Some(Vec::new())));
}

#[test]
fn a_document_that_cannot_be_had_stays_as_it_was() {
    let policy = || Some(crate::model::Policy::default());
    let documents = |policy, unread| {
        let (good, issues) = (Document::default(), Vec::new());
        let document = Document {
            policy,
            unread,
            refused: false,
            issues,
        };
        Some([("a".into(), document), ("b".into(), good)].into())
    };
    let mut ledger = started();
    ledger.documents(1, documents(policy(), false));
    assert!(ledger.documents["a"].policy.is_some());
    ledger.documents(1, documents(None, true));
    assert!(ledger.documents["a"].policy.is_some(), "the last good one");
    ledger.documents(1, documents(None, true));
    assert!(
        ledger.documents["a"].policy.is_some(),
        "as often as it is not read"
    );
    ledger.documents(1, documents(None, false));
    assert!(ledger.documents["a"].policy.is_none(), "malformed is read");
}

#[test]
fn services_of_keys_stand_beside_those_of_the_catalog() {
    let settings = TraefikImport {
        kv: Some("t/".to_owned()),
        ..TraefikImport::default()
    };
    let mut ledger = Ledger::new(&[KeysOf::Traefik(Arc::new(settings))]);
    let servers = |names: &[&str]| -> Pairs {
        let key = |name: &&str| format!("t/http/services/{name}/loadbalancer/servers/0/url");
        let url = b"http://10.0.0.7:1".to_vec();
        names.iter().map(|name| (key(name), url.clone())).collect()
    };
    ledger.names(1, names(&["a"]), MANY);
    ledger.service(1, 5, &"a".into(), found(&["1"]));
    ledger.documents(1, None);
    assert_eq!(text(ledger.take()), "-", "the keys are missing");
    ledger.keys(0, 1, Some(&servers(&["a", "k"])), usize::MAX);
    assert_eq!(text(ledger.take()), "all: a2 k1");
    ledger.names(1, names(&[]), MANY);
    ledger.service(1, 6, &"a".into(), found(&[]));
    assert_eq!(
        text(ledger.take()),
        "a1",
        "it has left the catalog, and the keys have it"
    );
    ledger.keys(0, 1, None, usize::MAX);
    assert_eq!(text(ledger.take()), "-", "they cannot be read");
    ledger.keys(0, 1, Some(&servers(&["k"])), usize::MAX);
    assert_eq!(text(ledger.take()), "-a");
    ledger.names(1, names(&["k"]), MANY);
    ledger.service(1, 7, &"k".into(), found(&["2"]));
    assert_eq!(text(ledger.take()), "k2");
    ledger.keys(0, 1, Some(&Pairs::new()), usize::MAX);
    assert_eq!(text(ledger.take()), "k1");
}

#[test]
fn a_new_epoch_must_confirm_all() {
    let mut ledger = started();
    ledger.service(2, 1, &"b".into(), found(&["1"]));
    ledger.names(2, names(&["a", "b"]), MANY);
    ledger.documents(2, None);
    assert!(!ledger.current(2));
    ledger.service(2, 1, &"a".into(), found(&["1", "2"]));
    assert!(ledger.current(2));
    assert_eq!(text(ledger.take()), "-");
}

#[test]
fn the_last_instance_of_a_configured_service_leaves_and_comes_back() {
    let of_a_peer = || Names {
        listing: false,
        ..names(&["a", "b"])
    };
    let mut ledger = Ledger::default();
    assert_eq!(ledger.names(1, of_a_peer(), MANY).started.len(), 2);
    ledger.service(1, 5, &"a".into(), found(&["1", "2"]));
    ledger.service(1, 5, &"b".into(), found(&[]));
    ledger.documents(1, None);
    assert_eq!(text(ledger.take()), "all: a2");
    ledger.service(1, 6, &"a".into(), found(&[]));
    assert_eq!(text(ledger.take()), "-a");
    assert!(ledger.knows("a"), "its watch goes on");
    ledger.service(1, 7, &"a".into(), found(&["1"]));
    ledger.service(1, 7, &"b".into(), found(&["1"]));
    assert_eq!(text(ledger.take()), "a1 b1");
}

#[test]
fn what_is_hidden_stays_as_it_was_and_the_rest_goes_on() {
    let mut ledger = started();
    let hidden = |ids: &[&str]| Hidden {
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        reason: "a right".to_owned(),
    };
    ledger.hidden(1, 6, &"a".into(), found(&["3"]), hidden(&["2"]));
    let change = ledger.take().unwrap();
    let record = change.services[0].1.as_ref().unwrap();
    let ids: Vec<&str> = record.instances.iter().map(|i| &*i.id).collect();
    assert_eq!(ids, ["2", "3"]);
    assert_eq!(change.stray.unwrap()[0].reason, "a right");
    assert_eq!(ledger.hidden_after(None).as_deref(), Some("a"));
    // All of it.
    ledger.hidden(1, 7, &"a".into(), Err("a right".to_owned()), hidden(&[]));
    assert_eq!(text(ledger.take()), "-");
    // The right is there again, and what is gone is gone.
    ledger.service(1, 8, &"a".into(), found(&["3"]));
    let change = ledger.take().unwrap();
    assert_eq!(
        (
            change.services[0].1.as_ref().unwrap().instances.len(),
            change.stray
        ),
        (1, Some(vec![]))
    );
    assert_eq!((ledger.hidden_after(None), ledger.hidden_services()), (None, 0));
}

#[test]
fn names_without_room_are_counted_until_there_is_some() {
    let mut ledger = started();
    ledger.service(1, 5, &"b".into(), found(&["1"]));
    drop(ledger.take());
    assert_eq!(
        ledger.names(1, names(&["a", "b", "c", "d"]), 3).started,
        ["c".into()]
    );
    ledger.service(1, 5, &"c".into(), found(&["1"]));
    let stray = ledger.take().and_then(|change| change.stray).unwrap();
    assert!(
        stray[0].reason.starts_with("1 services are left out"),
        "{stray:?}"
    );
    assert!(
        !ledger.names_differ(&names(&["a", "b", "c", "d"])),
        "no watch has missed that"
    );
    assert!(ledger.names_differ(&names(&["a", "b", "d"])));
    assert_eq!(
        ledger.names(1, names(&["a", "b", "c", "d"]), 4).started,
        ["d".into()]
    );
}

#[test]
fn of_many_services_that_cannot_be_read_a_thousand_are_named() {
    let mut ledger = started();
    let all: Vec<String> = (0..1_500).map(|n| format!("s{n}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    ledger.names(1, names(&all), usize::MAX);
    for name in &all {
        ledger.service(1, 5, &(*name).into(), Err("no JSON".to_owned()));
    }
    let stray = ledger.all_stray();
    assert_eq!(stray.len(), MAX_STRAY + 1);
    assert!(
        stray[MAX_STRAY]
            .reason
            .starts_with("100 or more further services")
    );
}

#[test]
fn a_loss_that_its_reader_did_not_see_is_read_again() {
    let mut ledger = started();
    let before = found(&["1", "2"]).unwrap();
    // Another reader finds a third instance first, and this one does not know of it.
    ledger.service(1, 6, &"a".into(), found(&["1", "2", "3"]));
    let finding = |ids: &[&str], before: &Arc<Found>| Finding {
        found: found(ids),
        before: before.clone(),
        hidden: None,
    };
    assert!(!ledger.finding(1, 7, &"a".into(), finding(&["1", "2"], &before)));
    assert!(!ledger.finding(2, 7, &"a".into(), finding(&["1", "2"], &before)));
    assert_eq!(text(ledger.take()), "a3");
    assert!(
        ledger.finding(1, 7, &"a".into(), finding(&["2", "3"], &before)),
        "the missing one was known"
    );
    assert!(
        ledger.finding(1, 6, &"a".into(), finding(&["1"], &before)),
        "an old one is ignored, not read again"
    );
    let before = ledger.found("a").unwrap();
    assert_eq!(before.ids.len(), 2);
    assert!(ledger.finding(1, 8, &"a".into(), finding(&["2"], &before)));
    assert_eq!(ledger.found("a").unwrap().ids.len(), 1);
}
