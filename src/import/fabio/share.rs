//! Shares of the requests of a route, as weights of the instances of its service. Pure.

/// All requests.
const ALL: f64 = 10_000.0;

/// The weights of instances of these shares; 0: it declares none. Those that declare one have it, and the others divide
/// the rest; where the shares are more than all, or all declare one, they count in proportion.
#[must_use]
pub fn shares(declared: &[f64]) -> Vec<u32> {
    let sum: f64 = declared.iter().sum();
    #[allow(clippy::cast_precision_loss, reason = "a number of instances")]
    let others = declared.iter().filter(|share| **share <= 0.0).count() as f64;
    let scale = if sum > 1.0 || (others == 0.0 && sum > 0.0) {
        sum
    } else {
        1.0
    };
    let rest = if others > 0.0 {
        ((1.0 - sum).max(0.0)) / others
    } else {
        0.0
    };
    let weight = |share: &f64| {
        let share = if *share > 0.0 { *share / scale } else { rest };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to 10,000"
        )]
        let weight = (share * ALL).round() as u32;
        if share > 0.0 { weight.max(1) } else { weight }
    };
    declared.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_divided_as_there() {
        assert_eq!(shares(&[0.2, 0.0]), [2_000, 8_000]);
        assert_eq!(shares(&[1.5, 0.5, 0.0]), [7_500, 2_500, 0]);
        assert_eq!(shares(&[0.2, 0.3]), [4_000, 6_000]);
        assert_eq!(shares(&[0.5, 0.5, 0.0]), [5_000, 5_000, 0]);
        assert_eq!(shares(&[0.0, 0.0]), [5_000, 5_000]);
    }
}
