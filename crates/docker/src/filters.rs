//! Which objects a list, a stream of events or a clean-up is about.

use std::collections::{BTreeMap, BTreeSet};

/// Which objects a list, a stream of events or a clean-up is about; the empty one means all.
///
/// Values of one key are alternatives, except that labels have to be there all. Source: parameter `filters` of the
/// Docker Engine API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// All objects.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those for which `key` is `value`, for example `status` and `running`, or `type` and `container`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.0.entry(key.to_owned()).or_default().insert(value.into());
        self
    }

    /// Only those with a label: `name` or `name=value`.
    #[must_use]
    pub fn label(self, label: impl Into<String>) -> Self {
        self.with("label", label)
    }

    /// The parameter's value; `None` where there is nothing to filter.
    pub(crate) fn value(&self) -> Option<String> {
        // Strings in maps of sets: there is nothing that could not be written.
        if self.0.is_empty() { None } else { serde_json::to_string(&self.0).ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_written_as_the_api_wants_them() {
        let filters = Filters::new().label("netloom.owner=x").with("status", "running").with("status", "exited");
        let json = r#"{"label":["netloom.owner=x"],"status":["exited","running"]}"#;
        assert_eq!(filters.value().as_deref(), Some(json));
        assert_eq!(Filters::new().value(), None);
    }
}
