//! Values that containers have: volumes, ports, capabilities, name resolution.

use std::net::IpAddr;

use crate::check::clean_path;
use crate::lab::{Access, CgroupNamespace, Dns, PidMode, PortMapping, Privilege, PullPolicy, Volume, VolumeContent};

use super::super::diagnostic::{Code, Path, cut};
use super::super::reader::{Cx, Read, Table, Targeted, optional};
use super::super::tree::{Data, Value};

impl Read for PullPolicy {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let choices = [("IfNotPresent", Self::IfNotPresent), ("Always", Self::Always), ("Never", Self::Never)];
        cx.lenient_choice(value, at, &choices)
    }
}

impl Read for Privilege {
    fn is_unset(_text: &str) -> bool {
        false
    }

    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        Some(if bool::read(value, at, cx)? { Self::Full } else { Self::Confined })
    }
}

impl Read for CgroupNamespace {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        cx.choice(value, at, &[("host", Self::Host), ("private", Self::Private)], &[])
    }
}

impl Read for PidMode {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        if let Some(other) = cx.text(value, at)?.strip_prefix("container:") {
            return container_name(other, value, at, cx).map(Self::Container);
        }
        let kind = cx.choice(value, at, &[("host", ()), ("container:NODE", ())], &[]);
        kind.map(|()| Self::Host)
    }
}

/// The name behind `container:`.
pub(super) fn container_name(name: &str, value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.|".contains(c);
    if name.is_empty() || !name.chars().all(good) {
        let message = format!("`container:{}` does not name a container", cut(name));
        cx.invalid(value, at, message, "write `container:` and the name of a node or of a container");
        return None;
    }
    Some(name.to_owned())
}

impl Read for PortMapping {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        const HELP: &str = "write `host:node`, for example `8080:80`, `127.0.0.1:8080:80/tcp` or `8000-8005:80-85/udp`";
        if let Data::Map(_) = value.data {
            cx.report
                .error(Code::WrongType, value.span, at, "a port is one text, and this is a map")
                .help("write for example `8080:80`, without a space behind the colon");
            return None;
        }
        match cx.text(value, at)?.parse() {
            Ok(port) => Some(port),
            Err(error) => {
                let error: crate::name::Invalid = error;
                cx.invalid(value, at, error.to_string(), HELP);
                None
            }
        }
    }
}

/// A volume whose target only one can have; its name may hold placeholders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct VolumeSpec(pub(in super::super) Volume);

impl Targeted for VolumeSpec {
    fn target(&self) -> &str {
        &self.0.target
    }
}

impl Read for VolumeSpec {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        const FORM: &str = "write `target`, `name:target` or `name:target:ro`";
        let text = cx.text(value, at)?;
        let mut parts = text.splitn(3, ':');
        let (first, second, options) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let (name, target) = second.map_or((None, first), |target| (Some(first), target));
        if name.is_some_and(|name| name.starts_with(['/', '.', '~'])) {
            let message = format!("`{}` is a path of the host, not the name of a volume", cut(first));
            cx.invalid(value, at, message, "files and directories of the host belong under `binds`");
            return None;
        }
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_some_and(|name| name.is_empty() || !name.chars().all(good)) {
            cx.invalid(value, at, format!("`{}` cannot be the name of a volume", cut(first)), FORM);
            return None;
        }
        let clean = clean_path(target);
        if !target.starts_with('/') || clean == "/" || target.contains('\0') {
            let message = format!("volume target `{}` must be an absolute path below `/`", cut(target));
            cx.invalid(value, at, message, FORM);
            return None;
        }
        let (mut access, mut content) = (Access::ReadWrite, VolumeContent::Image);
        for option in options.iter().flat_map(|options| options.split(',')) {
            match option {
                "rw" => access = Access::ReadWrite,
                "ro" => access = Access::ReadOnly,
                "nocopy" | "volume-nocopy" => content = VolumeContent::Empty,
                _ => {
                    let nearest = cx.report.nearest(option, ["ro", "rw", "nocopy", "volume-nocopy"].into_iter());
                    cx.report
                        .error(Code::InvalidValue, value.span, at, format!("a volume has no option `{}`", cut(option)))
                        .help("possible: `ro`, `rw`, `nocopy` or `volume-nocopy`")
                        .suggest(nearest);
                    return None;
                }
            }
        }
        Some(Self(Volume { name: name.map(str::to_owned), target: clean, access, content }))
    }
}

/// A device of the host, as Docker writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Device(pub(in super::super) String);

impl Read for Device {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        const FORM: &str =
            "write for example `/dev/kvm`, `/dev/sda:/dev/xvda:rwm` or a CDI name such as `vendor.com/gpu=0`";
        let text = cx.text(value, at)?;
        let parts: Vec<&str> = text.split(':').collect();
        let path = |part: &&str| part.starts_with('/') && !part.contains('\0');
        let permissions = |part: &&str| !part.is_empty() && part.chars().all(|c| "rwm".contains(c));
        let good = match parts.as_slice() {
            [name] if !name.starts_with('/') => name.contains('/') && name.contains('='),
            [source] => path(source),
            [source, target] => path(source) && (path(target) || permissions(target)),
            [source, target, rights] => path(source) && path(target) && permissions(rights),
            _ => false,
        };
        if !good {
            cx.invalid(value, at, format!("`{}` is not a device", cut(text)), FORM);
            return None;
        }
        Some(Self(text.to_owned()))
    }
}

/// A capability, without `CAP_` and in capitals.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Capability(pub(in super::super) String);

/// All that Linux 6.x has (linux/capability.h), and Docker's word for all of them.
const CAPABILITIES: [&str; 42] = [
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

impl Read for Capability {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if CAPABILITIES.contains(&name) {
            return Some(Self(name.to_owned()));
        }
        let nearest = cx.report.nearest(name, CAPABILITIES.into_iter());
        cx.report
            .error(Code::InvalidValue, value.span, at, format!("there is no capability `{}`", cut(text)))
            .help("capabilities(7) lists them, for example `NET_ADMIN`")
            .suggest(nearest);
        None
    }
}

/// Processors in the list format of cpuset(7).
#[derive(Debug, Clone)]
pub(in super::super) struct CpuSet(pub(in super::super) String);

impl Read for CpuSet {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let part = |part: &str| {
            let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
            number(first).zip(number(last)).is_some_and(|(first, last)| first <= last)
        };
        if text.split(',').all(part) {
            return Some(Self(text.replace(' ', "")));
        }
        let message = format!("`{}` is not a set of processors", cut(text));
        cx.invalid(value, at, message, "write numbers and ranges, such as `0-3,6`");
        None
    }
}

/// An amount of shared memory in bytes.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct ShmBytes(pub(in super::super) u64);

impl Read for ShmBytes {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        let bytes = super::memory_bytes(text).filter(|bytes| *bytes > 0).map(Self);
        if bytes.is_none() {
            let message = format!("`{}` is not an amount of memory", cut(text));
            cx.invalid(value, at, message, "write for example `256MB` (1 KB is 1000 bytes, 1 KiB 1024)");
        }
        bytes
    }
}

impl Read for IpAddr {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        let address = text.parse().ok();
        if address.is_none() {
            let message = format!("`{}` is not an address", cut(text));
            cx.invalid(value, at, message, "write an address without a prefix length, such as `9.9.9.9`");
        }
        address
    }
}

impl Read for Dns {
    fn is_unset(_text: &str) -> bool {
        false
    }

    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        const DNS: Table = Table { what: "`dns`", acted: &["servers", "search", "options"], later: &[] };
        let entries = cx.fields(value, at, &DNS)?;
        Some(Self {
            servers: optional(entries, "servers", at, cx).unwrap_or_default(),
            search: optional(entries, "search", at, cx).unwrap_or_default(),
            options: optional(entries, "options", at, cx).unwrap_or_default(),
        })
    }
}
