//! What a container of full privilege gets on this host.
//!
//! The format's default is `privileged`, which asks runc for every capability there is. A daemon that lacks one itself
//! (a root without `CAP_SYS_RESOURCE`) cannot give it, and runc refuses the container. There all but those are given, with
//! all system paths unmasked: a lab never fails for it.

use netloom_docker::HostConfig;

/// The names of capabilities by their number (linux/capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What "all" means here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Privileges {
    /// Everything.
    Whole,
    /// Everything but these capabilities, which the daemon has not.
    AllBut(Vec<String>),
}

impl Privileges {
    /// What a daemon can give whose process has this `/proc/<pid>/status`, on a kernel whose highest capability is `last`.
    pub(super) fn of(status: &str, last: u32) -> Self {
        let bounding =
            status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok());
        // Nothing known: as everywhere.
        let Some(bounding) = bounding else { return Self::Whole };
        let all = u64::MAX >> (63 - last.min(63));
        if bounding & all == all {
            return Self::Whole;
        }
        let lacks = |number: &usize| bounding & (1 << number) == 0;
        Self::AllBut((0..NAMES.len()).filter(lacks).map(|number| NAMES[number].to_owned()).collect())
    }

    /// Gives it to a container.
    pub(super) fn grant(&self, host: &mut HostConfig) {
        match self {
            Self::Whole => host.privileged = true,
            Self::AllBut(lacking) => {
                // Not one by one: which names a daemon knows depends on its version.
                host.cap_add = vec!["ALL".to_owned()];
                host.cap_drop.clone_from(lacking);
                host.masked_paths = Some(Vec::new());
                host.readonly_paths = Some(Vec::new());
                for option in ["seccomp=unconfined", "apparmor=unconfined", "label=disable"] {
                    let kind = option.split('=').next().unwrap_or(option);
                    if !host.security_opt.iter().any(|given| given.starts_with(kind)) {
                        host.security_opt.push(option.to_owned());
                    }
                }
                host.device_cgroup_rules.push("a *:* rwm".to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_lacks_is_not_asked_for() {
        assert_eq!(Privileges::of("Name:\tdockerd\nCapBnd:\t000001ffffffffff\n", 40), Privileges::Whole);
        let some = Privileges::of("CapBnd:\t000001fffeffffff\n", 40);
        assert_eq!(some, Privileges::AllBut(vec!["SYS_RESOURCE".to_owned()]));
        let mut host = HostConfig { security_opt: vec!["seccomp=mine.json".into()], ..HostConfig::default() };
        some.grant(&mut host);
        assert_eq!(host.security_opt, ["seccomp=mine.json", "apparmor=unconfined", "label=disable"]);
        assert_eq!((host.cap_add[0].as_str(), host.cap_drop[0].as_str()), ("ALL", "SYS_RESOURCE"));
        assert!(!host.privileged && host.masked_paths == Some(Vec::new()));
    }

    #[test]
    fn of_a_daemon_that_nothing_is_known_of_everything_is_asked() {
        assert_eq!(Privileges::of("", 40), Privileges::Whole);
    }
}
