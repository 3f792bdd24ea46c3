//! The form and the meaning of every field of the format.

/// What a value looks like.
pub(super) enum Form {
    /// Whatever it is.
    Any,
    /// Any scalar: its text is what counts.
    Text,
    Number,
    Boolean,
    /// One of several words, in any case.
    Choice(&'static [&'static str]),
    LinkType,
    /// The name of a kind; more of them can be added on a host.
    Kind,
    List(&'static Form),
    /// A map with free keys.
    Map(&'static Form),
    /// A map with these fields and no others.
    Fields(&'static [Line]),
    Either(&'static [Form]),
    /// A part of the schema by its name.
    Defined(&'static str),
}

/// A field.
pub(super) struct Line {
    pub(super) key: &'static str,
    pub(super) form: Form,
    pub(super) says: &'static str,
}

const fn line(key: &'static str, form: Form, says: &'static str) -> Line {
    Line { key, form, says }
}

const TEXTS: Form = Form::List(&Form::Text);
const TEXT_BY_KEY: Form = Form::Map(&Form::Text);

pub(super) const FILE: &[Line] = &[
    line("name", Form::Text, "The lab's name: letters, digits, `-`, `.` and `_`, at most 63; `--name` overrides it."),
    line(
        "prefix",
        Form::Text,
        "What container names begin with. Absent: `clab-<lab>-<node>`; empty: the node's name alone; `__lab-name`: `<lab>-<node>`; other text: `<text>-<lab>-<node>`.",
    ),
    line("mgmt", Form::Fields(MGMT), "The network that nodes are managed over."),
    line("settings", Form::Fields(SETTINGS), "Settings of the whole lab."),
    line("debug", Form::Boolean, "Accepted for the tools that know it."),
];

const MGMT: &[Line] = &[
    line("network", Form::Text, "Name of the container network; `clab` unless given."),
    line("bridge", Form::Text, "Name of its Linux bridge."),
    line("driver", Form::Choice(&["bridge", "macvlan"]), "What it is made of; a bridge unless given."),
    line("macvlan-parent", Form::Text, "With `driver: macvlan`: the interface of the host below it."),
    line("macvlan-aux", Form::Text, "With `driver: macvlan`: the host's own address on it, with prefix length."),
    line("ipv4-subnet", Form::Text, "IPv4 subnet, or `auto`; `172.20.20.0/24` unless given."),
    line("ipv4-gw", Form::Text, "IPv4 address of the gateway."),
    line("ipv4-range", Form::Text, "The part of the IPv4 subnet that addresses are taken from."),
    line("ipv6-subnet", Form::Text, "IPv6 subnet, or `auto`; `3fff:172:20:20::/64` unless given."),
    line("ipv6-gw", Form::Text, "IPv6 address of the gateway."),
    line("ipv6-range", Form::Text, "The part of the IPv6 subnet that addresses are taken from."),
    line("ipv4_subnet", Form::Text, "Old spelling of `ipv4-subnet`."),
    line("ipv6_subnet", Form::Text, "Old spelling of `ipv6-subnet`."),
    line("driver", Form::Choice(&["bridge", "macvlan"]), "What the network is made of; `bridge` unless given."),
    line("macvlan-parent", Form::Text, "The interface of the host below a network of `driver: macvlan`."),
    line("macvlan-aux", Form::Text, "The host's own address on a network of `driver: macvlan`."),
    line("mtu", Form::Number, "MTU in bytes."),
    line("external-access", Form::Boolean, "Whether nodes reach networks outside of the host; true unless given."),
    line("skip-when-unused", Form::Boolean, "Do not make the network when no node is on it."),
    line("driver-opts", TEXT_BY_KEY, "Options of the container network's driver."),
];

const SETTINGS: &[Line] = &[
    line("certificate-authority", Form::Fields(AUTHORITY), "The authority that signs certificates of nodes."),
    line("fabric", Form::Any, "What links are made of."),
];

const AUTHORITY: &[Line] = &[
    line("cert", Form::Text, "Path of a certificate to sign with; a new one is made unless given."),
    line("key", Form::Text, "Path of its private key."),
    line("key-size", Form::Number, "Bits of the private key that is made."),
    line("validity-duration", Form::Text, "How long the certificate that is made is valid, for example `720h`."),
];

pub(super) const TOPOLOGY: &[Line] = &[
    line(
        "defaults",
        Form::Defined("node"),
        "Fields that all nodes have unless their kind, their group or they say otherwise.",
    ),
    line("kinds", Form::Map(&Form::Defined("node")), "Fields of all nodes of a kind; closer than `defaults`."),
    line("groups", Form::Map(&Form::Defined("node")), "Fields of all nodes of a group; closer than `kinds`."),
    line("nodes", Form::Map(&Form::Defined("node")), "The nodes by name."),
    line("links", Form::List(&Form::Defined("link")), "The links between interfaces of nodes."),
];

pub(super) const NODE: &[Line] = &[
    line(
        "kind",
        Form::Kind,
        "What the node is, for example `linux`, `bridge` or the name of a network operating system.",
    ),
    line(
        "runtime",
        Form::Choice(&["namespace", "docker", "podman", "libvirt", "ignite"]),
        "What the node runs on; `namespace` needs no image.",
    ),
    line("group", Form::Text, "The group that it takes fields from; one that is not under `groups` is only a label."),
    line("type", Form::Text, "The variant of the kind, for example the model of a router."),
    line("position", Form::Text, "Accepted for the tools that draw with it."),
    line("image", Form::Text, "The image that it is made of, for example `alpine:3`."),
    line("image-pull-policy", Form::Choice(&["Always", "Never", "IfNotPresent"]), "When the image is fetched."),
    line("license", Form::Text, "Path, URL or text of a licence file."),
    line(
        "startup-config",
        Form::Text,
        "Path, URL or, with a line break in it, text of the configuration that the node starts with.",
    ),
    line(
        "enforce-startup-config",
        Form::Boolean,
        "Start with `startup-config` also when the node has saved another one.",
    ),
    line("suppress-startup-config", Form::Boolean, "Start without any configuration."),
    line("startup-delay", Form::Number, "Seconds to wait before the node is started."),
    line("auto-remove", Form::Boolean, "Remove the container when it ends."),
    line(
        "restart-policy",
        Form::Choice(&["no", "always", "on-failure", "unless-stopped"]),
        "What happens when the main process ends.",
    ),
    line("hostname", Form::Text, "The host name; the node's name unless given."),
    line("entrypoint", Form::Text, "Words that come before `cmd`, split as a shell does."),
    line("cmd", Form::Text, "The main process and its arguments, split as a shell does."),
    line("user", Form::Text, "`user` or `user:group` that the main process runs as, by name or number."),
    line("exec", TEXTS, "Commands that are run in the node when its links are up; without a shell."),
    line(
        "binds",
        TEXTS,
        "Files and directories of the host that are seen in the node: `source:target[:ro]`, relative to this file.",
    ),
    line("volumes", TEXTS, "Volumes: `target` or `name:target[:options]`."),
    line("tmpfs", TEXT_BY_KEY, "File systems in memory: their place in the node, and options of the mount."),
    line("devices", TEXTS, "Devices of the host that the node may use: `source[:target[:rwm]]`."),
    line("cap-add", TEXTS, "Capabilities of the kernel that the node has beside its usual ones."),
    line("security-opts", TEXTS, "Security options of the container."),
    line("privileged", Form::Boolean, "Whether the container is privileged; true unless given."),
    line("cgroupns-mode", Form::Choice(&["host", "private"]), "Whose control groups the node sees."),
    line("cgroup-parent", Form::Text, "The control group that the container's is made in."),
    line("pid-mode", Form::Text, "Whose processes the node sees: `host` or `container:<node>`."),
    line("ports", TEXTS, "Ports of the host that lead to ports of the node: `[address:]host:node[/protocol]`."),
    line("mgmt-ipv4", Form::Text, "IPv4 address on the management network; only at a node."),
    line("mgmt-ipv6", Form::Text, "IPv6 address on the management network; only at a node."),
    line("mgmt_ipv4", Form::Text, "Old spelling of `mgmt-ipv4`."),
    line("mgmt_ipv6", Form::Text, "Old spelling of `mgmt-ipv6`."),
    line(
        "env",
        TEXT_BY_KEY,
        "Environment of everything that runs in the node. `__IMPORT_ENVS: \"true\"` takes over the caller's.",
    ),
    line("env-files", TEXTS, "Files with more of the environment, `NAME=value` in each line."),
    line(
        "labels",
        TEXT_BY_KEY,
        "Free text by key. `graph-level`, `graph-icon`, `graph-group` and `graph-hide` say how the node is drawn.",
    ),
    line("network-mode", Form::Text, "The network beside its links: `none`, `host` or `container:<name>`."),
    line("cpu", Form::Number, "How many processors it may use, for example `0.5`."),
    line("cpu-set", Form::Text, "Which processors it may use, for example `0-2,4`."),
    line("memory", Form::Text, "How much memory it may use, for example `512MB` or `1G`."),
    line("shm-size", Form::Text, "Size of its shared memory, for example `256MB`."),
    line("sysctls", TEXT_BY_KEY, "Settings of the kernel in the node by their dotted names."),
    line("dns", Form::Fields(DNS), "Where the node's names are looked up."),
    line("healthcheck", Form::Fields(HEALTHCHECK), "How it is found out whether the node is healthy."),
    line("certificate", Form::Fields(CERTIFICATE), "The node's certificate."),
    line("credentials", Form::Fields(CREDENTIALS), "How one logs in to the device."),
    line("username", Form::Text, "Old place of `credentials.username`."),
    line("password", Form::Text, "Old place of `credentials.password`."),
    line("stages", Form::Fields(STAGES), "What the node waits for on its way up, and what is run then."),
    line("aliases", TEXTS, "More names on the management network; only at a node."),
    line("config", Form::Fields(CONFIG), "Values for templates of configurations."),
    line("components", Form::List(&Form::Fields(COMPONENT)), "Cards of a chassis."),
    line("extras", Form::Fields(EXTRAS), "Settings of single kinds."),
    line(
        "link-apply-mode",
        Form::Choice(&["live", "restart", "recreate"]),
        "How a node that runs takes a change of its links.",
    ),
];

const DNS: &[Line] = &[
    line("servers", TEXTS, "Addresses of the servers."),
    line("search", TEXTS, "Domains that are tried for short names."),
    line("options", TEXTS, "Options of the resolver."),
];

const HEALTHCHECK: &[Line] = &[
    line("test", TEXTS, "`CMD` and words, or `CMD-SHELL` and a command line; exit code 0 means healthy."),
    line("interval", Form::Number, "Seconds between two tests."),
    line("timeout", Form::Number, "Seconds that a test may take."),
    line("retries", Form::Number, "How many tests fail in a row before the node is unhealthy."),
    line("start-period", Form::Number, "Seconds after the start in which a failed test does not count."),
];

const CERTIFICATE: &[Line] = &[
    line("issue", Form::Boolean, "Whether the node gets one."),
    line("key-size", Form::Number, "Bits of its private key."),
    line("validity-duration", Form::Text, "How long it is valid, for example `720h`."),
    line("sans", TEXTS, "More names and addresses that it is valid for."),
];

const CREDENTIALS: &[Line] = &[
    line("username", Form::Text, "The user."),
    line("password", Form::Text, "The password."),
    line("identity-file", Form::Text, "Path of a private key for SSH."),
];

const STAGES: &[Line] = &[
    line("create", STAGE, "The node is made."),
    line("create-links", STAGE, "Its links are made."),
    line("configure", STAGE, "It is started and configured."),
    line("healthy", STAGE, "Its health check has passed."),
    line("exit", STAGE, "Its main process has ended."),
];

const STAGE: Form = Form::Fields(&[
    line(
        "wait-for",
        Form::List(&Form::Fields(&[
            line("node", Form::Text, "The node that is waited for."),
            line(
                "stage",
                Form::Choice(&["create", "create-links", "configure", "healthy", "exit"]),
                "The stage that it must have left.",
            ),
        ])),
        "What must be over before this stage begins.",
    ),
    line(
        "exec",
        Form::List(&Form::Fields(&[
            line("command", Form::Text, "The command and its arguments, split as a shell does."),
            line("target", Form::Choice(&["container", "host"]), "Where it runs; in the node unless given."),
            line(
                "phase",
                Form::Choice(&["on-enter", "on-exit"]),
                "Whether it runs when the stage begins, or when it ends.",
            ),
        ])),
        "Commands of this stage.",
    ),
]);

const CONFIG: &[Line] = &[line("vars", Form::Map(&Form::Any), "Values by name.")];

const CARD: &[Line] = &[line("slot", Form::Text, "Its slot."), line("type", Form::Text, "Its type.")];

const COMPONENT: &[Line] = &[
    line("slot", Form::Text, "The slot of the card."),
    line("type", Form::Text, "The type of the card."),
    line("env", TEXT_BY_KEY, "Environment of the card's own container."),
    line("sfm", Form::Text, "The switch fabric module."),
    line("mda", Form::List(&Form::Fields(CARD)), "Adapters in the card."),
    line(
        "xiom",
        Form::List(&Form::Fields(&[
            line("slot", Form::Text, "Its slot."),
            line("type", Form::Text, "Its type."),
            line("mda", Form::List(&Form::Fields(CARD)), "Adapters in the module."),
        ])),
        "Modules in the card.",
    ),
];

const EXTRAS: &[Line] = &[
    line("srl-agents", TEXTS, "Files of agents for SR Linux."),
    line("mysocket-proxy", Form::Text, "A proxy of the border0 kind."),
    line("ceos-copy-to-flash", TEXTS, "Files that are copied to the flash of cEOS."),
    line(
        "k8s_kind",
        Form::Fields(&[line(
            "deploy",
            Form::Fields(&[
                line("kubeconfig", Form::Text, "Where the cluster's configuration is written."),
                line("wait", Form::Text, "How long to wait for the cluster, for example `0s`."),
            ]),
            "How the cluster is made.",
        )]),
        "Settings of Kubernetes clusters in containers.",
    ),
];

const ADDRESSES: Form = TEXTS;

pub(super) const LINK: &[Line] = &[
    line("type", Form::LinkType, "What the link is made of; without it the ends are written `node:interface`."),
    line(
        "endpoints",
        Form::List(&Form::Either(&[Form::Text, Form::Defined("endpoint")])),
        "The two ends: `node:interface`, or maps when the link has a `type`. `host:`, `mgmt-net:` and `macvlan:` in the place of a node mean the host, the management network and an interface of the host.",
    ),
    line("endpoint", Form::Defined("endpoint"), "The end in a node, of links that have one."),
    line("host-interface", Form::Text, "The interface on the host."),
    line("mtu", Form::Number, "MTU of both ends in bytes; 9500 unless given."),
    line("labels", TEXT_BY_KEY, "Free text by key."),
    line("vars", Form::Map(&Form::Any), "Values for templates of configurations."),
    line("ipv4", ADDRESSES, "IPv4 addresses with prefix length, one for each end; an empty text for an end without."),
    line("ipv6", ADDRESSES, "IPv6 addresses with prefix length, one for each end; an empty text for an end without."),
    line("mode", Form::Choice(&["private", "vepa", "bridge", "passthru", "source"]), "Mode of a macvlan."),
    line("remote", Form::Text, "Address or name of the other end of a VXLAN."),
    line("vni", Form::Number, "Number of the VXLAN."),
    line("dst-port", Form::Number, "UDP port that is sent to; 14789 unless given."),
    line("src-port", Form::Number, "UDP port that is sent from."),
    line("udp-port", Form::Number, "Old spelling of `dst-port`."),
    line("parent-interface", Form::Text, "Interface of the host that a VXLAN goes over."),
    line("deploymentstate", Form::Any, "Accepted and without a meaning."),
    line("linktype", Form::Any, "Accepted and without a meaning."),
];

pub(super) const ENDPOINT: &[Line] = &[
    line("node", Form::Text, "The node, `host`, or a bridge."),
    line("interface", Form::Text, "The interface there."),
    line("mac", Form::Text, "Its MAC address; derived from lab, node and interface unless given."),
    line("ipv4", Form::Text, "Its IPv4 address with prefix length."),
    line("ipv6", Form::Text, "Its IPv6 address with prefix length."),
    line("vars", Form::Map(&Form::Any), "Values for templates of configurations."),
];
