//! Addresses that programs let through, as words of a route, and expressions for headers that list addresses. Pure.

use std::net::IpAddr;

use crate::model::filters::Range;

/// The value of `allow-ips=` or `deny-ips=`: ranges, or addresses within one, as Go reads them.
///
/// # Errors
/// One cannot be read, or there is none.
pub(super) fn ranges(all: impl Iterator<Item = impl AsRef<str>>) -> Result<String, String> {
    let read = all.map(|text| Range::around(text.as_ref().trim()).map(|(range, _)| range));
    let all = read.collect::<Result<Vec<Range>, String>>()?;
    if all.is_empty() {
        return Err("it has no addresses".to_owned());
    }
    Ok(Range::show_all(&all))
}

/// An expression for an address in one of these ranges, as it is written; `None`: some are of IPv6, whose addresses are
/// written in many ways.
pub(super) fn written(ranges: &str) -> Option<String> {
    let one = |text: &str| {
        let (range, _) = Range::around(text).ok()?;
        let IpAddr::V4(address) = range.address else {
            return None;
        };
        let mut parts = Vec::new();
        for (n, octet) in address.octets().into_iter().enumerate() {
            let bits = range.bits.saturating_sub(8 * u8::try_from(n).ok()?).min(8);
            let others = u8::MAX.checked_shr(bits.into()).unwrap_or(0);
            parts.push(match bits {
                8 => octet.to_string(),
                0 => "[0-9]{1,3}".to_owned(),
                _ => numbers(octet, octet | others),
            });
        }
        Some(parts.join(r"\."))
    };
    let all: Option<Vec<String>> = ranges.split(',').map(one).collect();
    Some(all?.join("|"))
}

/// An expression for the numbers from one to another.
fn numbers(from: u8, to: u8) -> String {
    let mut parts = Vec::new();
    for ten in from / 10..=to / 10 {
        let (first, last) = (from.max(ten * 10) % 10, to.min((ten * 10).saturating_add(9)) % 10);
        let ten = if ten == 0 { String::new() } else { ten.to_string() };
        parts.push(match (first, last) {
            (first, last) if first == last => format!("{ten}{first}"),
            (first, last) => format!("{ten}[{first}-{last}]"),
        });
    }
    format!("(?:{})", parts.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_as_expressions() {
        for (ranges, wanted) in [
            ("10.0.0.0/8", r"10\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}"),
            ("192.0.2.7/32,127.0.0.1", r"192\.0\.2\.7|127\.0\.0\.1"),
            (
                "172.16.0.0/12",
                r"172\.(?:1[6-9]|2[0-9]|3[0-1])\.[0-9]{1,3}\.[0-9]{1,3}",
            ),
            ("10.0.0.248/29", r"10\.0\.0\.(?:24[8-9]|25[0-5])"),
            ("10.0.0.4/31", r"10\.0\.0\.(?:[4-5])"),
        ] {
            assert_eq!(written(ranges).as_deref(), Some(wanted), "{ranges}");
        }
        assert_eq!(written("10.0.0.0/8,2001:db8::/32"), None);
    }

    #[test]
    fn an_address_within_a_range_means_the_range() {
        assert_eq!(
            ranges(["10.1.2.3/8", " 127.0.0.1"].iter()).as_deref(),
            Ok("10.0.0.0/8,127.0.0.1/32")
        );
        assert!(ranges(["x"].iter()).is_err() && ranges([""; 0].iter()).is_err());
    }
}
