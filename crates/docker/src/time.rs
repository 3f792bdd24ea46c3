//! Moments, which the API writes in several ways.

use std::time::SystemTime;

const SECOND: i64 = 1_000_000_000;

/// Nanoseconds since 1970 as seconds with nine digits behind the point.
pub(crate) fn seconds(nanoseconds: i64) -> String {
    format!("{}.{:09}", nanoseconds.div_euclid(SECOND), nanoseconds.rem_euclid(SECOND))
}

/// In nanoseconds since 1970. The daemon has the same clock: it is on the same host.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_all_their_digits() {
        assert_eq!(seconds(1_795_663_216_009_210_126), "1795663216.009210126");
        assert_eq!(seconds(0), "0.000000000");
    }
}
