//! Where fabio's table has a server of one service, and what commands make of that. Pure.

use std::borrow::Cow;

use super::commands::Order;
use crate::import::url;
use crate::model::service::address;

/// One server on one route.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    /// The host, in lower case, and the path.
    pub(super) source: Cow<'a, str>,
    /// As [`server`] writes it.
    pub(super) server: String,
    pub(super) tags: &'a [String],
    /// Of the requests of the route; 0: none of its own.
    pub(super) share: f64,
    /// It is healthy: others are not in the table.
    pub(super) counts: bool,
    pub(super) gone: bool,
}

/// Does what an order says to the places of one service; whether it is about any of them.
pub(super) fn obey(order: &Order, places: &mut [Place<'_>]) -> bool {
    match order {
        Order::Add(_) => false,
        Order::Delete {
            tags, source, target, ..
        } => {
            let target = target.as_deref().map(server);
            let fits = |place: &&mut Place<'_>| {
                has(place, tags)
                    && source.as_ref().is_none_or(|source| *source == place.source)
                    && target.as_ref().is_none_or(|target| *target == place.server)
            };
            places
                .iter_mut()
                .filter(fits)
                .map(|place| place.gone = true)
                .count()
                > 0
        }
        Order::Weight {
            source, share, tags, ..
        } => {
            let fits = |place: &Place<'_>| !place.gone && has(place, tags) && *source == place.source;
            let all = places.iter().filter(|place| place.counts && fits(place)).count();
            #[allow(clippy::cast_precision_loss, reason = "a number of servers")]
            let each = *share / all.max(1) as f64;
            places
                .iter_mut()
                .filter(|place| fits(place))
                .map(|place| place.share = each)
                .count()
                > 0
        }
    }
}

fn has(place: &Place<'_>, tags: &[String]) -> bool {
    tags.iter().all(|tag| place.tags.contains(tag))
}

/// A target as it is compared: the address and port, or what is no URL with an address as it is written.
pub(super) fn server(target: &str) -> String {
    let place = url::place(target).ok();
    let place = place.and_then(|(_, host, port)| address(host, port.into()).ok());
    place.map_or_else(|| target.to_owned(), |place| place.to_string())
}
