//! Times on the wire and in the store: RFC 3339 in UTC, `2026-11-24T13:41:05.123456789Z`, without loss.
//!
//! Used as `#[serde(with = "netloom_engine::time")]`, for an `Option` as `with = "netloom_engine::time::option"`
//! together with `default`.

use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Writes a time.
pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339(*time))
}

/// Reads a time.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(D::Error::custom)
}

fn parse(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339(text).map_err(|error| format!("`{text}` is not a time in RFC 3339 form: {error}"))
}

/// The same for a time that may be absent: `null`.
pub mod option {
    use super::{Deserialize, Deserializer, Error, Serializer, SystemTime, parse};

    /// Writes a time or `null`.
    pub fn serialize<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a time or `null`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| parse(&text).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Times {
        #[serde(with = "super")]
        at: SystemTime,
        #[serde(default, with = "super::option")]
        ended: Option<SystemTime>,
    }

    #[test]
    fn times_are_readable_and_come_back_as_they_were() {
        let at = SystemTime::UNIX_EPOCH + Duration::new(1_800_000_000, 123_456_789);
        let times = Times { at, ended: None };
        let text = serde_json::to_string(&times).unwrap();
        assert_eq!(text, r#"{"at":"2027-01-15T08:00:00.123456789Z","ended":null}"#);
        assert_eq!(serde_json::from_str::<Times>(&text).unwrap(), times);
        let now = Times { at: SystemTime::now(), ended: Some(SystemTime::now()) };
        assert_eq!(serde_json::from_str::<Times>(&serde_json::to_string(&now).unwrap()).unwrap(), now);
        assert!(serde_json::from_str::<Times>(r#"{"at":"yesterday"}"#).is_err());
    }
}
