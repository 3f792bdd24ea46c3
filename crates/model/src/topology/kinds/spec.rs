//! The file of a kind: its keys, what they may hold, and how a later file goes over an earlier one.
//!
//! ```toml
//! name = "acme_router"                    # lower-case; what `kind:` is in a topology
//! aliases = ["acme"]                      # other names
//! about = "ACME router"                   # one line
//! runtime = "vm-in-container"             # or "container"; the four shapes that do not run are what they are
//! image = "optional"                      # a node has to name one without this
//! cap-add = ["NET_ADMIN"]                 # this and the next four, `env` and `sysctls`: defaults of node fields
//! privileged = true
//! entrypoint = "/sbin/init"
//! cmd = "/launch.sh"
//! restart-policy = "on-failure"
//! link-apply-mode = "recreate"            # live, restart, recreate
//! management = "eth0"                     # the interface that no link ends on
//! shell = "telnet localhost 5000"         # what a console runs
//! env = { ACME_BOOT = "fast" }
//! sysctls = { "net.ipv4.ip_forward" = 1 }
//! interfaces = { pattern = "eth[1-9]", example = "eth1", aliases = [
//!     { pattern = "port(?<port>[0-9]+)", kernel = "eth{port}", offset = 1, ports-per-slot = 0 } ] }
//! readiness = { log = ["login:"], command = "true", timeout = 300 }
//! config = { path = "/config/startup.cfg", extract = "acme-cli show", save-as = "running.cfg" }
//! ansible = { network-os = "acme.router.router" }     # variables in the Ansible inventory, without `ansible_`
//! needs = { kvm = true, vcpu = 2, memory-mib = 4096, interfaces-first = true }
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::interfaces::{InterfaceRule, Pattern};
use crate::check::{is_sysctl, is_variable};
use crate::interface::Interface;
use crate::kind::{Device, DeviceConfig, Needs, Readiness, Shape};
use crate::lab::{LinkApplyMode, RestartPolicy};
use crate::name::{InterfaceName, Invalid, Kind};

/// What a file says of a kind. All but `name` and `about` may be left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KindSpec {
    /// What `kind:` is in a topology, in lower-case letters.
    pub name: Kind,
    /// Other names for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Kind>,
    /// One line that says what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::topology) about: Option<Text>,
    /// In what form it comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::topology) runtime: Option<Packaging>,
    /// Whether a node of it has to name an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::topology) image: Option<ImageUse>,
    /// Capabilities beside those that every node has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::topology) cap_add: Vec<Text>,
    /// Whether it runs with all privileges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::topology) privileged: Option<bool>,
    /// Words that come before `cmd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::topology) entrypoint: Option<CommandLine>,
    /// What runs in it, when the image's own command is not it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::topology) cmd: Option<CommandLine>,
    /// What happens when its main process ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::topology) restart_policy: Option<RestartPolicy>,
    /// How a running node gets a change of its links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::topology) link_apply_mode: Option<LinkApplyMode>,
    /// The interface of the management network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::topology) management: Option<InterfaceName>,
    /// What a console runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::topology) shell: Option<CommandLine>,
    /// Environment of everything that runs in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::topology) env: BTreeMap<String, Text>,
    /// Sysctls of its network namespace, dotted names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::topology) sysctls: BTreeMap<String, Text>,
    /// What its interfaces may be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::topology) interfaces: Option<InterfaceRule>,
    /// How it is seen that it is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::topology) readiness: Option<ReadinessSpec>,
    /// Where its configuration goes and comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::topology) config: Option<ConfigSpec>,
    /// What it cannot do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::topology) needs: Option<NeedsSpec>,
    /// Variables of its group in an Ansible inventory, without the `ansible_` in front.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::topology) ansible: BTreeMap<String, Text>,
}

/// In what form a kind comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::topology) enum Packaging {
    /// The image of a container.
    Container,
    /// A virtual machine inside of a container.
    VmInContainer,
    /// A Linux bridge.
    Bridge,
    /// A bridge of Open vSwitch.
    OvsBridge,
    /// The host itself.
    Host,
    /// A container that something else made.
    External,
}

/// Whether a node has to name an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::topology) enum ImageUse {
    /// It has to, where images are used.
    Required,
    /// It may: what runs it knows one.
    Optional,
}

/// How it is seen that a kind is up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::topology) struct ReadinessSpec {
    /// Regular expressions for a line of output.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<Pattern>,
    /// A command in the node that ends with 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandLine>,
    /// Seconds after which it is said to be late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}

/// Where the configuration of a kind goes and comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::topology) struct ConfigSpec {
    /// Absolute path in the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Text>,
    /// Absolute path of its licence in the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<Text>,
    /// A command in the node that writes the running configuration to its output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extract: Option<CommandLine>,
    /// The name of the file that what it writes is saved in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_as: Option<Text>,
}

/// What a kind cannot do without.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::topology) struct NeedsSpec {
    /// `/dev/kvm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kvm: Option<bool>,
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    /// Memory in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// All its interfaces before its command runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interfaces_first: Option<bool>,
}

/// A line of text; a number or a boolean is taken by what is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(in crate::topology) struct Text(String);

impl Text {
    /// The text itself.
    pub(in crate::topology) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a text or a number")]
        enum Scalar {
            Text(String),
            Integer(i64),
            Boolean(bool),
        }
        let text = match Scalar::deserialize(deserializer)? {
            Scalar::Text(text) => text,
            Scalar::Integer(number) => number.to_string(),
            Scalar::Boolean(value) => value.to_string(),
        };
        if text.contains(|c: char| c.is_control() && c != '\t') {
            return Err(serde::de::Error::custom("this is to be one line of text"));
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A command, split into words as a POSIX shell splits them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "String")]
pub(in crate::topology) struct CommandLine {
    text: String,
    words: Vec<String>,
}

impl CommandLine {
    /// Its words, at least one.
    pub(in crate::topology) fn words(&self) -> &[String] {
        &self.words
    }

    /// As it is written.
    pub(in crate::topology) fn as_str(&self) -> &str {
        &self.text
    }
}

impl TryFrom<Text> for CommandLine {
    type Error = String;
    fn try_from(Text(text): Text) -> Result<Self, String> {
        match shlex::split(&text) {
            Some(words) if !words.is_empty() => Ok(Self { text, words }),
            Some(_) => Err("this command is empty; leave it out".to_owned()),
            None => Err(format!("the command `{text}` ends inside of a quotation; close the quote")),
        }
    }
}

impl From<CommandLine> for String {
    fn from(command: CommandLine) -> String {
        command.text
    }
}

/// The later value, where there is one.
fn over<T>(value: &mut Option<T>, later: Option<T>) {
    if later.is_some() {
        *value = later;
    }
}

impl KindSpec {
    /// The largest file of a kind that is read, in bytes.
    pub const MAX_BYTES: usize = 256 << 10;

    /// A kind of which nothing is said yet.
    pub(super) fn new(name: Kind) -> Self {
        Self {
            name,
            aliases: Vec::new(),
            about: None,
            runtime: None,
            image: None,
            cap_add: Vec::new(),
            privileged: None,
            entrypoint: None,
            cmd: None,
            restart_policy: None,
            link_apply_mode: None,
            management: None,
            shell: None,
            env: BTreeMap::new(),
            sysctls: BTreeMap::new(),
            interfaces: None,
            readiness: None,
            config: None,
            needs: None,
            ansible: BTreeMap::new(),
        }
    }

    /// Goes on with a later file: what that says replaces what was said; `aliases` and `cap-add` are added, `env`,
    /// `sysctls` and `ansible` go over by key, `interfaces`, `readiness`, `config` and `needs` by what is in them.
    pub fn extend(&mut self, later: Self) {
        let Self {
            name: _,
            aliases,
            about,
            runtime,
            image,
            cap_add,
            privileged,
            entrypoint,
            cmd,
            restart_policy,
            link_apply_mode,
            management,
            shell,
            env,
            sysctls,
            interfaces,
            readiness,
            config,
            needs,
            ansible,
        } = later;
        add(&mut self.aliases, aliases);
        add(&mut self.cap_add, cap_add);
        over(&mut self.about, about);
        over(&mut self.runtime, runtime);
        over(&mut self.image, image);
        over(&mut self.privileged, privileged);
        over(&mut self.entrypoint, entrypoint);
        over(&mut self.cmd, cmd);
        over(&mut self.restart_policy, restart_policy);
        over(&mut self.link_apply_mode, link_apply_mode);
        over(&mut self.management, management);
        over(&mut self.shell, shell);
        self.env.extend(env);
        self.sysctls.extend(sysctls);
        self.ansible.extend(ansible);
        if let Some(later) = interfaces {
            self.interfaces.get_or_insert_default().extend(later);
        }
        if let Some(later) = readiness {
            let own = self.readiness.get_or_insert_default();
            if !later.log.is_empty() {
                own.log = later.log;
            }
            over(&mut own.command, later.command);
            over(&mut own.timeout, later.timeout);
        }
        if let Some(later) = config {
            let own = self.config.get_or_insert_default();
            over(&mut own.path, later.path);
            over(&mut own.license, later.license);
            over(&mut own.extract, later.extract);
            over(&mut own.save_as, later.save_as);
        }
        if let Some(later) = needs {
            let own = self.needs.get_or_insert_default();
            over(&mut own.kvm, later.kvm);
            over(&mut own.vcpu, later.vcpu);
            over(&mut own.memory_mib, later.memory_mib);
            over(&mut own.interfaces_first, later.interfaces_first);
        }
    }

    /// What the types of its keys do not say: the key that is wrong, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.about.is_none() {
            return Err(("name", format!("kind `{}` has no `about`; add one line that says what it is", self.name)));
        }
        let shape = self.name.shape();
        let packaging = match shape {
            Shape::Runs => None,
            Shape::Bridge => Some(Packaging::Bridge),
            Shape::OvsBridge => Some(Packaging::OvsBridge),
            Shape::Host => Some(Packaging::Host),
            Shape::External => Some(Packaging::External),
        };
        let fits = match (packaging, self.runtime) {
            (None, runtime) => matches!(runtime, None | Some(Packaging::Container | Packaging::VmInContainer)),
            (packaging, runtime) => runtime.is_none() || runtime == packaging,
        };
        if !fits {
            let why = "only the kinds `bridge`, `ovs-bridge`, `host` and `ext-container` are what they are called; give \
                       one of them another name with `aliases`, or write `container` or `vm-in-container`";
            return Err(("runtime", why.to_owned()));
        }
        if let Some(bad) = self.env.keys().find(|name| !is_variable(name)) {
            return Err(("env", format!("`{}` cannot be the name of a variable", bad.escape_debug())));
        }
        if let Some(bad) = self.sysctls.keys().find(|name| !is_sysctl(name)) {
            let why = format!(
                "`{}` is not the name of a sysctl; write for example `net.ipv4.ip_forward`",
                bad.escape_debug()
            );
            return Err(("sysctls", why));
        }
        let capability = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        if let Some(bad) = self.cap_add.iter().find(|name| !capability(name.as_str())) {
            return Err(("cap-add", format!("`{bad}` is not a capability; write for example `NET_ADMIN`")));
        }
        let config = self.config.as_ref();
        let paths = [
            ("path", config.and_then(|config| config.path.as_ref())),
            ("license", config.and_then(|config| config.license.as_ref())),
        ];
        for (key, path) in paths {
            if let Some(path) = path.filter(|path| !path.as_str().starts_with('/')) {
                return Err((key, format!("`{path}` is not an absolute path in the node")));
            }
        }
        let name = self.config.as_ref().and_then(|config| config.save_as.as_ref());
        if let Some(name) = name.filter(|name| !is_file_name(name.as_str())) {
            return Err(("save-as", format!("`{name}` is not the name of a file; write for example `running.cfg`")));
        }
        let word = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if let Some(bad) = self.ansible.keys().find(|name| name.is_empty() || !word(name)) {
            let bad = bad.escape_debug();
            return Err((
                "ansible",
                format!("`{bad}` cannot be the name of a variable; write for example `network-os`"),
            ));
        }
        self.interfaces.as_ref().map_or(Ok(()), InterfaceRule::check)
    }

    /// What it is, in one line.
    pub fn about(&self) -> &str {
        self.about.as_ref().map_or("", Text::as_str)
    }

    /// Variables of its nodes in an Ansible inventory: `network-os` is `ansible_network_os`.
    pub fn ansible(&self) -> impl Iterator<Item = (String, &str)> {
        self.ansible.iter().map(|(name, value)| (format!("ansible_{}", name.replace('-', "_")), value.as_str()))
    }

    /// The interface of this name. `Err` says why a node of this kind has none, and what to write.
    pub fn interface(&self, written: &str) -> Result<Interface, String> {
        let Some(rule) = &self.interfaces else {
            return written.parse().map_err(|invalid: Invalid| invalid.to_string());
        };
        rule.interface(written).ok_or_else(|| {
            let example = rule.example.as_deref().unwrap_or("eth1");
            format!("a node of kind `{}` has no interface `{written}`; write for example {example}", self.name)
        })
    }

    /// The file of this kind, with everything that later files said.
    ///
    /// # Panics
    /// Never: it was read from such a file.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("what was read from TOML can be written as TOML")
    }

    /// What a node of this kind keeps of it.
    pub(in crate::topology) fn device(&self) -> Device {
        let words = |command: Option<&CommandLine>| command.map(|command| command.words().to_vec()).unwrap_or_default();
        let readiness = self.readiness.as_ref().map(|readiness| Readiness {
            log: readiness.log.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            command: words(readiness.command.as_ref()),
            timeout: readiness.timeout.unwrap_or(DEFAULT_TIMEOUT),
        });
        let config = self.config.as_ref().map(|config| DeviceConfig {
            path: config.path.as_ref().map(Text::to_string),
            license: config.license.as_ref().map(Text::to_string),
            extract: words(config.extract.as_ref()),
            save_as: config.save_as.as_ref().map(Text::to_string),
        });
        let needs = self.needs.clone().unwrap_or_default();
        Device {
            management: self.management.clone().filter(|name| name.as_str() != DEFAULT_MANAGEMENT),
            shell: words(self.shell.as_ref()),
            readiness,
            config,
            user: self.ansible.get("user").map(Text::to_string),
            needs: Needs {
                kvm: needs.kvm.unwrap_or_default(),
                vcpu: needs.vcpu.unwrap_or_default(),
                memory_mib: needs.memory_mib.unwrap_or_default(),
                interfaces_first: needs.interfaces_first.unwrap_or_default(),
            },
        }
    }

    /// The interface of the management network.
    pub(in crate::topology) fn management(&self) -> &str {
        self.management.as_ref().map_or(DEFAULT_MANAGEMENT, InterfaceName::as_str)
    }

    /// Whether a node has to name an image, where images are used.
    pub(in crate::topology) fn needs_image(&self) -> bool {
        self.image != Some(ImageUse::Optional)
    }
}

/// The management interface of kinds that name none.
const DEFAULT_MANAGEMENT: &str = "eth0";

/// Seconds after which a device is said to be late, when its kind names none.
const DEFAULT_TIMEOUT: u32 = 120;

/// Whether a file can have this name, in the directory that is meant.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.contains(['/', '\0'])
}

fn add<T: PartialEq>(own: &mut Vec<T>, later: Vec<T>) {
    for item in later {
        if !own.contains(&item) {
            own.push(item);
        }
    }
}
