//! Sections of sources: their order, and what is wrong in them.

use expect_test::expect;

use super::{read, wrong};

#[test]
fn a_source_can_stand_behind_the_others() {
    let two = "[sources.here]\nkind = \"file\"\npath = \"a\"\n[sources.there]\nkind = \"file\"\npath = \"b\"\npriority = 2\n";
    let priorities = read(two, &[]).unwrap().priorities;
    assert_eq!(priorities.into_iter().collect::<Vec<_>>(), [("there".into(), 2)]);
    wrong(
        &two.replace("= 2", "= 101"),
        &[],
        expect![[r#"
            1 mistake in the configuration
              etc/bridge.toml:7: sources.there.priority: `101` must be a whole number from 0 to 100
        "#]],
    );
}

#[test]
fn mistakes_below_a_wrong_kind_are_shown_too() {
    wrong(
        "[sources.a]\nkind = \"etdc\"\nendpoints = [\"nowhere\"]\nprefx = \"/a/\"\n[sources.b]\nkind = \"zookeeper\"\nservers = \"x\"\n",
        &[],
        expect![[r#"
            4 mistakes in the configuration
              etc/bridge.toml:2: sources.a.kind: `etdc` must be "file" or "etcd" or "consul"
              etc/bridge.toml:3: sources.a.endpoints: `nowhere` must be http://HOST:PORT or https://HOST:PORT
              etc/bridge.toml:4: sources.a.prefx: is not a known key; did you mean `prefix`?
              etc/bridge.toml:6: sources.b.kind: `zookeeper` must be "file" or "etcd" or "consul"
        "#]],
    );
}
