//! `[fleets.NAME]`: what the Envoys of a fleet see.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::parse;
use super::reader::Section;
use crate::model::Fleet;
use crate::model::overrides::pattern;

pub(super) fn read(root: &mut Section<'_>) -> BTreeMap<Arc<str>, Fleet> {
    let mut fleets = BTreeMap::new();
    for mut s in root.sections("fleets") {
        let start = s.name().strip_suffix('*').unwrap_or(s.name()).to_owned();
        if s.name().is_empty() || start.contains('*') {
            s.mistake(
                "",
                "must be a fleet (node.cluster), or how fleets begin: [fleets.\"web-*\"]",
            );
        }
        let one = |text: &str| pattern(text).map(|()| text.to_owned());
        let services = s.list("services", one);
        let needs = s.get("needs", parse::switch);
        if services.is_none() && needs.is_none() {
            s.mistake(
                "",
                "says nothing: add services = [\"orders\", \"web-*\"], or needs = true",
            );
        }
        let fleet = Fleet {
            services: services.unwrap_or_default(),
            needs: needs.unwrap_or(false),
        };
        fleets.insert(s.name().into(), fleet);
        s.finish();
    }
    fleets
}
