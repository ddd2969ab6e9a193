//! Names that are not served any more are forgotten, and their numbers used again, once no stream needs them.
//!
//! A sweep asks all streams, also those whose clients do not read: their state is looked at from here. A
//! stream that is busy is asked at one of the next publications; it is never waited for, because it may be
//! waiting for the names.

use std::sync::TryLockError;

use roaring::RoaringBitmap;

use super::{Shared, lock};
use crate::xds::{Kind, StreamId};

impl Shared {
    /// Begins a sweep when it pays, or continues one.
    pub(super) fn forget(&mut self) {
        if self.asking.is_none() {
            if !self.names.is_sweep_due() {
                return;
            }
            let (index, acks) = (&self.index, &self.acks);
            let needed = |id| index.is_named(id) || acks.needs(id);
            self.names.begin_sweep(&self.generation.used(), needed);
            let open = (0..)
                .zip(&self.subscribers)
                .filter(|(_, subscriber)| subscriber.is_some());
            self.asking = Some(open.map(|(id, _)| id).collect());
        }
        let Some(asking) = self.asking.take() else { return };
        let mut busy = RoaringBitmap::new();
        for id in asking {
            if !self.ask(id) {
                busy.insert(id);
            }
        }
        self.asking = Some(busy);
        self.end_sweep();
    }

    /// This stream ended.
    pub(super) fn asked(&mut self, id: StreamId) {
        if let Some(asking) = &mut self.asking {
            asking.remove(id);
            self.end_sweep();
        }
    }

    /// Gives back the memory of names that are gone.
    pub(super) fn tidy(&mut self) {
        if let Some(used) = self.names.tidy() {
            self.index.tidy(used);
        }
    }

    /// Asks a stream what it still needs of what is about to be forgotten. False: it is busy.
    fn ask(&mut self, id: StreamId) -> bool {
        let Some(subscriber) = self.subscriber(id) else {
            return true;
        };
        let mut stream = match subscriber.stream.try_lock() {
            Ok(stream) => stream,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let kept = stream.still_needs(self.names.leaving());
        let over = self.names.leaving() - &kept;
        // What came and went before it looked.
        let mut pending = lock(&subscriber.pending);
        for kind in Kind::ALL {
            *pending.changed.get_mut(kind) -= &over;
        }
        drop((pending, stream));
        self.names.keep(&kept);
        true
    }

    fn end_sweep(&mut self) {
        if self.asking.as_ref().is_some_and(RoaringBitmap::is_empty) {
            self.asking = None;
            self.names.end_sweep();
            self.tidy();
        }
    }
}
