//! What is known of the devices that controllers of the agent contract run in containers: by the kind that they name, and by the
//! image, since one device comes under two kinds.

use std::collections::BTreeMap;
use std::path::Path;

/// A device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vendor {
    /// The kinds that mean it.
    kinds: &'static [&'static str],
    /// What the name of an image of it has in it, where the kind does not tell.
    images: &'static [&'static str],
    /// The image of a node that names none; one has to be named if there is none.
    pub(crate) image: Option<&'static str>,
    /// Whether it has an interface for management, `eth0`.
    pub(crate) managed: bool,
    /// Capabilities beside those that Docker gives.
    pub(crate) capabilities: &'static [&'static str],
    /// Whether it may do everything.
    pub(crate) privileged: bool,
    pub(crate) sysctls: &'static [(&'static str, &'static str)],
    pub(crate) env: &'static [(&'static str, &'static str)],
    /// What it runs, where that is not the image's own affair.
    pub(crate) entrypoint: &'static [&'static str],
    cmd: &'static [&'static str],
    /// Whether it looks for its interfaces only once, as it starts.
    pub(crate) interfaces_first: bool,
    /// Directories of the host that it sees under the same path and cannot change, as far as they are there.
    pub(crate) sees: &'static [&'static str],
    /// Directories in it that outlive its containers, each by the name of the one that is behind it.
    pub(crate) keeps: &'static [(&'static str, &'static str)],
    /// The pattern in its output that says that it is ready, if one does.
    pub(crate) ready: Option<&'static str>,
    /// How long a controller waits for that, in seconds.
    pub(crate) ready_within: u32,
    /// The command that shows its configuration.
    pub(crate) shows: Option<&'static [&'static str]>,
    /// Where it reads the configuration that it begins with, which is as it is shown.
    pub(crate) reads: Option<&'static str>,
    /// What it begins with where nobody says anything else and nothing was saved: without it, nobody could log in.
    pub(crate) begins: Option<fn(&str) -> String>,
    /// The commands that are run in it once after each boot, as soon as it is ready.
    pub(crate) after_boot: &'static [&'static [&'static str]],
}

const SYSTEMD: &str = "/sbin/init";

const PLAIN: Vendor = Vendor {
    kinds: &["linux"],
    images: &[],
    image: Some("alpine:latest"),
    managed: false,
    // Who is at its console gives it addresses.
    capabilities: &["NET_ADMIN"],
    privileged: false,
    sysctls: &[],
    env: &[],
    entrypoint: &[],
    cmd: &[],
    interfaces_first: false,
    sees: &[],
    keeps: &[],
    ready: None,
    ready_within: 120,
    shows: None,
    reads: None,
    begins: None,
    after_boot: &[],
};
const FORWARDS: &[(&str, &str)] = &[("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.forwarding", "1")];
const OPEN: &[(&str, &str)] = &[
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
];
const ROUTER: &[&str] = &["NET_ADMIN", "SYS_ADMIN"];
const SWITCH: &[&str] = &["NET_ADMIN", "SYS_ADMIN", "NET_RAW"];
const EOS_SYSCTLS: &[(&str, &str)] = &[
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.all.autoconf", "0"),
];

/// A user who may do everything, without a password.
fn eos_begins(hostname: &str) -> String {
    format!(
        "hostname {hostname}\n!\nno aaa root\n!\nusername admin privilege 15 role network-admin nopassword\n!\nend\n"
    )
}

/// It boots with a rule for each data port that drops what is forwarded, and takes a port that flaps for broken, as it does when
/// the controller passes the carrier of the other end on. `link-change` is what the cause is called since 4.2x; where it is not
/// known, the port comes back by itself.
const EOS_AFTER_BOOT: &[&[&str]] = &[
    &[
        "sh",
        "-c",
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do iptables -w 5 -D EOS_FORWARD -i eth$i -j DROP 2>/dev/null; done; true",
    ],
    &[
        "FastCli",
        "-p",
        "15",
        "-c",
        "configure\nno errdisable detect cause link-change\nerrdisable recovery cause link-flap\n\
         errdisable recovery interval 30\nend",
    ],
];

const VENDORS: [Vendor; 12] = [
    Vendor {
        kinds: &["frr"],
        images: &["frr"],
        image: Some("quay.io/frrouting/frr:latest"),
        capabilities: ROUTER,
        privileged: true,
        sysctls: FORWARDS,
        shows: Some(&["vtysh", "-c", "show running-config"]),
        reads: Some("/etc/frr/frr.conf"),
        ..PLAIN
    },
    Vendor {
        kinds: &["vyos"],
        image: Some("vyos/vyos:1.4-rolling"),
        capabilities: ROUTER,
        privileged: true,
        sysctls: FORWARDS,
        interfaces_first: true,
        shows: Some(&["/opt/vyatta/bin/vyatta-op-cmd-wrapper", "show", "configuration", "commands"]),
        ..PLAIN
    },
    // Its own command ends at once: it has no configuration yet.
    Vendor {
        kinds: &["haproxy"],
        images: &["haproxy"],
        image: Some("haproxy:latest"),
        cmd: &["sleep", "infinity"],
        ..PLAIN
    },
    Vendor { kinds: &["alpine"], image: None, ready: Some("Welcome to Alpine Linux"), ..PLAIN },
    Vendor { kinds: &["cvx"], image: Some("networkop/cx:5.4.0"), ..PLAIN },
    Vendor {
        kinds: &["nokia_srlinux"],
        images: &["srlinux"],
        image: Some("ghcr.io/nokia/srlinux:latest"),
        managed: true,
        capabilities: SWITCH,
        privileged: true,
        sysctls: OPEN,
        env: &[("SRLINUX", "1")],
        ready: Some("System is ready|SR Linux.*started|mgmt0.*up"),
        shows: Some(&["sr_cli", "-d", "info flat"]),
        ..PLAIN
    },
    Vendor {
        kinds: &["ceos", "eos", "arista_eos", "arista_ceos"],
        images: &["ceos"],
        image: Some("ceos:latest"),
        managed: true,
        capabilities: SWITCH,
        privileged: true,
        sysctls: EOS_SYSCTLS,
        env: &[
            ("CEOS", "1"),
            ("EOS_PLATFORM", "ceoslab"),
            ("container", "docker"),
            ("ETBA", "1"),
            ("SKIP_ZEROTOUCH_BARRIER_IN_SYSDBINIT", "1"),
            ("INTFTYPE", "eth"),
            ("MGMT_INTF", "eth0"),
            ("CEOS_NOZEROTOUCH", "1"),
        ],
        // An image that was imported from its root file system has no command of its own.
        entrypoint: &[SYSTEMD],
        cmd: &[],
        interfaces_first: true,
        sees: &["/lib/modules"],
        keeps: &[("flash", "/mnt/flash")],
        ready: Some(
            "%SYS-5-CONFIG_I|%SYS-5-SYSTEM_INITIALIZED|%SYS-5-SYSTEM_RESTARTED|%ZTP-6-CANCEL|Startup complete|System ready",
        ),
        ready_within: 300,
        shows: Some(&["FastCli", "-p", "15", "-c", "show running-config"]),
        reads: Some("/mnt/flash/startup-config"),
        begins: Some(eos_begins),
        after_boot: EOS_AFTER_BOOT,
    },
    Vendor { kinds: &["juniper_crpd"], images: &["crpd"], image: Some("crpd:latest"), ..PLAIN },
    Vendor {
        kinds: &["juniper_cjunos", "cjunos", "cjunosevolved", "cjunos-evolved", "cjunos_evolved"],
        images: &["cjunos"],
        image: Some("cjunosevolved:latest"),
        capabilities: SWITCH,
        privileged: true,
        sysctls: &[("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.disable_ipv6", "0")],
        env: &[("CPTX_COSIM", "BT|BX"), ("CLAB_LABEL_CLAB_NODE_KIND", "juniper_cjunos")],
        ready: Some("EVO FLAVORS|login:"),
        ready_within: 600,
        interfaces_first: true,
        keeps: &[("configdisk", "/home/evo/configdisk")],
        // It is a virtual machine in the container, which has the key of it.
        shows: Some(&[
            "ssh",
            "-o",
            "StrictHostKeyChecking=no",
            "-i",
            "/root/.ssh/sshkey",
            "root@176.1.1.1",
            "cli -c 'show configuration'",
        ]),
        reads: Some("/home/evo/configdisk/juniper.conf"),
        ..PLAIN
    },
    Vendor {
        kinds: &["cisco_xrd"],
        images: &["xrd"],
        image: Some("ios-xrd:latest"),
        managed: true,
        interfaces_first: true,
        ..PLAIN
    },
    Vendor {
        kinds: &["iol-xe", "iol", "iol-l2", "iol-xe-serial-4eth", "ioll2-xe"],
        image: None,
        env: &[("IOL_PID", "1")],
        interfaces_first: true,
        keeps: &[("iol-data", "/iol/data")],
        reads: Some("/iol/configs/startup-config"),
        ready: Some("Press RETURN to get started!"),
        ..PLAIN
    },
    PLAIN,
];

/// Those directories of this host that devices see which are there. Looked for once, before anything is served: a disk may hang.
#[derive(Debug)]
pub(crate) struct Seen(Vec<&'static str>);

impl Seen {
    pub(crate) fn look() -> Self {
        let all = VENDORS.iter().flat_map(|vendor| vendor.sees).copied();
        Self(all.filter(|path| Path::new(path).is_dir()).collect())
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains(&path)
    }
}

impl Vendor {
    /// The device that a kind and an image mean: one that the kind names, unless that is the plain one and the image says more.
    pub(crate) fn of(kind: &str, image: Option<&str>) -> Self {
        let kind = kind.to_ascii_lowercase();
        let named = VENDORS.into_iter().find(|vendor| vendor.kinds.contains(&kind.as_str()));
        match named {
            Some(vendor) if vendor.kinds != PLAIN.kinds => vendor,
            _ => image.and_then(Self::of_image).unwrap_or(PLAIN),
        }
    }

    fn of_image(image: &str) -> Option<Self> {
        let name = image.rsplit('/').next()?.split([':', '@']).next()?.to_ascii_lowercase();
        VENDORS.into_iter().find(|vendor| vendor.images.iter().any(|word| name.contains(word)))
    }

    /// What follows its entrypoint. What systemd starts does not inherit the environment of the container, so it is told that too.
    pub(crate) fn command(&self) -> Vec<String> {
        let inherited = self.env.iter().filter(|_| self.entrypoint == [SYSTEMD]);
        let told = inherited.map(|(name, value)| format!("systemd.setenv={name}={value}"));
        self.cmd.iter().map(|word| (*word).to_owned()).chain(told).collect()
    }

    /// The environment of a node: what it says itself goes before what its device says.
    pub(crate) fn env_with(&self, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let all = self.env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        all.chain(own.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Vendor;

    #[test]
    fn a_router_is_one_whether_its_kind_says_so_or_its_image() {
        let frr = Vendor::of("frr", None);
        assert!(frr.privileged && frr.shows.is_some());
        assert_eq!(Vendor::of("linux", Some("quay.io/frrouting/frr:latest")).kinds, frr.kinds);
        assert_eq!(
            Vendor::of("linux", Some("quay.io/frrouting/other:latest")).kinds,
            Vendor::of("anything", None).kinds
        );
        let ceos = Vendor::of("ceos", None).command();
        assert_eq!((ceos.len(), ceos[1].as_str()), (8, "systemd.setenv=EOS_PLATFORM=ceoslab"));
        assert_eq!(Vendor::of("EOS", Some("frr:8")).kinds, Vendor::of("ceos", None).kinds);
    }
}
