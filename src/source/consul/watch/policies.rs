//! Reads the policy documents one by one: only keys of their shape, a few at a time, each within a bound. A bad document
//! costs that one only; no answer at all, or one that is not to be trusted, concerns the agent.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};

use crate::clock::now;
use crate::registry::consul::{Failure, Mode, Query};
use crate::source::consul::capacity::SIDE_READS;
use crate::source::consul::context::Context;
use crate::source::consul::decode::document::{self, Document, Documents};
use crate::source::consul::trust::canary::Doubt;

/// The longest pause after the documents were read.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Reads the documents of these services by `?consistent`, so that a missing one is really gone. Also returns how long
/// to wait before they are read again: constant writes below `xds/` must not keep the agent busy with our reads.
///
/// # Errors
/// Why the agent is not to be trusted now, or has no room.
pub(crate) async fn read(context: &Context, services: Vec<Arc<str>>) -> Result<(Documents, Duration), Doubt> {
    let begun = now();
    let documents = futures::stream::iter(services)
        .map(|service| one(context, service))
        .buffer_unordered(SIDE_READS)
        .try_filter_map(async |read| Ok(read))
        .try_collect()
        .await?;
    let pause = ((now() - begun) * 3).min(LONGEST_PAUSE);
    Ok((documents, pause))
}

/// `None`: deleted since its key was listed, which moves the index of the keys again.
async fn one(context: &Context, service: Arc<str>) -> Result<Option<(Arc<str>, Document)>, Doubt> {
    let Context { capacity, .. } = context;
    let _permit = capacity.side_read().await;
    let query = Query::Key(document::key_of(&service));
    let document = match capacity.read(&query, Mode::Consistent).await {
        Ok(answer) if answer.known_leader == Some(false) => {
            return Err(Doubt::Suspect("consul knows no leader".to_owned()));
        }
        Ok(answer) if answer.missing => return Ok(None),
        Ok(answer) => document::document(&service, &answer.body),
        Err(error) => match &error.failure {
            Failure::TooLong { .. } => Document::too_long(&service),
            // 429 is the agent's limit, and says nothing of this key. A redirect is one of its path.
            Failure::Status { status, .. } if (300..500).contains(status) && *status != 429 => {
                Document::unread(&service, &error.chain())
            }
            // Consul 1.21.5 and some later ones refuse keys that are listed, with a 500.
            Failure::Status { text, .. } if text.contains("invalid key name") => {
                Document::unread(&service, &error.chain())
            }
            Failure::Refused { .. } => Document::refused(&service, &error.chain()),
            _ if capacity.is_rate_limited(&error) => return Err(Doubt::RateLimited),
            _ if capacity.is_overloaded(&error).await => return Err(Doubt::Overloaded),
            _ => return Err(Doubt::Suspect(error.chain())),
        },
    };
    Ok(Some((service, document)))
}
