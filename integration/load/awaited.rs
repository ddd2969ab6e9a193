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

/// How long changes took.
#[derive(Debug, Default)]
pub(crate) struct Took {
    samples: Samples,
    /// Not seen within a minute.
    pub(crate) lost: usize,
}

impl Took {
    /// `p50 / p99 / max`, in milliseconds.
    pub(crate) fn three(&self) -> String {
        self.samples.three() + &self.lost()
    }

    /// A word about what was not seen.
    pub(crate) fn lost(&self) -> String {
        match self.lost {
            0 => String::new(),
            n => format!("; {n} not within {} s", PATIENCE.as_secs()),
        }
    }
}

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

    /// Waits until all were seen, but not for ever; what they took, and how many were not.
    pub(crate) async fn all(&self) -> Took {
        let began = now();
        loop {
            let lost = self.state().open.len();
            if lost == 0 || now() - began > PATIENCE {
                let mut state = self.state();
                state.open.clear();
                let samples = std::mem::take(&mut state.took);
                return Took { samples, lost };
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("a lock that nobody poisons")
    }
}
