//! What the agent tells the init of a node, on its standard input: `key NUL value NUL …`.
//!
//! This file is a module of two programs, the init and the agent's driver, so that they cannot disagree; it uses
//! nothing but `std`. Any text but NUL can be a value, so nothing needs quoting.

/// Name of the file in the run directory that the init writes its state to, as JSON, whole each time.
pub const STATUS_FILE: &str = "status.json";
/// Name of the file with the newest output of the node.
pub const LOG_FILE: &str = "log";
/// Name of the file with the output before that.
pub const LOG_FILE_BEFORE: &str = "log.1";
/// Size in bytes at which [`LOG_FILE`] becomes [`LOG_FILE_BEFORE`].
pub const LOG_SEGMENT: u64 = 512 * 1024;

/// A file or directory of the host that is seen in the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindSpec {
    /// Absolute path on the host.
    pub source: String,
    /// Absolute path in the node.
    pub target: String,
    /// Whether the node may not write to it.
    pub read_only: bool,
}

/// Everything that an init has to know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeSpec {
    /// Directory with `upper` and `work`, on a file system that overlay can write to; what the node writes is there.
    pub layer: String,
    /// The host name of the node.
    pub hostname: String,
    /// File of the host that is the node's `/etc/hosts`; empty: the host's own.
    pub hosts: String,
    /// Directories that are seen empty and read-only, absolute paths.
    pub masks: Vec<String>,
    /// Files and directories of the host, in the order in which they are to be mounted.
    pub binds: Vec<BindSpec>,
    /// Sysctls as `dotted.name=value`, in the order in which they are to be set.
    pub sysctls: Vec<String>,
    /// `cgroup.procs` files of the host that the node's processes join.
    pub cgroups: Vec<String>,
    /// Environment as `NAME=value`.
    pub env: Vec<String>,
    /// `user[:group]` that the command runs as; empty: root.
    pub user: String,
    /// What runs; empty: nothing, the init only is there.
    pub argv: Vec<String>,
}

impl NodeSpec {
    /// The bytes that say this.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        let mut put = |key: &str, value: &str| {
            out.extend_from_slice(key.as_bytes());
            out.push(0);
            // A NUL cannot be in a path, an argument or an environment; what has one ends there.
            out.extend(value.bytes().take_while(|byte| *byte != 0));
            out.push(0);
        };
        put("layer", &self.layer);
        put("hostname", &self.hostname);
        put("hosts", &self.hosts);
        put("user", &self.user);
        for bind in &self.binds {
            put(if bind.read_only { "bind-ro" } else { "bind-rw" }, &bind.source);
            put("bind-target", &bind.target);
        }
        for (key, values) in [
            ("mask", &self.masks),
            ("sysctl", &self.sysctls),
            ("cgroup", &self.cgroups),
            ("env", &self.env),
            ("argv", &self.argv),
        ] {
            for value in values {
                put(key, value);
            }
        }
        out
    }

    /// The spec that some bytes say; the error names what cannot be understood.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| format!("the spec is not text: {error}"))?;
        let mut spec = Self::default();
        let mut words = text.split_terminator('\0');
        while let Some(key) = words.next() {
            let value = words.next().ok_or_else(|| format!("the spec ends after `{key}`"))?.to_owned();
            match key {
                "layer" => spec.layer = value,
                "hostname" => spec.hostname = value,
                "hosts" => spec.hosts = value,
                "user" => spec.user = value,
                "mask" => spec.masks.push(value),
                "sysctl" => spec.sysctls.push(value),
                "cgroup" => spec.cgroups.push(value),
                "env" => spec.env.push(value),
                "argv" => spec.argv.push(value),
                "bind-ro" | "bind-rw" => {
                    spec.binds.push(BindSpec { source: value, target: String::new(), read_only: key == "bind-ro" });
                }
                "bind-target" => {
                    spec.binds.last_mut().ok_or("the spec has a target without a bind")?.target = value;
                }
                unknown => return Err(format!("the spec has the unknown key `{unknown}`")),
            }
        }
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_comes_back_as_it_was_written() {
        let spec = NodeSpec {
            layer: "/var/lib/x y".into(),
            hostname: "r1".into(),
            hosts: "/run/hosts".into(),
            masks: vec!["/a".into()],
            binds: vec![
                BindSpec { source: "/s".into(), target: "/t".into(), read_only: true },
                BindSpec { source: "/s2".into(), target: "/t2".into(), read_only: false },
            ],
            sysctls: vec!["net.ipv4.ip_forward=1".into()],
            cgroups: vec!["/sys/fs/cgroup/x/cgroup.procs".into()],
            env: vec!["A=line\nline".into(), "B=".into()],
            user: String::new(),
            argv: vec!["sh".into(), "-c".into(), String::new()],
        };
        assert_eq!(NodeSpec::decode(&spec.encode()).unwrap(), spec);
    }

    #[test]
    fn what_is_not_a_spec_is_refused_with_the_reason() {
        assert!(NodeSpec::decode(b"nonsense\0x\0").unwrap_err().contains("unknown key"));
        assert!(NodeSpec::decode(b"argv").unwrap_err().contains("ends after"));
        assert!(NodeSpec::decode(b"bind-target\0x\0").unwrap_err().contains("without a bind"));
    }
}
