//! The only source of chance: one number, and all that is drawn from it in the same order (`SplitMix64`).

/// Draws numbers.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than this.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// One of so many, as a small number.
    #[expect(clippy::cast_possible_truncation, reason = "less than 256")]
    pub(crate) const fn small(&mut self, bound: u8) -> u8 {
        self.below(bound as u64) as u8
    }

    pub(crate) const fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A number from a list of weights.
    pub(crate) fn weighed<T: Copy>(&mut self, list: &[(u32, T)]) -> T {
        let all: u32 = list.iter().map(|(weight, _)| weight).sum();
        let mut at = self.below(u64::from(all.max(1)));
        for (weight, what) in list {
            if at < u64::from(*weight) {
                return *what;
            }
            at -= u64::from(*weight);
        }
        list[0].1
    }
}
