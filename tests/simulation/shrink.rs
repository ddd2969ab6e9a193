//! A history that breaks a rule, made smaller as long as it breaks the same one: fewer lines, fewer clients, fewer
//! bridges, no waiting, plainer declarations.

use crate::history::{Action, Declaration, History, Manner, Step};
use crate::rules::Broken;

/// Runs at most.
const RUNS: usize = 3_000;

/// What is left, and how it breaks the rule.
pub(crate) fn shrink(
    history: &History,
    broken: &Broken,
    play: impl Fn(&History) -> Option<Broken>,
) -> (History, Broken) {
    let mut work = Work {
        best: history.clone(),
        broken: broken.clone(),
        runs: 0,
        play,
    };
    loop {
        let before = work.best.clone();
        work.lines();
        work.actors();
        work.plainer();
        if work.best == before || work.runs >= RUNS {
            return (work.best, work.broken);
        }
    }
}

struct Work<P> {
    best: History,
    broken: Broken,
    runs: usize,
    play: P,
}

impl<P: Fn(&History) -> Option<Broken>> Work<P> {
    /// Takes a smaller one if it breaks the same rule.
    fn takes(&mut self, smaller: History) -> bool {
        if self.runs >= RUNS || smaller == self.best {
            return false;
        }
        self.runs += 1;
        match (self.play)(&smaller) {
            Some(broken) if broken.rule == self.broken.rule => {
                (self.best, self.broken) = (smaller, broken);
                true
            }
            _ => false,
        }
    }

    /// Leaves lines out, many at first.
    fn lines(&mut self) {
        let mut size = self.best.steps.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < self.best.steps.len() {
                let mut smaller = self.best.clone();
                let end = (at + size).min(smaller.steps.len());
                smaller.steps.drain(at..end);
                if !self.takes(smaller) {
                    at += size;
                }
            }
            size /= 2;
        }
    }

    fn actors(&mut self) {
        let mut client = self.best.setup.clients.len();
        while client > 0 {
            client -= 1;
            let smaller = without_client(&self.best, client);
            self.takes(smaller);
        }
        for bridges in 1..self.best.setup.bridges {
            let mut smaller = self.best.clone();
            smaller.setup.bridges = bridges;
            if self.takes(smaller) {
                break;
            }
        }
        for client in 0..self.best.setup.clients.len() {
            let mut plainer = self.best.clone();
            plainer.setup.clients[client] = Manner::EnvoyDelta;
            self.takes(plainer);
        }
    }

    fn plainer(&mut self) {
        let mut at_once = self.best.clone();
        at_once.steps.iter_mut().for_each(|step| step.after = 0);
        self.takes(at_once);
        for at in 0..self.best.steps.len() {
            let step = &self.best.steps[at];
            let mut ways = vec![Step {
                after: 0,
                what: step.what.clone(),
            }];
            if let Action::Declare {
                service,
                instance,
                how,
            } = &step.what
            {
                ways.extend(plainer(how, *service, *instance).into_iter().map(|how| Step {
                    after: step.after,
                    what: Action::Declare {
                        service: *service,
                        instance: *instance,
                        how,
                    },
                }));
            }
            for way in ways {
                let mut smaller = self.best.clone();
                smaller.steps[at] = way;
                self.takes(smaller);
            }
        }
    }
}

/// Plainer declarations, the plainest first.
fn plainer(how: &Declaration, service: u8, instance: u8) -> Vec<Declaration> {
    let plain = Declaration::repaired(service, instance);
    vec![
        plain.clone(),
        Declaration {
            routes: how.routes.clone(),
            ..plain.clone()
        },
        Declaration {
            slip: how.slip,
            ..plain.clone()
        },
        Declaration {
            version: how.version,
            ..plain.clone()
        },
        Declaration {
            state: how.state,
            weight: how.weight,
            ..plain.clone()
        },
        Declaration {
            place: how.place,
            ..plain.clone()
        },
        Declaration {
            timeout: None,
            edge: false,
            ..how.clone()
        },
        Declaration {
            share: None,
            slip: None,
            ..how.clone()
        },
    ]
}

fn without_client(history: &History, gone: usize) -> History {
    let mut smaller = history.clone();
    smaller.setup.clients.remove(gone);
    let gone = u8::try_from(gone).unwrap_or(u8::MAX);
    smaller.steps.retain(|step| step.what.client() != Some(gone));
    for step in &mut smaller.steps {
        match &mut step.what {
            Action::Cut { client, .. }
            | Action::Freeze { client, .. }
            | Action::Slow { client, .. }
            | Action::Move { client, .. }
            | Action::Refuse { client }
            | Action::Dial { client, .. }
            | Action::HangUp { client, .. }
                if *client > gone =>
            {
                *client -= 1;
            }
            _ => {}
        }
    }
    smaller
}
