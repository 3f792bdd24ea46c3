//! What cannot be taken apart.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Datum, NamedUuid, Set, Uuid};

/// A value of one of the five atomic types (RFC 7047, section 3.1), or the name of a row that does not exist yet.
///
/// Atoms have an order, reals too, so that sets and maps have one; atoms of different types are ordered by type.
#[derive(Debug, Clone)]
pub enum Atom {
    /// A whole number.
    Integer(i64),
    /// A number. The server writes whole ones as integers; what comes through a [`crate::Replica`] is of the type that
    /// the schema says.
    Real(f64),
    /// Yes or no.
    Boolean(bool),
    /// A text.
    String(Arc<str>),
    /// The name of a row.
    Uuid(Uuid),
    /// The name of a row that the same transaction inserts; never in what the server says.
    NamedUuid(NamedUuid),
}

impl Atom {
    /// The whole number that it is.
    pub fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }

    /// The number that it is.
    pub fn as_real(&self) -> Option<f64> {
        match self {
            Self::Real(number) => Some(*number),
            #[expect(clippy::cast_precision_loss, reason = "the server wrote a real without a fraction")]
            Self::Integer(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// Yes or no, if it is that.
    pub fn as_boolean(&self) -> Option<bool> {
        if let Self::Boolean(yes) = self { Some(*yes) } else { None }
    }

    /// The text that it is.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The row that it names.
    pub fn as_uuid(&self) -> Option<Uuid> {
        if let Self::Uuid(uuid) = self { Some(*uuid) } else { None }
    }

    /// How it compares to this text.
    pub(crate) fn cmp_str(&self, text: &str) -> Ordering {
        if let Self::String(own) = self { (**own).cmp(text) } else { self.rank().cmp(&3) }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Integer(_) => 0,
            Self::Real(_) => 1,
            Self::Boolean(_) => 2,
            Self::String(_) => 3,
            Self::Uuid(_) => 4,
            Self::NamedUuid(_) => 5,
        }
    }
}

impl Ord for Atom {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Real(a), Self::Real(b)) => a.total_cmp(b),
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::Uuid(a), Self::Uuid(b)) => a.cmp(b),
            (Self::NamedUuid(a), Self::NamedUuid(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Atom {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Atom {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Atom {}

/// Conversions into atoms, and so into sets of one.
macro_rules! atoms {
    ($($from:ty => $make:expr;)*) => {$(
        impl From<$from> for Atom {
            fn from(value: $from) -> Self {
                let make: fn($from) -> Self = $make;
                make(value)
            }
        }

        impl From<$from> for Set {
            fn from(value: $from) -> Self {
                Atom::from(value).into()
            }
        }

        impl From<$from> for Datum {
            fn from(value: $from) -> Self {
                Atom::from(value).into()
            }
        }
    )*};
}

atoms! {
    i64 => Self::Integer;
    i32 => |number| Self::Integer(number.into());
    u32 => |number| Self::Integer(number.into());
    u16 => |number| Self::Integer(number.into());
    f64 => Self::Real;
    bool => Self::Boolean;
    &str => |text| Self::String(text.into());
    String => |text| Self::String(text.into());
    &String => |text| Self::String(text.as_str().into());
    Arc<str> => Self::String;
    Uuid => Self::Uuid;
    NamedUuid => Self::NamedUuid;
    &NamedUuid => |name| Self::NamedUuid(name.clone());
}
