//! Commands of fabio, and the services that are delivered again for them.

use super::*;
use crate::config::FabioImport;
use crate::import::{Placed, PlacedRoute};

#[test]
fn commands_deliver_what_they_concern_again() {
    let settings = FabioImport {
        kv: Some("f".to_owned()),
        ..FabioImport::default()
    };
    let mut ledger = Ledger::new(&[KeysOf::Fabio(Arc::new(settings))]);
    let placed = |tag: &str| {
        Arc::new(Placed {
            tags: vec![tag.to_owned()],
            routes: vec![PlacedRoute {
                source: "a.x/".to_owned(),
                numbers: Vec::new(),
                share: 0,
            }],
        })
    };
    let tagged = |ids: &[&str]| {
        let mut found = Arc::unwrap_or_clone(found(ids).unwrap());
        found.placed = ids
            .iter()
            .map(|id| ((*id).into(), placed(&format!("v{id}"))))
            .collect();
        Ok(Arc::new(found))
    };
    let pairs = |text: &str| -> Pairs { vec![("f".to_owned(), text.as_bytes().to_vec())] };
    let weights = |change: &Change| -> String {
        let record = change
            .services
            .iter()
            .filter_map(|(name, record)| Some((name, record.as_ref()?)));
        let one = |(name, record): (&Arc<str>, &ServiceRecord)| {
            let all: Vec<String> = record.instances.iter().map(|i| i.weight.to_string()).collect();
            format!("{name}:{}", all.join(","))
        };
        record.map(one).collect::<Vec<_>>().join(" ")
    };
    let said = |change: &Change| -> Vec<String> {
        let stray = change.stray.iter().flatten();
        stray.map(|issue| issue.reason.clone()).collect()
    };
    ledger.names(1, names(&["a", "b"]), MANY);
    ledger.service(1, 5, &"a".into(), tagged(&["1", "2"]));
    ledger.service(1, 5, &"b".into(), found(&["3"]));
    ledger.documents(1, None);
    assert_eq!(text(ledger.take()), "-", "the commands are missing");
    ledger.keys(
        0,
        1,
        Some(&pairs("route weight a a.x/ weight 0.2 tags \"v2\"")),
        usize::MAX,
    );
    let change = ledger.take().unwrap();
    assert_eq!(weights(&change), "a:8000,2000 b:1");
    assert!(said(&change).is_empty());
    ledger.keys(
        0,
        1,
        Some(&pairs("#\nroute weight a.x/ weight 0.5 tags \"v1\"")),
        usize::MAX,
    );
    assert_eq!(weights(&ledger.take().unwrap()), "a:5000,5000");
    ledger.keys(
        0,
        1,
        Some(&pairs("route weight a a.x/ weight 1 tags \"v9\"\nroute")),
        usize::MAX,
    );
    let change = ledger.take().unwrap();
    assert_eq!(weights(&change), "a:1,1");
    let said = said(&change);
    assert!(
        said[0].starts_with("line `2`") && said[1] == "line `1`: no route fits it",
        "{said:?}"
    );
    ledger.keys(0, 1, None, usize::MAX);
    assert_eq!(text(ledger.take()), "-", "they cannot be read");
    ledger.keys(
        0,
        1,
        Some(&pairs("route add c c.x/ http://10.0.0.7:1/")),
        usize::MAX,
    );
    assert_eq!(text(ledger.take()), "c.fabio1");
    ledger.keys(0, 1, Some(&Pairs::new()), usize::MAX);
    assert_eq!(text(ledger.take()), "-c.fabio");
}
