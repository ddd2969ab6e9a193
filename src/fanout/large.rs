//! Requests with very many names: all that takes long with them is done part by part, and the lock is handed on to who
//! waits for it between two parts. Nobody waits for more than one part, however many names a client sends.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::{AT_ONCE, Fanout, Registration};
use crate::xds::{Handled, NameId, Prepared, Refusal, Request};

/// More names than this are many.
const MANY: usize = 16_384;

/// A request whose names are numbered, and counted for it until this is dropped. To make one, and to drop it, takes a
/// time in proportion to its names.
#[derive(Debug)]
pub struct Ready {
    parts: VecDeque<Prepared>,
    kept: Vec<NameId>,
    fanout: Arc<Fanout>,
}

impl Fanout {
    /// Whether a request is to be made [`Ready`].
    #[must_use]
    pub fn has_many_names(request: &Request) -> bool {
        request.len() > MANY
    }

    /// Whether a stream that ends leaves more behind than should be done here: this is for another thread.
    #[must_use]
    pub fn leaves_much(registration: &Registration) -> bool {
        registration.subscriber.stream().asked().nth(MANY).is_some()
    }

    /// Numbers the names of a request of this stream.
    #[must_use]
    pub fn make_ready(self: &Arc<Self>, registration: &Registration, request: Request) -> Ready {
        let mut request = Prepared::from(request);
        let is_repeated = registration.subscriber.stream().is_repeated(&request);
        if !is_repeated {
            request.look_up(AT_ONCE, |names, hints| {
                let mut shared = self.shared.lock();
                shared.names.look_up_and_keep(names, hints);
                MutexGuard::unlock_fair(shared);
            });
        }
        Ready {
            kept: request.kept(),
            parts: request.in_parts(AT_ONCE).into(),
            fanout: self.clone(),
        }
    }

    /// As [`Self::handle_request`], for the next part of the request; `None`: all are handled.
    pub fn handle_part(
        &self,
        registration: &Registration,
        ready: &mut Ready,
    ) -> Option<Result<Handled, Refusal>> {
        let mut part = ready.parts.pop_front()?;
        let stream = registration.subscriber.stream();
        Some(self.handle(registration.id, stream, &mut part))
    }

    pub(super) fn look_up(&self, request: &mut Prepared) {
        request.look_up(AT_ONCE, |names, hints| {
            let shared = self.shared.lock();
            shared.names.look_up(names, hints);
            MutexGuard::unlock_fair(shared);
        });
    }

    /// Gives numbers back that were counted.
    pub(super) fn release(&self, ids: &[NameId]) {
        for part in ids.chunks(AT_ONCE) {
            let mut shared = self.shared.lock();
            for id in part {
                let _ = shared.names.release(*id);
            }
            MutexGuard::unlock_fair(shared);
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.fanout.release(&self.kept);
    }
}

#[cfg(test)]
#[path = "large_tests.rs"]
mod tests;
