//! What stays of a service after its last instance left.

use super::*;
use crate::model::{Facts, Health, Instance, RouteRule};

const KEEP: Duration = Duration::from_secs(3600);

fn at(second: u64) -> Duration {
    Duration::from_secs(second)
}

fn policy(route: &str) -> Policy {
    Policy {
        routes: [(1, RouteRule::parse(route).unwrap())].into(),
        ..Policy::default()
    }
}

/// With one instance that declares this route.
fn cart(route: &str) -> Service {
    Service {
        name: "cart".into(),
        instances: vec![Instance::from(Facts {
            health: Health::Off,
            weight: 0,
            policy: Arc::new(policy(route)),
            created: 7,
            ..Facts::new("1", ([10, 0, 0, 7], 80).into())
        })],
        policy: policy(route),
        elected: policy(route),
        ..Service::default()
    }
}

fn follow(standing: &mut Standing, found: Option<Service>, second: u64) -> Option<Service> {
    standing.follow(&"cart".into(), found, at(second))
}

#[test]
fn routes_outlive_the_last_instance_until_their_time_is_over() {
    let mut standing = Standing::new(KEEP);
    assert!(follow(&mut standing, None, 0).is_none(), "never seen");
    let there = follow(&mut standing, Some(cart("path=/cart")), 1).unwrap();
    assert_eq!((there.kept, standing.due()), (None, None), "off is not gone");
    for second in [10, 20, 300] {
        let kept = follow(&mut standing, None, second).unwrap();
        assert_eq!((kept.policy, kept.kept), (policy("path=/cart"), Some(at(70))));
        assert!(kept.instances.is_empty());
    }
    assert_eq!(standing.take_news(), [("cart".into(), News::Kept)]);
    assert_eq!(standing.due(), Some(at(70)));
    assert_eq!(standing.take_due(at(69)).len(), 0);
    assert_eq!(standing.take_due(at(70)).len(), 1, "others may have them");
    assert_eq!(standing.take_due(at(70)).len(), 0, "once");
    assert_eq!(standing.due(), Some(at(3610)));
    assert!(follow(&mut standing, None, 3609).is_some());
    assert_eq!(standing.take_due(at(3610)).len(), 1);
    assert!(follow(&mut standing, None, 3610).is_none());
    assert_eq!(standing.take_news(), [("cart".into(), News::Ended)]);
    assert_eq!((standing.due(), standing.snapshot(at(3610)).len()), (None, 0));
}

#[test]
fn who_comes_back_is_as_before() {
    let mut standing = Standing::new(KEEP);
    follow(&mut standing, Some(cart("path=/cart")), 0);
    follow(&mut standing, None, 1);
    let back = follow(&mut standing, Some(cart("path=/basket")), 2).unwrap();
    assert_eq!((back.kept, back.policy), (None, policy("path=/basket")));
    assert_eq!((standing.due(), standing.kept().len()), (None, 0));
    let news: Vec<News> = standing.take_news().into_iter().map(|(_, news)| news).collect();
    assert_eq!(news, [News::Kept, News::Back]);
    let again = follow(&mut standing, None, 500).unwrap();
    assert_eq!(
        (again.kept, again.policy),
        (Some(at(560)), policy("path=/basket"))
    );
}

#[test]
fn a_document_that_stays_counts_before_what_was() {
    let mut standing = Standing::new(KEEP);
    follow(&mut standing, Some(cart("path=/cart")), 0);
    let document = Service {
        name: "cart".into(),
        policy: policy("path=/of-the-document"),
        documented: true,
        ..Service::default()
    };
    let kept = follow(&mut standing, Some(document.clone()), 1).unwrap();
    assert_eq!(
        (kept.policy, kept.documented),
        (policy("path=/of-the-document"), true)
    );
    assert!(kept.kept.is_some());
    let after = follow(&mut standing, Some(document.clone()), 3601).unwrap();
    assert_eq!(after, document, "a document alone is a service");
    assert_eq!(
        follow(&mut Standing::new(KEEP), Some(document.clone()), 0),
        Some(document)
    );
}

#[test]
fn nothing_is_kept_where_that_is_turned_off_or_forgotten() {
    let mut standing = Standing::new(Duration::ZERO);
    follow(&mut standing, Some(cart("path=/cart")), 0);
    assert!(follow(&mut standing, None, 1).is_none());
    assert_eq!((standing.due(), standing.take_news().len()), (None, 0));
    let mut standing = Standing::new(KEEP);
    follow(&mut standing, Some(cart("path=/cart")), 0);
    assert!(!standing.forget("cart"), "it has instances");
    follow(&mut standing, None, 1);
    assert!(standing.forget("cart") && !standing.forget("cart"));
    assert!(follow(&mut standing, None, 2).is_none());
}

#[test]
fn a_restart_of_the_bridge_keeps_what_is_left_of_the_time() {
    let mut first = Standing::new(KEEP);
    follow(&mut first, Some(cart("path=/cart")), 0);
    first.follow(
        &"web".into(),
        Some(Service {
            name: "web".into(),
            ..cart("path=/")
        }),
        at(0),
    );
    follow(&mut first, None, 100);
    assert!(first.take_changed() && !first.take_changed());
    let saved = first.snapshot(at(130));
    assert_eq!(saved["cart"].left_ago, Some(at(30)));
    let mut second = Standing::new(KEEP);
    second.remember(saved);
    assert_eq!(second.elected("web"), Some(&policy("path=/")), "for a tie");
    assert_eq!(second.due(), Some(at(30)), "others may have them then");
    let kept = follow(&mut second, None, 2).unwrap();
    assert_eq!((kept.policy, kept.kept), (policy("path=/cart"), Some(at(30))));
    assert_eq!(second.snapshot(at(5))["cart"].left_ago, Some(at(35)));
    // Who left while there was no bridge left now, as far as anybody knows.
    let web = second.follow(&"web".into(), None, at(3)).unwrap();
    assert_eq!(web.kept, Some(at(63)));
    assert!(follow(&mut second, None, 3570).is_none());
}

#[test]
fn a_flood_of_names_is_bounded() {
    let mut standing = Standing::new(KEEP);
    for n in 0..=MAX_KEPT as u64 {
        let name: Arc<str> = format!("job-{n:06}").into();
        let service = Service {
            name: name.clone(),
            ..cart("path=/")
        };
        standing.follow(&name, Some(service), at(n));
        standing.follow(&name, None, at(n));
    }
    assert_eq!(standing.kept().len(), MAX_KEPT + 1);
    assert_eq!(standing.due(), Some(Duration::ZERO));
    let due = standing.take_due(at(1));
    assert!(due.contains("job-000000"), "{due:?}");
    assert_eq!(standing.kept().len(), MAX_KEPT);
    assert!(standing.follow(&"job-000000".into(), None, at(1)).is_none());
}
