//! Follows one subject for as long as it is wanted: one step after the other, with the pauses between them.

use super::belief::Belief;
use super::next::Next;
use super::step::step;
use super::subject::Subject;
use crate::registry::consul::Client;
use crate::source::consul::context::Context;

/// The pause after an answer that only repeats grows to this many times the shortest: to a second.
const MAX_REPEATS: u32 = 10;

/// Why something is no longer followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Unwanted,
    /// The agent has no room for it.
    Overloaded,
    /// Its connection has none.
    Full,
}

/// Follows while `wanted`, which is checked between reads only: Consul would go on with a cancelled read, and count its
/// connection.
pub(crate) async fn follow<S: Subject>(
    context: &Context,
    client: &Client,
    mut subject: S,
    wanted: impl Fn() -> bool + Send,
) -> End {
    let timing = &context.timing;
    let mut belief = Belief::watched();
    let mut delays = timing.delays();
    while wanted() {
        let next = step(context, Some(client), &mut subject, &mut belief).await;
        if S::RULES.detects && next != Next::Rest {
            context.report_movement(); // also after trouble: what moved meanwhile is unknown
        }
        match next {
            Next::Sent => {
                delays = timing.delays();
                let rest = if S::RULES.unhurried {
                    timing.sweep
                } else {
                    timing.pace * (subject.repeats().min(MAX_REPEATS) + subject.burden())
                };
                if !rest.is_zero() {
                    tokio::time::sleep(rest).await;
                }
            }
            Next::Again => {}
            Next::Rest => tokio::time::sleep(timing.pace).await,
            Next::Overloaded if S::RULES.may_be_swept => return End::Overloaded,
            Next::Full if S::RULES.may_be_swept => return End::Full,
            Next::Hidden => tokio::time::sleep(context.hidden_pause()).await,
            Next::Later | Next::Overloaded | Next::Full | Next::RateLimited => {
                let mut pause = timing.next(&mut delays);
                // Without a watch it is read as often as a swept service.
                if next != Next::Later || S::RULES.unhurried {
                    pause = pause.min(timing.sweep);
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
    End::Unwanted
}
