//! The beta distribution: what is known of a rate after some requests. Pure.

use std::f64::consts::PI;

use super::facts::Sum;

/// More requests than these say no more; they are scaled down to this number.
const ENOUGH: f64 = 1e7;

/// Terms of the continued fraction: about the square root of the number of requests is needed.
const TERMS: u32 = 20_000;

/// A number of requests for arithmetic; beyond 2^53 it is rounded.
#[allow(clippy::cast_precision_loss)] // a rate needs no more than 53 bits
pub(super) const fn float(n: u64) -> f64 {
    n as f64
}

/// The probability that the rate of bad requests is above `rate`, after these (Jeffreys' prior).
pub(super) fn above(seen: Sum, rate: f64) -> f64 {
    let (n, k) = (float(seen.n), float(seen.k.min(seen.n)));
    let scale = if n > ENOUGH { ENOUGH / n } else { 1.0 };
    1.0 - regularized(rate, k * scale + 0.5, (n - k) * scale + 0.5)
}

/// The regularized incomplete beta function, `I_x(a, b)`.
fn regularized(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    // The fraction converges quickly on this side of the mean; on the other one the complement does.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(x, a, b) / a
    } else {
        1.0 - front * fraction(1.0 - x, b, a) / b
    }
}

/// The continued fraction of `I_x(a, b)`, by Lentz's method (DLMF 8.17.22).
#[allow(clippy::many_single_char_names, reason = "the names of the formula")]
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let not_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut c, mut d) = (1.0, 1.0 / not_zero(1.0 - (a + b) * x / (a + 1.0)));
    let mut value = d;
    for term in 1..TERMS {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut step = 1.0;
        for part in [even, odd] {
            d = 1.0 / not_zero(1.0 + part * d);
            c = not_zero(1.0 + part / c);
            step = c * d;
            value *= step;
        }
        if (step - 1.0).abs() < 1e-13 {
            break;
        }
    }
    value
}

/// The logarithm of the gamma function of a positive number, by Stirling's series (DLMF 5.11.1).
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 12.0 {
        shift += x.ln();
        x += 1.0;
    }
    let (inverse, square) = (1.0 / x, 1.0 / (x * x));
    let series =
        inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1_260.0 - square / 1_680.0)));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * PI).ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        let off = (found - expected).abs() / expected.abs().max(1e-300);
        assert!(off < 1e-9, "{found} instead of {expected}");
    }

    #[test]
    fn gamma_is_that_of_factorials_and_of_halves() {
        close(ln_gamma(5.0), 24_f64.ln());
        close(ln_gamma(11.0), 3_628_800_f64.ln());
        close(ln_gamma(0.5), PI.sqrt().ln());
        close(ln_gamma(2.5), (0.75 * PI.sqrt()).ln());
    }

    #[test]
    fn what_has_a_closed_form_is_found() {
        for x in [0.001, 0.01, 0.2, 0.5, 0.7, 0.99] {
            close(regularized(x, 1.0, 1.0), x);
            close(regularized(x, 3.0, 1.0), x.powi(3));
            close(regularized(x, 1.0, 7.0), 1.0 - (1.0 - x).powi(7));
            // The arcsine distribution.
            close(regularized(x, 0.5, 0.5), 2.0 / PI * x.sqrt().asin());
            close(regularized(x, 30.5, 2.5) + regularized(1.0 - x, 2.5, 30.5), 1.0);
        }
        // The sum of a binomial distribution: at least 3 of 10 at 0.3.
        close(regularized(0.3, 3.0, 8.0), 0.617_217_213_6);
        assert_eq!(
            (regularized(0.0, 1.0, 2.0), regularized(1.0, 1.0, 2.0)),
            (0.0, 1.0)
        );
    }

    #[test]
    fn three_times_the_inverse_of_the_margin_is_about_what_promotion_needs() {
        let after = |n, k| above(Sum { n, k }, 0.01);
        assert!(
            after(100, 0) > 0.05 && after(300, 0) < 0.05,
            "{} {}",
            after(100, 0),
            after(300, 0)
        );
        assert!(after(0, 0) > 0.9 && after(1, 1) > 0.99 && after(300, 3) > 0.4);
    }

    #[test]
    fn many_requests_are_no_trouble() {
        for n in [1_000_000, 100_000_000, u64::MAX / 4] {
            let at = above(Sum { n, k: n / 100 }, 0.01);
            assert!((at - 0.5).abs() < 0.01, "{n}: {at}");
            assert!(above(Sum { n, k: n / 100 }, 0.011) < 1e-9);
            assert!(above(Sum { n, k: n / 100 }, 0.009) > 1.0 - 1e-9);
        }
    }
}
