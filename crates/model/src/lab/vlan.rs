//! What passes through a port of a switch.
//!
//! Of a port that a lab's own bridge of Open vSwitch has (a node of kind `ovs-bridge`) the data of that end of the link says it,
//! so that the format is the same for everyone: `vars: { vlan: 10 }` is an access port, `vars: { trunks: [10, 20] }` a trunk,
//! both a trunk with a native VLAN. All other data there is the user's own.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Vars;

/// What passes through a port of a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vlan {
    /// What has the tag that the link is allotted on its bridge.
    Allotted,
    /// Everything, with its tags: the switch is part of the lab.
    Any,
    /// One VLAN of the lab's own, without its tag.
    Access(u16),
    /// These VLANs of the lab's own with their tags, and without one the native VLAN if there is one.
    Trunk {
        /// What has no tag is in this VLAN.
        native: Option<u16>,
        /// The others, never none.
        tags: BTreeSet<u16>,
    },
}

/// How a port of a switch is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortVlan {
    /// The VLAN of what has no tag. Without trunks nothing else passes.
    pub tag: Option<u16>,
    /// The VLANs that pass with their tags; with no tag either, everything does.
    pub trunks: BTreeSet<u16>,
    /// Whether it treats them in another way than that.
    pub is_odd: bool,
}

/// Data at an end that is no VLAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoVlan {
    /// Under which key.
    pub(crate) key: String,
    /// What is wrong.
    pub(crate) why: String,
    /// What to write.
    pub(crate) help: &'static str,
}

const VLAN: &str = "vlan";
const TRUNKS: &str = "trunks";
/// What others call the two.
const OTHERS: [&str; 12] = [
    "access",
    "native",
    "pvid",
    "tag",
    "tags",
    "trunk",
    "vid",
    "vlan-id",
    "vlan-mode",
    "vlan_id",
    "vlan_mode",
    "vlans",
];
const HELP: &str =
    "write `vlan: 10` for an access port, `trunks: [10, 20]` for a trunk, or both for a trunk with a native VLAN";

impl Vlan {
    /// The data of an end that says something of VLANs.
    pub const KEYS: [&str; 2] = [VLAN, TRUNKS];

    /// What an end at a bridge of Open vSwitch says of its port.
    pub(crate) fn read(vars: &Vars) -> Result<Self, NoVlan> {
        if let Some(key) = vars.keys().find(|key| OTHERS.contains(&key.to_ascii_lowercase().as_str())) {
            let why = format!("`{key}` says nothing of a port of Open vSwitch");
            return Err(NoVlan { key: key.clone(), why, help: HELP });
        }
        let native = vars.get(VLAN).map(|value| number(VLAN, value)).transpose()?;
        let Some(trunks) = vars.get(TRUNKS) else { return Ok(native.map_or(Self::Any, Self::Access)) };
        let wrong =
            |why: String| NoVlan { key: TRUNKS.to_owned(), why, help: "write a list of VLANs: `trunks: [10, 20]`" };
        match trunks {
            Value::Array(all) if all.is_empty() => Err(wrong("`trunks` has no VLAN".to_owned())),
            Value::Array(all) => {
                let tags = all.iter().map(|value| number(TRUNKS, value)).collect::<Result<_, NoVlan>>()?;
                Ok(Self::Trunk { native, tags })
            }
            other => Err(wrong(format!("`trunks` is {other}, and that is no list"))),
        }
    }

    /// Whether data at an end says something of VLANs.
    pub(crate) fn is_meant(vars: &Vars) -> bool {
        Self::KEYS.iter().any(|key| vars.contains_key(*key))
    }

    /// How a port is set so that this passes; `None` as long as its link has no tag that it needs.
    pub fn on_port(&self, allotted: Option<u16>) -> Option<PortVlan> {
        let plain = |tag| PortVlan { tag, ..PortVlan::default() };
        Some(match self {
            Self::Allotted => plain(Some(allotted?)),
            Self::Any => plain(None),
            Self::Access(vlan) => plain(Some(*vlan)),
            Self::Trunk { native, tags } => PortVlan { tag: *native, trunks: tags.clone(), is_odd: false },
        })
    }
}

impl PortVlan {
    /// The data at the end of a link that has a port set like this.
    pub fn vars(&self) -> Vars {
        let tag = self.tag.map(|tag| (VLAN.to_owned(), Value::from(tag)));
        let trunks: Vec<Value> = self.trunks.iter().copied().map(Value::from).collect();
        tag.into_iter().chain((!trunks.is_empty()).then(|| (TRUNKS.to_owned(), Value::from(trunks)))).collect()
    }
}

/// IEEE 802.1Q: 0 is no VLAN, and 4095 is reserved.
fn number(key: &str, value: &Value) -> Result<u16, NoVlan> {
    let vlan = value.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|vlan| (1..=4094).contains(vlan));
    let wrong = || NoVlan {
        key: key.to_owned(),
        why: format!("`{key}` has {value}, and that is no VLAN"),
        help: "a VLAN is a number from 1 to 4094, without quotes",
    };
    vlan.ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(vars: Value) -> Result<Vlan, NoVlan> {
        Vlan::read(&serde_json::from_value(vars).unwrap())
    }

    #[test]
    fn a_port_is_what_the_data_of_its_end_says_and_all_other_data_is_free() {
        let trunk = |native, tags: &[u16]| Vlan::Trunk { native, tags: tags.iter().copied().collect() };
        for (vars, vlan) in [
            (json!({}), Vlan::Any),
            (json!({ "cost": 10, "role": "core" }), Vlan::Any),
            (json!({ "vlan": 10 }), Vlan::Access(10)),
            (json!({ "vlan": 4094, "cost": 1 }), Vlan::Access(4094)),
            (json!({ "trunks": [20, 10, 20] }), trunk(None, &[10, 20])),
            (json!({ "vlan": 10, "trunks": [20] }), trunk(Some(10), &[20])),
        ] {
            assert_eq!(read(vars.clone()), Ok(vlan), "{vars}");
        }
    }

    #[test]
    fn what_a_port_is_set_to_reads_back_as_the_data_that_says_so() {
        for vars in
            [json!({}), json!({ "vlan": 10 }), json!({ "trunks": [20, 10, 20] }), json!({ "vlan": 1, "trunks": [2] })]
        {
            let vlan = read(vars).unwrap();
            let back = vlan.on_port(None).unwrap().vars();
            assert_eq!(Vlan::read(&back), Ok(vlan), "{back:?}");
        }
    }

    #[test]
    fn what_is_no_vlan_is_said_with_its_key_and_what_to_write() {
        for (vars, key, why) in [
            (json!({ "vlan": 0 }), "vlan", "`vlan` has 0,"),
            (json!({ "vlan": 4095 }), "vlan", "`vlan` has 4095,"),
            (json!({ "vlan": -1 }), "vlan", "`vlan` has -1,"),
            (json!({ "vlan": "10" }), "vlan", "`vlan` has \"10\","),
            (json!({ "vlan": [10] }), "vlan", "`vlan` has [10],"),
            (json!({ "vlan": null }), "vlan", "`vlan` has null,"),
            (json!({ "trunks": 10 }), "trunks", "`trunks` is 10,"),
            (json!({ "trunks": [] }), "trunks", "has no VLAN"),
            (json!({ "trunks": [10, 5000] }), "trunks", "`trunks` has 5000,"),
            (json!({ "Tag": 10 }), "Tag", "`Tag` says nothing"),
            (json!({ "vlans": [10] }), "vlans", "`vlans` says nothing"),
        ] {
            let wrong = read(vars.clone()).unwrap_err();
            assert_eq!(wrong.key, key, "{vars}");
            assert!(wrong.why.contains(why) && !wrong.help.is_empty(), "{vars}: {wrong:?}");
        }
    }
}
