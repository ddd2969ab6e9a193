//! What the hub notes of what it is asked and sent: for `/events`, and a line each at `info`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Hub;
use crate::catalog::SourceState;
use crate::clock;
use crate::journal::{Noted, differences};
use crate::model::change::What;
use crate::model::{Drains, Event, Status};
use crate::text::clip;

/// Differences that are noted of one message.
const MOST: usize = 2_000;
/// Drains that are named of one change.
const DRAINS: usize = 50;

/// Service, instance and what became of it.
type Of = (Option<Arc<str>>, Option<Arc<str>>, String);

impl Hub {
    /// What a registry says now and did not say before; before it is applied.
    pub(super) fn note_change(&mut self, event: &Event) {
        let What::Change(change) = &event.what else {
            return;
        };
        let Some(state) = self.catalog.source(&event.source) else {
            return;
        };
        if !state.delivered() {
            let what = format!("delivered for the first time: {} services", change.services.len());
            return self.note(Some(&event.source), None, vec![(None, what)]);
        }
        // What a whole listing does not name is gone. Most changes name a service or two: all others are not looked at.
        let listed: BTreeSet<&Arc<str>> = if change.complete {
            change.services.iter().map(|(name, _)| name).collect()
        } else {
            BTreeSet::new()
        };
        let known = change.complete.then(|| state.names()).into_iter().flatten();
        let gone = known
            .filter(|name| !listed.contains(name))
            .map(|name| (name, None));
        let named = change
            .services
            .iter()
            .map(|(name, record)| (name, record.as_ref()));
        let (mut all, mut count) = (Vec::new(), 0);
        for (service, record) in named.chain(gone) {
            let lines = differences(state.record(service), record);
            count += lines.len();
            if !lines.is_empty() {
                all.push((service.clone(), lines));
            }
            if count > MOST {
                let what = "changed more than is listed; see /sources".to_owned();
                all.push((service.clone(), vec![(None, what)]));
                break;
            }
        }
        let of = |(service, lines): (Arc<str>, _)| noted(Some(&event.source), Some(&service), lines);
        let noted = all.into_iter().flat_map(of).collect();
        self.write_down(noted);
    }

    /// A source is reachable again, or no longer; before it is applied.
    pub(super) fn note_status(&mut self, event: &Event) {
        let What::Status(is) = &event.what else {
            return;
        };
        let was = self.catalog.source(&event.source).map(SourceState::status);
        let same = was.is_some_and(|was| std::mem::discriminant(was) == std::mem::discriminant(is));
        if same {
            return;
        }
        let what = match is {
            Status::Connecting => return,
            Status::Live => "is live".to_owned(),
            Status::Away { reason } => format!("is away: {}; what it delivered stays", clip(reason)),
        };
        self.note(Some(&event.source), None, vec![(None, what)]);
    }

    /// Operators drain other instances than before.
    pub(super) fn note_drains(&mut self, old: &Drains, new: &Drains) {
        let instances = |of: &Drains| -> Vec<(Arc<str>, Arc<str>)> {
            let all = of.instances.iter();
            all.flat_map(|(service, ids)| ids.keys().map(|id| (service.clone(), id.clone())))
                .collect()
        };
        let (before, after) = (instances(old), instances(new));
        let mut lines: Vec<Of> = Vec::new();
        for (service, id) in after.iter().filter(|one| !before.contains(one)) {
            let what = "drained by an operator".to_owned();
            lines.push((Some(service.clone()), Some(id.clone()), what));
        }
        for (service, id) in before.iter().filter(|one| !after.contains(one)) {
            let what = "no longer drained".to_owned();
            lines.push((Some(service.clone()), Some(id.clone()), what));
        }
        for (kind, was, is) in [("node", &old.nodes, &new.nodes), ("zone", &old.zones, &new.zones)] {
            let drained = is
                .difference(was)
                .map(|name| format!("{kind} {} drained by an operator", clip(name)));
            let ended = was
                .difference(is)
                .map(|name| format!("{kind} {} no longer drained", clip(name)));
            lines.extend(drained.chain(ended).map(|what| (None, None, what)));
        }
        let noted = lines.into_iter().take(DRAINS).map(|(service, id, what)| Noted {
            at: clock::unix_millis(),
            source: Some(crate::journal::OPERATOR.into()),
            service,
            instance: id,
            what,
        });
        let noted = noted.collect();
        self.write_down(noted);
    }

    /// What an operator ordered.
    pub(super) fn note_order(&mut self, service: Option<&str>, what: String) {
        let at = clock::unix_millis();
        let noted = Noted::by_operator(at, service.map(Arc::from), what);
        self.write_down(vec![noted]);
    }

    fn note(
        &mut self,
        source: Option<&Arc<str>>,
        service: Option<&Arc<str>>,
        lines: Vec<crate::journal::Line>,
    ) {
        let noted = noted(source, service, lines);
        self.write_down(noted);
    }

    fn write_down(&mut self, all: Vec<Noted>) {
        for noted in &all {
            self.log.event(noted);
        }
        self.journal.note(all);
    }
}

fn noted(
    source: Option<&Arc<str>>,
    service: Option<&Arc<str>>,
    lines: Vec<crate::journal::Line>,
) -> Vec<Noted> {
    let at = clock::unix_millis();
    let of = |(instance, what)| Noted {
        at,
        source: source.cloned(),
        service: service.cloned(),
        instance,
        what,
    };
    lines.into_iter().map(of).collect()
}
