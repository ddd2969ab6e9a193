//! Reads the policy documents one by one: only keys of their shape, a few at a time, each within a bound.
//! What is wrong with one of them costs that one only; no answer at all, or one that is not to be
//! trusted, is a matter of the agent.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;

use super::document::{self, Document, Documents};
use super::gate::Doubt;
use super::link::{ASIDES, Link};
use crate::registry::consul::{Failure, Mode, Query};

/// The longest pause after a reading.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Reads the documents of these services by `?consistent`, so that a missing one is really gone; and
/// how long to wait before the next reading, lest somebody who writes below `xds/` all the time keeps
/// the agent busy with ours.
///
/// # Errors
/// Why the agent is not to be trusted now, or has no room.
pub(super) async fn read(link: &Link, services: Vec<Arc<str>>) -> Result<(Documents, Duration), Doubt> {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long I/O took, in the shell: nothing pure sees it"
    )]
    let begun = Instant::now();
    let documents = futures::stream::iter(services)
        .map(|service| one(link, service))
        .buffer_unordered(ASIDES)
        .try_filter_map(async |read| Ok(read))
        .try_collect()
        .await?;
    #[expect(clippy::disallowed_methods, reason = "the other end of the same measurement")]
    let pause = (begun.elapsed() * 3).min(LONGEST_PAUSE);
    Ok((documents, pause))
}

/// `None`: deleted since its key was listed, which moves the index of the keys again.
async fn one(link: &Link, service: Arc<str>) -> Result<Option<(Arc<str>, Document)>, Doubt> {
    let _permit = link.asides.acquire().await;
    let query = Query::Key(document::key_of(&service));
    let document = match link.read(&query, Mode::Consistent).await {
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
            Failure::Status { said, .. } if said.contains("invalid key name") => {
                Document::unread(&service, &error.chain())
            }
            Failure::Refused { .. } => Document::refused(&service, &error.chain()),
            _ if link.is_limited(&error) => return Err(Doubt::Limited),
            _ if link.is_crowded(&error).await => return Err(Doubt::Crowded),
            _ => return Err(Doubt::Suspect(error.chain())),
        },
    };
    Ok(Some((service, document)))
}
