//! What is kept of all keys of a service says the same as a look at each of them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::model::Issue;
use crate::registry::etcd::Kv;
use crate::source::entry::Decoded;

/// What happens to one key.
#[derive(Clone, Debug)]
enum Step {
    Put {
        id: u8,
        ports: Vec<u16>,
        create_revision: i64,
        broken: bool,
    },
    Remove {
        id: u8,
    },
}

impl Step {
    fn id(&self) -> String {
        let (Self::Put { id, .. } | Self::Remove { id }) = self;
        id.to_string()
    }

    fn apply(&self, entries: &mut Entries) {
        let id = self.id();
        let Self::Put {
            ports,
            create_revision,
            broken,
            ..
        } = self
        else {
            entries.remove(&id);
            return;
        };
        let kv = Kv {
            key: Vec::new(),
            value: Vec::new(),
            size: 0,
            mod_revision: 9,
            create_revision: *create_revision,
        };
        // As most formats have it, one instance has the id of its key.
        let id_of = |port: &u16| match ports[..] {
            [_] => id.clone(),
            _ => format!("{id}-{port}"),
        };
        let instance = |port: &u16| Instance::new(id_of(port), ([10, 0, 0, 1], *port).into());
        let entry = if *broken {
            Entry::bad(&id, &kv, "broken", entries.instance(&id).as_ref())
        } else {
            let content = ports.iter().map(instance).collect();
            let issues = Vec::new();
            Entry::good(&kv, Decoded { content, issues })
        };
        entries.put(&id, entry);
    }
}

fn step() -> impl Strategy<Value = Step> {
    let put = (0..4_u8, vec(1..5_u16, 1..3), 1..4_i64, prop::bool::weighted(0.2));
    let put = put.prop_map(|(id, ports, create_revision, broken)| Step::Put {
        id,
        ports,
        create_revision,
        broken,
    });
    prop_oneof![3 => put, 1 => (0..4_u8).prop_map(|id| Step::Remove { id })]
}

/// The instances of all keys, with a look at each of them.
fn plain(entries: &Entries) -> (Vec<Instance>, Vec<Issue>) {
    let all = entries.instances.iter().flat_map(instances_of);
    let (all, doubled) = newest(all.collect(), |(_, id)| id.to_string());
    let mut instances: Vec<Instance> = all
        .into_iter()
        .map(|((instance, _), created)| {
            let mut instance = instance.clone();
            instance.created = created;
            instance
        })
        .collect();
    instances.sort_by(|a, b| a.id.cmp(&b.id));
    (instances, doubled)
}

proptest! {
    #[test]
    fn a_record_is_what_a_look_at_each_key_gives(batches in vec(vec(step(), 0..4), 0..8)) {
        let mut entries = Entries::default();
        for batch in batches {
            let before = entries.record("orders", str::to_owned);
            let mut noted = Before::default();
            for step in &batch {
                let id = step.id();
                noted.note(&Key::Instance { service: "orders".into(), id: &id }, Some(&entries));
                step.apply(&mut entries);
            }
            let after = entries.record("orders", str::to_owned);
            let (instances, doubled) = plain(&entries);
            prop_assert_eq!(&after.instances, &instances);
            prop_assert!(after.issues.ends_with(&doubled));
            // A registration that does not count changes nothing.
            let differs = noted.differs(Some(&entries));
            prop_assert!(differs || before == after, "a change would be lost");
            prop_assert!(!differs || before != after || !doubled.is_empty(), "nothing has changed");
        }
    }
}

/// As go-micro writes its nodes: a map, in any order.
#[test]
fn the_same_instances_in_another_order_are_no_change() {
    let put = |ports: &[u16]| Step::Put {
        id: 2,
        ports: ports.to_vec(),
        create_revision: 3,
        broken: false,
    };
    let mut entries = Entries::default();
    put(&[3, 4]).apply(&mut entries);
    let mut noted = Before::default();
    noted.note(
        &Key::Instance {
            service: "orders".into(),
            id: "2",
        },
        Some(&entries),
    );
    put(&[4, 3]).apply(&mut entries);
    assert!(!noted.differs(Some(&entries)));
    put(&[4, 5]).apply(&mut entries);
    assert!(noted.differs(Some(&entries)));
}

#[test]
fn equal_declarations_are_there_once() {
    let mut entries = Entries::default();
    for id in 1..3 {
        let ports = vec![id.into()];
        let step = Step::Put {
            id,
            ports,
            create_revision: 1,
            broken: false,
        };
        step.apply(&mut entries);
    }
    let instances = entries.record("orders", str::to_owned).instances;
    assert!(Arc::ptr_eq(&instances[0].policy, &instances[1].policy));
}

#[test]
fn what_is_kept_of_a_key_is_all_that_it_says() {
    let kv = |create_revision| Kv {
        key: Vec::new(),
        value: Vec::new(),
        size: 0,
        mod_revision: 9,
        create_revision,
    };
    let good = |id: &str, created: u64, revision: i64, issues: Vec<Issue>| {
        let mut instance = Instance::new(id, ([10, 0, 0, 1], 80).into());
        instance.created = created;
        let content = vec![instance];
        Entry::good(&kv(revision), Decoded { content, issues })
    };
    let plain = good("7", 3, 3, Vec::new());
    let odd = [
        Entry::bad("7", &kv(3), "broken", Some(&plain)),
        Entry::bad("7", &kv(3), "broken", None),
        good("7", 3, 3, vec![Issue::warning("7", "unknown key")]),
        good("7", 0, -3, Vec::new()),
        good("7-80", 3, 3, Vec::new()),
    ];
    let kept = Kept::new("7", plain.clone());
    assert_eq!((&**kept.id(), kept.entry()), ("7", plain));
    assert!(matches!(kept, Kept::Plain(_)));
    for entry in odd {
        let kept = Kept::new("7", entry.clone());
        assert_eq!((&**kept.id(), kept.entry()), ("7", entry));
        assert!(kept.odd().is_some());
    }
}
