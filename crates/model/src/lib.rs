//! Labs as values: names, nodes, links and the topology files that people write.
//!
//! Pure: no file is read, no daemon asked. [`Lab`] is the validated form that everything else works on.

mod check;
mod idle;
mod lab;
mod name;
pub mod topology;

pub use lab::{
    Access, Bind, End, Endpoint, Interface, Lab, LabParts, Link, LinkId, NetworkMode, Node, NodeKind, Prefix,
    RestartPolicy, RuntimeKind, UnknownNodes, Violation, Violations, derived_mac, hex,
};
pub use name::{InterfaceName, Invalid, Ipv4Net, Ipv6Net, LabName, Mac, Mtu, NAME_MAX, NodeName};
