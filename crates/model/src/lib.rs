//! Labs as values: names, nodes, links and the topology files that people write.
//!
//! Pure: no file is read, no daemon asked. [`Lab`] is the validated form that everything else works on.

mod check;
mod circle;
mod console;
mod duration;
mod idle;
mod interface;
mod kind;
mod lab;
mod name;
mod subnet;
mod text_order;
pub mod topology;

pub use console::{ConsoleShell, KIND_LABEL};
pub use duration::GoDuration;
pub use interface::Interface;
pub use kind::{Device, DeviceConfig, Lacking, Needs, Readiness, Shape};
pub use lab::{
    Access, AccessPort, Attachment, Bind, Blank, Certificate, CertificateAuthority, CgroupNamespace, Component, Config,
    Container, Credentials, Dns, Document, End, Endpoint, ExecPhase, ExecTarget, Extras, FabricKind, Family,
    Healthcheck, Home, InnerBridge, K8sDeploy, Lab, LabParts, Link, LinkApplyMode, LinkId, LinkKind, Macvlan,
    MacvlanMode, Management, ManagementDriver, Mda, NamespaceComes, NetworkMode, Node, NodeAddresses, NodeManagement,
    OnNetwork, PidMode, PortMapping, PortRange, PortVlan, Prefix, Privilege, Protocol, PullPolicy, Rare, RestartPolicy,
    RuntimeKind, Seam, Settings, Stage, StageExec, StageRule, Stages, Stitch, SwitchPort, Switched, UnknownNodes, Vars,
    Violation, Violations, Vlan, Volume, VolumeContent, Vxlan, WaitFor, Xiom, controlled_container, derived_mac,
    external_name, hex, link_name, tunnel_name,
};
pub use name::{InterfaceName, Invalid, Ipv4Net, Ipv6Net, Kind, LabName, Mac, Mtu, NAME_MAX, NodeName};
