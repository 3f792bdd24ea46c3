//! Names of rows: those that the server gives, and those that a transaction gives to what it inserts.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a row, given by the server and never used again. Ordered as its text is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// Zeros: the name of no row.
    pub const NIL: Self = Self([0; 16]);

    /// From a number, the first digit of the text being the highest.
    pub const fn from_u128(number: u128) -> Self {
        Self(number.to_be_bytes())
    }

    /// As a number, the first digit of the text being the highest.
    pub const fn as_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.as_u128();
        let part = |from: u32, digits: u32| (number >> from) & ((1 << (4 * digits)) - 1);
        write!(formatter, "{:08x}-{:04x}-{:04x}", part(96, 8), part(80, 4), part(64, 4))?;
        write!(formatter, "-{:04x}-{:012x}", part(48, 4), part(0, 12))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A text that is no UUID of the form `550e8400-e29b-41d4-a716-446655440000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID of 32 hexadecimal digits with hyphens")]
pub struct InvalidUuid;

impl FromStr for Uuid {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Self, InvalidUuid> {
        let mut number = 0_u128;
        for (at, character) in text.chars().enumerate() {
            match (at, character) {
                (8 | 13 | 18 | 23, '-') => {}
                (8 | 13 | 18 | 23 | 36.., _) => return Err(InvalidUuid),
                (_, digit) => number = number << 4 | u128::from(digit.to_digit(16).ok_or(InvalidUuid)?),
            }
        }
        if text.len() == 36 { Ok(Self::from_u128(number)) } else { Err(InvalidUuid) }
    }
}

/// The name that a transaction gives to a row that it inserts, for the other operations of the same transaction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedUuid(Arc<str>);

impl NamedUuid {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name with a number, of which the beginning is known to be good.
    pub(crate) fn numbered(beginning: &'static str, number: usize) -> Self {
        Self(format!("{beginning}{number}").into())
    }
}

/// A text that is no name: one is made of letters of ASCII, digits and `_`, and does not begin with a digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a name of letters, digits and `_` that does not begin with a digit")]
pub struct InvalidName;

impl FromStr for NamedUuid {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let begins = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        let good = text.bytes().all(|byte| begins(byte) || byte.is_ascii_digit());
        if good && text.bytes().next().is_some_and(begins) { Ok(Self(text.into())) } else { Err(InvalidName) }
    }
}

impl fmt::Display for NamedUuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_uuid_is_read_as_it_was_written(number in any::<u128>()) {
            let uuid = Uuid::from_u128(number);
            prop_assert_eq!(uuid.to_string().parse(), Ok(uuid));
            prop_assert_eq!(uuid.as_u128(), number);
        }

        #[test]
        fn uuids_are_ordered_as_their_texts(a in any::<u128>(), b in any::<u128>()) {
            let (a, b) = (Uuid::from_u128(a), Uuid::from_u128(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }

    #[test]
    fn what_is_no_uuid_is_refused() {
        let good = "550e8400-e29b-41d4-a716-446655440000";
        assert_eq!(good.parse::<Uuid>().unwrap().to_string(), good);
        for bad in ["", "550e8400", "550e8400-e29b-41d4-a716-44665544000", "550e8400-e29b-41d4-a716-4466554400000"] {
            assert_eq!(bad.parse::<Uuid>(), Err(InvalidUuid), "{bad}");
        }
        for bad in ["550e8400e-29b-41d4-a716-446655440000", "x50e8400-e29b-41d4-a716-446655440000"] {
            assert_eq!(bad.parse::<Uuid>(), Err(InvalidUuid), "{bad}");
        }
    }

    #[test]
    fn names_are_those_of_the_protocol() {
        for good in ["a", "_1", "Port_17"] {
            assert_eq!(good.parse::<NamedUuid>().unwrap().as_str(), good);
        }
        for bad in ["", "1a", "a-b", "é"] {
            assert_eq!(bad.parse::<NamedUuid>(), Err(InvalidName), "{bad}");
        }
    }
}
