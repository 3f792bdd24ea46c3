//! Data of the user's own: maps under `vars` keep their types.

use std::collections::BTreeMap;

/// Free data by name, with the types that YAML gives it.
pub type Vars = BTreeMap<String, serde_json::Value>;
