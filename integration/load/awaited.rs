//! Changes that were written and not seen yet, and how long the others took.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::numbers::{Samples, now};

/// No change takes longer on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Awaited(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By service: the port that it gets, and since when.
    open: HashMap<String, (u16, Instant)>,
    took: Samples,
}

impl Awaited {
    /// The write of this port begins. A change that is overtaken by the next one counts until that is seen.
    pub(crate) fn begins(&self, service: String, port: u16) {
        let since = now();
        let mut state = self.state();
        state.open.entry(service).or_insert((port, since)).0 = port;
    }

    /// A service has these ports now.
    pub(crate) fn saw(&self, service: &str, mut ports: impl Iterator<Item = u16>) {
        let at = now();
        let mut state = self.state();
        if let Some((port, since)) = state.open.get(service).copied()
            && ports.any(|p| p == port)
        {
            state.open.remove(service);
            state.took.push(at - since);
        }
    }

    /// Waits until all were seen; what they took.
    pub(crate) async fn all(&self) -> Samples {
        let began = now();
        loop {
            let open = self.state().open.len();
            if open == 0 {
                return std::mem::take(&mut self.state().took);
            }
            assert!(now() - began < PATIENCE, "{open} changes were never seen");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("a lock that nobody poisons")
    }
}
