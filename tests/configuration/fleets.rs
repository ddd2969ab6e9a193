//! `[fleets.NAME]` and `clusters.locality`.

use xds_bridge::model::LocalityRule;

use super::{SAMPLE, read};

#[test]
fn fleets_say_what_they_see() {
    let config = read(
        &format!(
            "{SAMPLE}[clusters]\nlocality = \"prefer:50\"\n\
         [fleets.edge]\nservices = [\"orders\", \"web-*\"]\n[fleets.\"*\"]\nneeds = true\n"
        ),
        &[],
    )
    .unwrap();
    let shown = config.fleets.iter();
    let shown = shown.map(|(name, fleet)| format!("{name} {:?} {}", fleet.services, fleet.needs));
    assert_eq!(
        shown.collect::<Vec<_>>(),
        ["* [] true", "edge [\"orders\", \"web-*\"] false"]
    );
    assert_eq!(config.clusters.locality, LocalityRule::Prefer(50));
    assert_eq!(config.network().fleets, config.fleets);
}

#[test]
fn what_is_wrong_of_them_is_named() {
    let wrong = read(
        &format!(
            "{SAMPLE}[clusters]\nlocality = \"near\"\n[fleets.edge]\n[fleets.\"a*b\"]\nneeds = true\n\
         [fleets.web]\nservices = [\"*-1\"]\nneed = true\n"
        ),
        &[],
    )
    .unwrap_err();
    for words in [
        "`near` must be off, prefer, or prefer:50",
        "says nothing: add services",
        "must be a fleet (node.cluster), or how fleets begin",
        "`*-1` must be the name of a service",
        "did you mean `needs`",
    ] {
        assert!(wrong.contains(words), "{words}: {wrong}");
    }
}
