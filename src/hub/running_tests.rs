//! A hub at work, for its tests.

use super::*;

pub(super) struct Running {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) seen: watch::Receiver<Overview>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) fanout: Arc<Fanout>,
    _stop: tokio_util::sync::DropGuard,
}

impl Running {
    /// With these sources; `decisions`: those of a hub before this one, which is remembered then.
    pub(super) fn start(
        sources: BTreeMap<Arc<str>, SourceInfo>,
        network: Network,
        decisions: Option<Decisions>,
    ) -> Self {
        let (fanout, metrics) = (Arc::new(Fanout::new(10, false)), Arc::new(Metrics::default()));
        let settle = (Duration::from_millis(10), Duration::from_millis(100));
        let (mut hub, seen) = Hub::new(sources, network, settle, fanout.clone(), metrics.clone());
        if let Some(decisions) = decisions {
            hub = hub.remembering(BTreeMap::new(), decisions, crate::cache::writer().0);
        }
        let ((events, inbox), (orders, orders_in)) = (mpsc::channel(INBOX), mpsc::channel(1));
        let stop = CancellationToken::new();
        let nobody = (mpsc::channel(1).0, mpsc::channel(1).1);
        tokio::spawn(hub.run(inbox, orders_in, nobody, stop.clone()));
        Self {
            events,
            orders,
            seen,
            metrics,
            fanout,
            _stop: stop.drop_guard(),
        }
    }
}
