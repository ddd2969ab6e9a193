//! What a streamed answer is worth. It comes from the agent's own copy: of the present server, or of one that was
//! restored, wiped or has died since. So its content counts only once a consistent read of the same epoch has reached
//! its index; until then, and when its index falls, a consistent read decides.
//!
//! Its index does not compare to that of other reads (see [`Answer`]): a fall is a fall only among answers that are not
//! streamed. And nothing may wait for an index that the servers have not reached: they may start at 1 again, and the
//! read would sleep through all of it. Pure.

use crate::registry::consul::{Answer, Backend};

/// What is known of the answers to the reads of one subject. All of it counts within one epoch.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    epoch: u64,
    /// The index of the last answer that was not streamed.
    floor: u64,
    /// A consistent read has reached a streamed answer: the copy is up to date.
    in_step: bool,
    /// A streamed answer without consequences so far.
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    index: u64,
    /// Above the previous one.
    rose: bool,
    /// The index that the servers had reached by then.
    reached: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// Its content counts.
    Content,
    /// A consistent read decides.
    Nothing,
    /// The servers' index fell.
    Fell,
}

/// What to do after the content was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Wait for more than this index.
    Follow(u64),
    /// The same after a pause.
    Pause(u64),
    /// The agent's copy has another history: read again later.
    Retry(u64),
}

impl Stream {
    /// An answer with another index than before. `last`: the index that it waited to pass; `None`: it is a
    /// confirmation. `reached`: an index that the servers have passed in this epoch.
    pub(crate) fn judge(&mut self, epoch: u64, last: Option<u64>, answer: &Answer, reached: u64) -> Worth {
        if self.epoch != epoch {
            *self = Self {
                epoch,
                ..Self::default()
            };
        }
        let index = answer.index;
        if let (Some(last), true) = (last, answer.backend == Backend::Stream) {
            let rose = index > last;
            self.open = Some(Open { index, rose, reached });
            return if rose && self.in_step {
                Worth::Content
            } else {
                Worth::Nothing
            };
        }
        // A service that does not exist has the index of whichever service was removed last.
        let compares = last.is_some() || answer.body.trim_ascii() != b"[]";
        if index < self.floor && compares {
            return Worth::Fell;
        }
        self.floor = index;
        Worth::Content
    }

    /// The content of the last answer was delivered. `confirmed`: it was a consistent read, of this index.
    pub(crate) fn delivered(&mut self, index: u64, confirmed: bool) -> After {
        let Some(open) = self.open.take().filter(|_| confirmed) else {
            return After::Follow(index);
        };
        if !open.rose {
            return After::Pause(index);
        }
        if open.index <= index {
            self.in_step = true;
            return After::Follow(index);
        }
        if open.index <= open.reached {
            return After::Follow(open.index);
        }
        After::Retry(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(index: u64, streamed: bool, body: &'static str) -> Answer {
        Answer {
            index,
            backend: if streamed {
                Backend::Stream
            } else {
                Backend::Servers
            },
            known_leader: None,
            filtered: false,
            multiplexed: false,
            held: crate::registry::budget::Held::default(),
            missing: false,
            body: body.into(),
        }
    }

    /// Confirmed at 50 in epoch 1.
    fn confirmed() -> Stream {
        let mut stream = Stream::default();
        assert_eq!(
            stream.judge(1, None, &answer(50, false, "[x]"), 50),
            Worth::Content
        );
        assert_eq!(stream.delivered(50, true), After::Follow(50));
        stream
    }

    fn streamed(stream: &mut Stream, last: u64, index: u64, reached: u64) -> Worth {
        stream.judge(1, Some(last), &answer(index, true, "[y]"), reached)
    }

    fn consistent(stream: &mut Stream, index: u64) -> Worth {
        stream.judge(1, None, &answer(index, false, "[y]"), index)
    }

    #[test]
    fn streamed_content_counts_once_a_consistent_read_has_reached_it() {
        let mut stream = confirmed();
        assert_eq!(streamed(&mut stream, 50, 60, 50), Worth::Nothing);
        assert_eq!(consistent(&mut stream, 61), Worth::Content);
        assert_eq!(stream.delivered(61, true), After::Follow(61));
        assert_eq!(streamed(&mut stream, 61, 70, 50), Worth::Content);
        assert_eq!(stream.delivered(70, false), After::Follow(70));
        // In another epoch the copy is to be confirmed again.
        let fresh = answer(80, false, "[x]");
        assert_eq!(stream.judge(2, None, &fresh, 80), Worth::Content);
        assert_eq!(stream.delivered(80, true), After::Follow(80));
        let next = answer(81, true, "[x]");
        assert_eq!(stream.judge(2, Some(80), &next, 80), Worth::Nothing);
    }

    #[test]
    fn a_copy_of_a_server_that_began_again_is_not_waited_behind() {
        let mut stream = confirmed();
        assert_eq!(streamed(&mut stream, 50, 500, 60), Worth::Nothing);
        assert_eq!(consistent(&mut stream, 55), Worth::Content);
        assert_eq!(stream.delivered(55, true), After::Retry(55));
        assert_eq!(
            streamed(&mut stream, 55, 500, 60),
            Worth::Nothing,
            "still not in step"
        );
    }

    #[test]
    fn an_index_above_that_of_a_consistent_read_is_followed_where_the_servers_have_been() {
        // An instance went over to another service: Consul raises the index of the stream only.
        let mut stream = confirmed();
        assert_eq!(streamed(&mut stream, 50, 60, 60), Worth::Nothing);
        assert_eq!(consistent(&mut stream, 50), Worth::Content);
        assert_eq!(stream.delivered(50, true), After::Follow(60));
        assert_eq!(streamed(&mut stream, 60, 70, 70), Worth::Nothing);
    }

    #[test]
    fn a_streamed_index_that_falls_is_no_fall() {
        // Something else raised the index of the service; at the end of its wait the copy's own one shows.
        let mut stream = confirmed();
        assert_eq!(streamed(&mut stream, 50, 40, 60), Worth::Nothing);
        assert_eq!(consistent(&mut stream, 50), Worth::Content);
        assert_eq!(stream.delivered(50, true), After::Pause(50));
    }

    #[test]
    fn a_consistent_index_that_falls_is_one_unless_nothing_is_left() {
        let mut stream = confirmed();
        assert_eq!(consistent(&mut stream, 49), Worth::Fell);
        assert_eq!(
            stream.judge(1, Some(50), &answer(49, false, "[]"), 50),
            Worth::Fell
        );
        assert_eq!(
            stream.judge(1, None, &answer(49, false, "[]\n"), 50),
            Worth::Content
        );
    }
}
