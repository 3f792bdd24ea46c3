//! What a changed field means: live, restart or recreate. One table, and the hashes made from it.
//!
//! The fingerprint of the spec that was applied is kept on the object itself (a node's run directory, a
//! link's alias), so a plan needs no memory of what was applied before.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::str::FromStr;

use netloom_model::{Endpoint, Link, LinkKind, Node, RuntimeKind, Vlan};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What has to happen to a running node when a field of it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It is changed while the node runs on.
    Live,
    /// The node's processes are started again; its namespace, links and writable layer stay.
    Restart,
    /// The node is deleted and made again, its links with it.
    Recreate,
}

/// The decision table, as it is for namespace nodes. Every field that a node has on the wire is in it (a test says so). A field
/// of a part of a node is named with the part: `container.ports`.
pub const NODE_FIELDS: [(&str, Effect); 51] = [
    ("kind", Effect::Recreate),
    ("runtime", Effect::Recreate),
    ("image", Effect::Recreate),
    ("network_mode", Effect::Recreate),
    ("binds", Effect::Restart),
    ("cmd", Effect::Restart),
    ("entrypoint", Effect::Restart),
    ("env", Effect::Restart),
    ("exec", Effect::Restart),
    ("hostname", Effect::Restart),
    ("sysctls", Effect::Restart),
    ("user", Effect::Restart),
    ("cpu_millis", Effect::Live),
    ("device", Effect::Live),
    ("group", Effect::Live),
    ("labels", Effect::Live),
    ("memory_bytes", Effect::Live),
    ("restart_policy", Effect::Live),
    ("startup_delay", Effect::Live),
    // A container has these from its creation on.
    ("container.auto_remove", Effect::Recreate),
    ("container.capabilities", Effect::Recreate),
    ("container.cgroup_namespace", Effect::Recreate),
    ("container.cgroup_parent", Effect::Recreate),
    ("container.devices", Effect::Recreate),
    ("container.dns", Effect::Recreate),
    ("container.pid_mode", Effect::Recreate),
    ("container.ports", Effect::Recreate),
    ("container.privilege", Effect::Recreate),
    ("container.security_options", Effect::Recreate),
    ("container.shm_bytes", Effect::Recreate),
    ("container.tmpfs", Effect::Recreate),
    ("container.volumes", Effect::Recreate),
    ("healthcheck", Effect::Recreate),
    ("management.aliases", Effect::Recreate),
    ("management.ipv4", Effect::Recreate),
    ("management.ipv6", Effect::Recreate),
    // A device reads these at its first boot only, and saves over them.
    ("config.components", Effect::Recreate),
    ("config.extras", Effect::Recreate),
    ("config.startup", Effect::Recreate),
    ("type", Effect::Recreate),
    // Read at each boot.
    ("config.certificate", Effect::Restart),
    ("config.license", Effect::Restart),
    // A limit, as `cpu`.
    ("container.cpu_set", Effect::Live),
    // These count the next time that the node is made or started; the ones below are for those who look at it.
    ("config.enforce_startup", Effect::Live),
    ("config.suppress_startup", Effect::Live),
    ("container.pull_policy", Effect::Live),
    ("link_apply_mode", Effect::Live),
    ("stages", Effect::Live),
    ("config.credentials", Effect::Live),
    ("config.vars", Effect::Live),
    ("position", Effect::Live),
];

/// What is otherwise for a container. Docker can change limits and the restart policy of one that runs (`docker update`), and
/// nothing else of one that was ever made: not even its labels, which other tools read `group` from too.
const OF_CONTAINERS: [(&str, Effect); 10] = [
    ("binds", Effect::Recreate),
    ("cmd", Effect::Recreate),
    ("entrypoint", Effect::Recreate),
    ("env", Effect::Recreate),
    ("group", Effect::Recreate),
    ("hostname", Effect::Recreate),
    ("labels", Effect::Recreate),
    ("sysctls", Effect::Recreate),
    ("user", Effect::Recreate),
    // What was run stays run; the next start runs them as they are then.
    ("exec", Effect::Live),
];

/// What a change of a field means for a node on this runtime; `None` for a field that no node has.
pub fn effect(field: &str, runtime: Option<RuntimeKind>) -> Option<Effect> {
    let of_container = OF_CONTAINERS.iter().filter(|_| runtime == Some(RuntimeKind::Docker));
    of_container.chain(&NODE_FIELDS).find(|(name, _)| *name == field).map(|(_, effect)| *effect)
}

/// The parts of a node whose fields are in the table one by one.
const PARTS: [&str; 3] = ["config", "container", "management"];

/// A hash of a part of a spec; written as 8 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Print(u32);

impl Print {
    pub(crate) fn of(text: &str) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        Self(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
    }
}

impl fmt::Display for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl From<&str> for Print {
    /// What was written by another version is only known to be different.
    fn from(text: &str) -> Self {
        let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u32::from_str_radix(text, 16).ok().filter(|_| digits);
        number.map_or_else(|| Self::of(text), Self)
    }
}

/// The hashes of a node's spec, one per [`Effect`]; written `recreate.restart.live`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeFingerprint {
    /// Hash of the fields whose change means [`Effect::Recreate`].
    pub recreate: Print,
    /// Hash of the fields whose change means [`Effect::Restart`].
    pub restart: Print,
    /// Hash of the fields whose change means [`Effect::Live`].
    pub live: Print,
}

impl NodeFingerprint {
    /// The fingerprint of a node. `rebuild` counts the rebuilds that were asked for: each makes everything new;
    /// `restarts` the restarts of this node. None asked for gives the hash of the fields alone.
    ///
    /// # Panics
    /// Never: a node is a map of plain values and always serialises.
    pub fn of(node: &Node, rebuild: u64, restarts: u64) -> Self {
        let value = serde_json::to_value(node).expect("a node is a map of plain values");
        let fields = value.as_object().expect("a node serialises as a map");
        let mut flat: BTreeMap<Cow<'_, str>, &Value> = BTreeMap::new();
        for (name, value) in fields {
            match value.as_object().filter(|_| PARTS.contains(&name.as_str())) {
                Some(part) => flat.extend(part.iter().map(|(field, value)| (format!("{name}.{field}").into(), value))),
                None => _ = flat.insert(name.into(), value),
            }
        }
        let hash = |effect: Effect| {
            let chosen: BTreeMap<&str, &Value> = flat
                .iter()
                .filter(|(name, _)| self::effect(name, node.runtime) == Some(effect))
                .map(|(name, value)| (name.as_ref(), *value))
                .collect();
            let text = serde_json::to_string(&chosen).expect("plain values serialise");
            let salt = match effect {
                Effect::Recreate => rebuild,
                Effect::Restart => restarts,
                Effect::Live => 0,
            };
            Print::of(&format!("{salt}{text}"))
        };
        Self { recreate: hash(Effect::Recreate), restart: hash(Effect::Restart), live: hash(Effect::Live) }
    }

    /// What the way from `self` (applied) to `wanted` takes; `None` when they are equal.
    pub fn change_to(&self, wanted: &Self) -> Option<Effect> {
        if self.recreate != wanted.recreate {
            Some(Effect::Recreate)
        } else if self.restart != wanted.restart {
            Some(Effect::Restart)
        } else if self.live != wanted.live {
            Some(Effect::Live)
        } else {
            None
        }
    }
}

/// The hashes of a link's spec: what it is, and what can be set on it while it is there. Written `identity.config`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkFingerprint {
    /// Ends, interfaces and MAC addresses: a change makes a new link.
    pub identity: Print,
    /// MTU, addresses and VLANs: a change is set live. The segment that an access port is in is none of it: the tag of the port
    /// says it, and to change that touches no interface.
    pub config: Print,
}

impl LinkFingerprint {
    /// The fingerprint of a link; `rebuild` as for [`NodeFingerprint::of`].
    pub fn of(link: &Link, rebuild: u64) -> Self {
        let mut identity = format!("{rebuild}");
        let mut config = format!("{}", link.mtu.bytes());
        for end in link.ends() {
            let _ = write!(identity, "|{:?}|{}|{}", end.at, end.interface, end.mac);
            let _ = write!(config, "|{:?}|{:?}", end.ipv4, end.ipv6);
            // What is free data elsewhere says at a bridge what its port lets pass.
            if let Endpoint::Bridge(_) = end.at {
                for (key, value) in end.vars.iter().filter(|(key, _)| Vlan::KEYS.contains(&key.as_str())) {
                    let _ = write!(config, "|{key}={}", in_order(value));
                }
            }
        }
        match &link.kind {
            // What its ends say all of is as it was before links had kinds.
            LinkKind::Plain | LinkKind::VethStitch => {}
            LinkKind::AccessPort(port) => {
                let _ = write!(identity, "|{:?}|{:?}", port.bridge, port.tunnel);
                if let Some(external) = &port.external {
                    let _ = write!(identity, "|{external:?}");
                }
            }
            // And what leaves the address of its tunnel here to the route is as it was before one could be named.
            kind => identity.extend(["|", &format!("{kind:?}").replace(", local: None", "")]),
        }
        Self { identity: Print::of(&identity), config: Print::of(&config) }
    }

    /// What a link is whose ends say this and that: configured as none is, if they differ in what it is configured as.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        if self.config == other.config { self.clone() } else { self.otherwise() }
    }

    /// What a link is that is configured as none is.
    #[must_use]
    pub fn otherwise(&self) -> Self {
        Self { config: Print::of("differs"), ..self.clone() }
    }
}

/// A list of VLANs as a port has it: sorted, each once.
fn in_order(value: &Value) -> Cow<'_, Value> {
    let Value::Array(all) = value else { return Cow::Borrowed(value) };
    let Some(numbers) = all.iter().map(Value::as_u64).collect::<Option<BTreeSet<u64>>>() else {
        return Cow::Borrowed(value);
    };
    Cow::Owned(numbers.into_iter().map(Value::from).collect())
}

/// A fingerprint that cannot be read; such an object counts as changed in every respect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a fingerprint")
    }
}

impl std::error::Error for Unreadable {}

macro_rules! dotted {
    ($name:ident { $($field:ident),+ }) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&[$(self.$field.to_string()),+].join("."))
            }
        }

        impl FromStr for $name {
            type Err = Unreadable;
            fn from_str(text: &str) -> Result<Self, Unreadable> {
                let mut parts = text.split('.');
                let parsed = Self { $($field: parts.next().ok_or(Unreadable)?.into()),+ };
                if parts.next().is_some() { Err(Unreadable) } else { Ok(parsed) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Unreadable;
            fn try_from(text: String) -> Result<Self, Unreadable> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(fingerprint: $name) -> String {
                fingerprint.to_string()
            }
        }
    };
}

dotted!(NodeFingerprint { recreate, restart, live });
dotted!(LinkFingerprint { identity, config });
