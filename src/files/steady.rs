//! Is a content complete, or still being written? Pure: compares numbers that stand for contents.

/// Tells a content that stands from one that is being written: news is what was seen twice in a row
/// (a certificate and its key are written one after the other), and is no news after that.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    tried: u128,
    before: u128,
}

impl Steady {
    /// This content is in use.
    #[must_use]
    pub const fn new(first: u128) -> Self {
        Self {
            tried: first,
            before: first,
        }
    }

    /// One look. True once for each content that stands.
    pub fn is_news(&mut self, now: u128) -> bool {
        let steady = std::mem::replace(&mut self.before, now) == now;
        let news = steady && now != self.tried;
        if news {
            self.tried = now;
        }
        news
    }

    /// What was news last.
    #[must_use]
    pub const fn tried(&self) -> u128 {
        self.tried
    }

    /// Whether this is what was news last, and nothing else since.
    #[must_use]
    pub const fn was_tried(&self, now: u128) -> bool {
        now == self.tried && now == self.before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_what_was_seen_twice() {
        let mut steady = Steady::new(1);
        let looks = [1, 2, 3, 3, 3, 1, 1, 4, 1, 1];
        let news = looks.map(|now| steady.is_news(now));
        assert_eq!(
            news,
            [false, false, false, true, false, false, true, false, false, false]
        );
    }
}
