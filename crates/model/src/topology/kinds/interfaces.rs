//! What the interfaces of a kind may be called, and which name of the kernel a vendor's name stands for.

use std::fmt;

use regex_lite::{Captures, Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::interface::Interface;

/// The rule for the names of a kind's interfaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::topology) struct InterfaceRule {
    /// What a name in the kernel has to match, as a whole; any name without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Pattern>,
    /// Names that are right, for messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    /// Names of the vendor, tried in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<AliasRule>,
}

/// Which name of the kernel a vendor's name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::topology) struct AliasRule {
    /// What the vendor's name has to match, as a whole. Named groups are used in `kernel`.
    pub pattern: Pattern,
    /// The name in the kernel; `{group}` stands for what a group of the pattern matched.
    pub kernel: String,
    /// Added to the number that the group `port` matched.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: i32,
    /// So many ports has each `slot`: as many for each slot before it are added to `port`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ports_per_slot: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// A regular expression.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in crate::topology) struct Pattern {
    text: String,
    /// Of a whole text, not of a part of it.
    whole: Regex,
}

/// Bytes of a pattern, as it is written; far more than a name needs.
const MAX_PATTERN: usize = 500;

/// Bytes of a compiled pattern: what a match takes is this times the length of the name.
const MAX_COMPILED: usize = 64 << 10;

impl TryFrom<String> for Pattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.len() > MAX_PATTERN {
            return Err(format!("a pattern has at most {MAX_PATTERN} bytes, and this has {}", text.len()));
        }
        let whole = RegexBuilder::new(&format!("^(?:{text})$")).size_limit(MAX_COMPILED).build();
        let whole = whole.map_err(|error| format!("the pattern `{text}` cannot be used: {error}"))?;
        Ok(Self { text, whole })
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Pattern {
    /// As it is written.
    pub(in crate::topology) fn as_str(&self) -> &str {
        &self.text
    }
}

impl InterfaceRule {
    /// Goes on with a later rule: what that says replaces what was said.
    pub(super) fn extend(&mut self, later: Self) {
        if later.pattern.is_some() {
            self.pattern = later.pattern;
        }
        if later.example.is_some() {
            self.example = later.example;
        }
        if !later.aliases.is_empty() {
            self.aliases = later.aliases;
        }
    }

    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.pattern.is_some() && self.example.is_none() {
            let why = "a `pattern` for the names of interfaces needs an `example` of one".to_owned();
            return Err(("pattern", why));
        }
        for alias in &self.aliases {
            let groups: Vec<&str> = alias.pattern.whole.capture_names().flatten().collect();
            let unknown = placeholders(&alias.kernel).find(|name| !groups.contains(name));
            if let Some(unknown) = unknown {
                let why = format!(
                    "`{{{unknown}}}` of `{}` is no group of its pattern; write `(?<{unknown}>…)`",
                    alias.kernel
                );
                return Err(("aliases", why));
            }
            let wanted =
                [("port", alias.offset != 0 || alias.ports_per_slot != 0), ("slot", alias.ports_per_slot != 0)];
            if let Some((missing, _)) = wanted.iter().find(|(name, used)| *used && !groups.contains(name)) {
                let why = format!("the pattern `{}` has no group `{missing}` to reckon with", alias.pattern.text);
                return Err(("aliases", why));
            }
        }
        Ok(())
    }

    /// The interface of this name, if a node of the kind can have it.
    pub(in crate::topology) fn interface(&self, written: &str) -> Option<Interface> {
        if written.len() > Interface::MAX {
            return None;
        }
        let is_valid = |kernel: &str| self.pattern.as_ref().is_none_or(|pattern| pattern.whole.is_match(kernel));
        if self.pattern.is_some() && is_valid(written) {
            return written.parse().ok();
        }
        let of_vendor = self.aliases.iter().find_map(|alias| alias.kernel_name(written));
        match of_vendor {
            Some(kernel) if is_valid(&kernel) => Interface::aliased(written, kernel.parse().ok()?).ok(),
            None if self.pattern.is_none() => written.parse().ok(),
            _ => None,
        }
    }
}

impl AliasRule {
    /// The name in the kernel, if this is a name of the vendor.
    fn kernel_name(&self, written: &str) -> Option<String> {
        let found = self.pattern.whole.captures(written)?;
        let mut kernel = String::new();
        let mut rest = self.kernel.as_str();
        while let Some((before, name, after)) = next_placeholder(rest) {
            kernel.push_str(before);
            if name == "port" {
                kernel.push_str(&self.port(&found)?);
            } else {
                kernel.push_str(found.name(name).map_or("", |text| text.as_str()));
            }
            rest = after;
        }
        kernel.push_str(rest);
        Some(kernel)
    }

    /// The port in the kernel; nothing when none has so low or so high a number.
    fn port(&self, found: &Captures<'_>) -> Option<String> {
        let port = found.name("port")?.as_str();
        if self.offset == 0 && self.ports_per_slot == 0 {
            return Some(port.to_owned());
        }
        let slot: i64 = match found.name("slot") {
            Some(slot) if self.ports_per_slot != 0 => slot.as_str().parse().ok()?,
            _ => 0,
        };
        let before = slot.checked_mul(i64::from(self.ports_per_slot))?;
        let port = port.parse::<i64>().ok()?.checked_add(before)?.checked_add(i64::from(self.offset))?;
        u32::try_from(port).ok().map(|port| port.to_string())
    }
}

/// The names between braces.
fn placeholders(template: &str) -> impl Iterator<Item = &str> {
    let mut rest = template;
    std::iter::from_fn(move || {
        let (_, name, after) = next_placeholder(rest)?;
        rest = after;
        Some(name)
    })
}

/// What is before the next `{name}`, the name, and what is behind it.
fn next_placeholder(template: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = template.split_once('{')?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}
