//! Durations in the form that the topology format has from Go: `24h`, `1h30m`, `500ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::Invalid;

/// A duration, not negative; written as a sum of numbers with units `h`, `m`, `s`, `ms`, `us`, `ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GoDuration(pub Duration);

/// Nanoseconds of each unit.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl FromStr for GoDuration {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad = |why: &str| Invalid::new("duration", text, why);
        let form = || bad("is not a number with a unit, such as `24h`, `90m` or `1h30m`");
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest.starts_with('-') {
            return Err(bad("is negative"));
        }
        if rest == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let mut total: u64 = 0;
        loop {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (whole, after) = rest.split_at(end);
            let (fraction, after) = match after.strip_prefix('.') {
                Some(after) => after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len())),
                None => ("", after),
            };
            let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            let unit = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, nanos)| *nanos);
            let (Some(unit), false) = (unit, whole.is_empty() && fraction.is_empty()) else { return Err(form()) };
            // What is longer than Go's 290 years is no duration there either.
            let too_long = || bad("is longer than 290 years");
            let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_long())? };
            total = whole.checked_mul(unit).and_then(|nanos| total.checked_add(nanos)).ok_or_else(too_long)?;
            let mut digit = unit;
            for byte in fraction.bytes() {
                digit /= 10;
                total = total.checked_add(u64::from(byte - b'0') * digit).ok_or_else(too_long)?;
            }
            if i64::try_from(total).is_err() {
                return Err(too_long());
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        Ok(Self(Duration::from_nanos(total)))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let parts = [
            (seconds / 3600, "h"),
            (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
            (u64::from(self.0.subsec_nanos()), "ns"),
        ];
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        parts.iter().filter(|(number, _)| *number > 0).try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

impl TryFrom<String> for GoDuration {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<GoDuration> for String {
    fn from(duration: GoDuration) -> String {
        duration.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::GoDuration;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, written) in [
            ("24h", "24h"),
            ("720h", "720h"),
            ("1h30m", "1h30m"),
            ("1.5h", "1h30m"),
            (".5s", "500000000ns"),
            ("90s", "1m30s"),
            ("250ms", "250000000ns"),
            ("0", "0s"),
            ("0s", "0s"),
            ("0h5m", "5m"),
        ] {
            let duration: GoDuration = text.parse().unwrap();
            assert_eq!(duration.to_string(), written, "{text}");
            assert_eq!(written.parse(), Ok(duration), "{text}");
        }
        for bad in ["", "24", "h", "1d", "-1h", "1h-3m", "1..5h", "9999999999999999999h", "2562048h", "1h 30m", "."] {
            assert!(bad.parse::<GoDuration>().is_err(), "{bad}");
        }
    }
}
