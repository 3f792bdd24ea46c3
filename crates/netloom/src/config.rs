//! The agent's configuration: a TOML file, and a variable of the environment for every key of it.
//!
//! | key | variable | default | is |
//! |---|---|---|---|
//! | `listen` | `NETLOOM_LISTEN` | `127.0.0.1:8001` | the TCP address; `none` for the unix socket alone |
//! | `fabric` | `NETLOOM_FABRIC` | `kernel` | what links are made of in labs that do not say: `kernel` or `ovs` |
//! | `ovs-bridge` | `NETLOOM_OVS_BRIDGE` | `arch-ovs` | the bridge of Open vSwitch whose ports the ends of links are; made if it is missing |
//! | `ovs-socket` | `NETLOOM_OVS_SOCKET` | `/run/openvswitch/db.sock` | where the database of Open vSwitch is asked |
//! | `metrics-allow` | `NETLOOM_METRICS_ALLOW` | loopback and private networks | from which networks `/metrics` is read without a key; `none`, `*` |
//! | `console-allow` | `NETLOOM_CONSOLE_ALLOW` | `none` | from which networks consoles of the agent contract are opened without a key, beside the controller's address |
//! | `predecessor` | `NETLOOM_PREDECESSOR` | `/var/lib/archetype-agent` | where the agent keeps its files that was on this host before, for `netloom adopt` |
//! | `relist-seconds` | `NETLOOM_RELIST_SECONDS` | `60` | how often everything is looked at again |
//! | `secret` | `NETLOOM_SECRET` | none | opens the agent contract on the TCP address, as the token opens our own API; needed for one that is not loopback, and with `controller` |
//! | `controller` | `NETLOOM_CONTROLLER` | none | the controller that the agent registers at: `http://HOST:PORT` |
//! | `agent-id` | `NETLOOM_AGENT_ID` | made up once | the agent's id there, unless the controller assigns another one; at most 36 letters, digits, `.`, `_`, `-` |
//! | `agent-name` | `NETLOOM_AGENT_NAME` | the host's name | its name there; no other agent of the controller may have it |
//! | `advertise-host` | `NETLOOM_ADVERTISE_HOST` | found out | the name or address at which the controller and other hosts reach this one |
//! | `is-local` | `NETLOOM_IS_LOCAL` | `false` | whether the agent lives beside the controller |
//! | `transport` | `NETLOOM_TRANSPORT` | none | what carries tunnels to other hosts: `management`, `subinterface`, `dedicated` |
//! | `transport-parent` | `NETLOOM_TRANSPORT_PARENT` | none | of `subinterface`: the interface that it is on |
//! | `transport-vlan` | `NETLOOM_TRANSPORT_VLAN` | none | of `subinterface`: its tag, 1 to 4094 |
//! | `transport-interface` | `NETLOOM_TRANSPORT_INTERFACE` | none | of `dedicated`: the interface |
//! | `transport-mtu` | `NETLOOM_TRANSPORT_MTU` | `9000` | its MTU, 68 to 9216 |
//! | `transport-address` | `NETLOOM_TRANSPORT_ADDRESS` | none | its address with the prefix length: `10.100.0.5/24` |
//! | `log` | `NETLOOM_LOG` | `info` | levels, for example `info,netloom_engine=debug` |

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use netloom_agent::{ControllerConfig, ControllerUrl, Introduction, Networks};
use netloom_drivers::predecessor::OtherAgent;
use netloom_engine::{Management, Transport, TransportKeys, TransportText};
use netloom_model::{FabricKind, InterfaceName};
use toml::{Table, Value};

use crate::failure::plain;

/// How the agent runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// The TCP address, if one is listened on.
    pub(crate) listen: Option<SocketAddr>,
    /// What links are made of in labs that do not say.
    pub(crate) fabric: FabricKind,
    /// The bridge of Open vSwitch whose ports the ends of links are.
    pub(crate) ovs_bridge: InterfaceName,
    /// Where the database of Open vSwitch is asked.
    pub(crate) ovs_socket: PathBuf,
    /// Where the agent before this one keeps its files.
    pub(crate) predecessor: PathBuf,
    /// How often everything is looked at again.
    pub(crate) relist: Duration,
    /// From which networks the metrics are read without a key.
    pub(crate) metrics_allow: Networks,
    /// From which networks consoles of the contract are opened without a key, beside the controller's address.
    pub(crate) console_allow: Networks,
    /// What opens the agent contract on the TCP address.
    pub(crate) secret: Option<String>,
    /// Where the controller is that the agent registers at.
    pub(crate) controller: Option<ControllerUrl>,
    /// What the agent says of itself there.
    pub(crate) introduction: Introduction,
    /// What carries tunnels to other hosts, as it is written.
    transport_text: TransportText,
    /// The same, understood; nothing if nothing was written.
    pub(crate) transport: Option<Transport>,
    /// What is logged, as `tracing-subscriber` reads it.
    pub(crate) log: String,
}

impl Default for Config {
    fn default() -> Self {
        let listen = Some(SocketAddr::from(([127, 0, 0, 1], 8001)));
        Self {
            listen,
            fabric: FabricKind::Kernel,
            ovs_bridge: netloom_engine::SWITCH.parse().expect("a name that the kernel takes"),
            ovs_socket: PathBuf::from("/run/openvswitch/db.sock"),
            predecessor: PathBuf::from(OtherAgent::WORKSPACE),
            relist: Duration::from_secs(60),
            metrics_allow: Networks::default(),
            console_allow: Networks::none(),
            secret: None,
            controller: None,
            introduction: Introduction::default(),
            transport_text: TransportText::default(),
            transport: None,
            log: "info".to_owned(),
        }
    }
}

/// The keys that there are.
const KEYS: [&str; 21] = [
    "advertise-host",
    "agent-id",
    "agent-name",
    "console-allow",
    "controller",
    "fabric",
    "is-local",
    "listen",
    "log",
    "metrics-allow",
    "ovs-bridge",
    "ovs-socket",
    "predecessor",
    "relist-seconds",
    "secret",
    "transport",
    "transport-address",
    "transport-interface",
    "transport-mtu",
    "transport-parent",
    "transport-vlan",
];

/// What the parts of the transport are called here.
const TRANSPORT: TransportKeys = TransportKeys {
    mode: "transport",
    parent: "transport-parent",
    vlan: "transport-vlan",
    interface: "transport-interface",
    mtu: "transport-mtu",
    address: "transport-address",
};

/// The longest name that controllers keep.
const NAME_MAX: usize = 100;

impl Config {
    /// The file (one that is not there is empty), then the environment.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("{}: {}", path.display(), plain(&error))),
        };
        Self::read(&text, &path.display().to_string(), |variable| std::env::var(variable).ok())
    }

    fn read(text: &str, name: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let table: Table = toml::from_str(text).map_err(|error| format!("{name}: {}", error.to_string().trim_end()))?;
        let mut config = Self::default();
        for (key, value) in &table {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Integer(number) => number.to_string(),
                Value::Boolean(truth) => truth.to_string(),
                _ => return Err(format!("{name}: `{key}` must be a text, a number, `true` or `false`")),
            };
            config.set(key, &text).map_err(|why| format!("{name}: {why}"))?;
        }
        for key in KEYS {
            let variable = variable(key);
            if let Some(text) = environment(&variable).filter(|text| !text.is_empty()) {
                config.set(key, &text).map_err(|why| format!("{variable}: {why}"))?;
            }
        }
        config.controller_config().map_err(|why| format!("{name}: {why}"))?;
        config.transport = config.transport_text.parse(TRANSPORT).map_err(|why| format!("{name}: {why}"))?;
        Ok(config)
    }

    /// The controller with what the agent needs for it, if it belongs to one.
    pub(crate) fn controller_config(&self) -> Result<Option<ControllerConfig>, String> {
        let Some(url) = self.controller.clone() else { return Ok(None) };
        if self.listen.is_none() {
            return Err("`controller` is set and `listen` is `none`; a controller commands its agents over TCP: set \
                        `listen` (NETLOOM_LISTEN) to an address that it reaches"
                .to_owned());
        }
        let Some(secret) = self.secret.as_deref().filter(|secret| !secret.is_empty()) else {
            return Err("`controller` is set and `secret` is not; set it (NETLOOM_SECRET) to the secret that the \
                        controller has for its agents: no controller takes an agent without one"
                .to_owned());
        };
        let secret = secret.parse().map_err(|why| format!("`secret` cannot be used with a controller: {why}"))?;
        Ok(Some(ControllerConfig { url, secret }))
    }

    /// How this host is reached, as far as it is written here.
    pub(crate) fn management(&self) -> Management {
        let is_of_a_host = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_loopback();
        let parsed = |text: &str| text.parse().ok().filter(is_of_a_host);
        let listens = self.listen.map(|listen| listen.ip()).filter(is_of_a_host);
        let advertised = self.introduction.advertise_host.as_deref().and_then(parsed);
        Management {
            towards: self.controller.as_ref().and_then(|url| parsed(url.host())).into_iter().collect(),
            addresses: listens.into_iter().chain(advertised).collect(),
        }
    }

    fn set(&mut self, key: &str, text: &str) -> Result<(), String> {
        match key {
            "listen" if text == "none" => self.listen = None,
            "listen" => {
                let bad = |_| format!("`listen` is `{text}`; write an address with port, or `none`: `127.0.0.1:8001`");
                self.listen = Some(text.parse().map_err(bad)?);
            }
            "fabric" => {
                self.fabric = match text {
                    "kernel" => FabricKind::Kernel,
                    "ovs" => FabricKind::Ovs,
                    _ => return Err(format!("`fabric` is `{text}`; write `kernel` or `ovs`")),
                };
            }
            "ovs-bridge" => {
                let bad = |invalid| format!("`ovs-bridge` is `{text}`; {invalid}");
                self.ovs_bridge = text.parse().map_err(bad)?;
            }
            "ovs-socket" => self.ovs_socket = absolute(key, text, "/run/openvswitch/db.sock")?,
            "predecessor" => self.predecessor = absolute(key, text, OtherAgent::WORKSPACE)?,
            "relist-seconds" => {
                let seconds = text.parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
                let seconds = seconds.ok_or_else(|| format!("`relist-seconds` is `{text}`; it must be 1 to 86400"))?;
                self.relist = Duration::from_secs(seconds);
            }
            "metrics-allow" => {
                self.metrics_allow = text.parse().map_err(|why| format!("`metrics-allow`: {why}"))?;
            }
            "console-allow" => {
                self.console_allow = text.parse().map_err(|why| format!("`console-allow`: {why}"))?;
            }
            "secret" => self.secret = Some(text.to_owned()),
            "controller" => {
                self.controller = Some(text.parse().map_err(|why| format!("`controller` is `{text}`; {why}"))?);
            }
            "agent-id" => {
                let id = text.parse().map_err(|why| format!("`agent-id` is `{text}`; {why}"))?;
                self.introduction.id = Some(id);
            }
            "agent-name" => {
                if text.is_empty() || text.len() > NAME_MAX || text.chars().any(char::is_control) {
                    return Err(format!("`agent-name` is `{text}`; write 1 to {NAME_MAX} characters"));
                }
                self.introduction.name = Some(text.to_owned());
            }
            "advertise-host" => {
                if !is_host(text) {
                    return Err(format!(
                        "`advertise-host` is `{text}`; write a name or an address without a port: `192.0.2.7`"
                    ));
                }
                self.introduction.advertise_host = Some(text.to_owned());
            }
            "is-local" => {
                self.introduction.is_local =
                    text.parse().map_err(|_| format!("`is-local` is `{text}`; write `true` or `false`"))?;
            }
            "transport" => self.transport_text.mode = Some(text.to_owned()),
            "transport-parent" => self.transport_text.parent = Some(text.to_owned()),
            "transport-vlan" => self.transport_text.vlan = Some(text.to_owned()),
            "transport-interface" => self.transport_text.interface = Some(text.to_owned()),
            "transport-mtu" => self.transport_text.mtu = Some(text.to_owned()),
            "transport-address" => self.transport_text.address = Some(text.to_owned()),
            "log" => text.clone_into(&mut self.log),
            other => return Err(unknown(other)),
        }
        Ok(())
    }
}

/// Whether a text is an address, or can be the name of a host.
fn is_host(text: &str) -> bool {
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    text.parse::<IpAddr>().is_ok() || (!text.is_empty() && is_name(text))
}

/// The variable of a key.
fn variable(key: &str) -> String {
    format!("NETLOOM_{}", key.to_uppercase().replace('-', "_"))
}

/// The variables of all keys.
/// A path from the root.
fn absolute(key: &str, text: &str, like: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(format!("`{key}` is `{text}`; write an absolute path: `{like}`")) }
}

#[cfg(test)]
pub(crate) fn variables() -> impl Iterator<Item = String> {
    KEYS.into_iter().map(variable)
}

fn unknown(key: &str) -> String {
    let nearest = KEYS.iter().map(|known| (strsim::damerau_levenshtein(key, known), known)).min();
    match nearest {
        Some((distance, known)) if distance <= known.len() / 2 => {
            format!("there is no key `{key}`; did you mean `{known}`?")
        }
        _ => format!("there is no key `{key}`; there are {}", KEYS.map(|key| format!("`{key}`")).join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        Config::read(text, "netloom.toml", |_| None)
    }

    #[test]
    fn nothing_said_is_the_default() {
        assert_eq!(read(""), Ok(Config::default()));
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let environment = |variable: &str| match variable {
            "NETLOOM_RELIST_SECONDS" => Some("7".to_owned()),
            "NETLOOM_LOG" => Some(String::new()),
            _ => None,
        };
        let text = "listen = \"none\"\nrelist-seconds = 30\nlog = \"debug\"\n";
        let config = Config::read(text, "netloom.toml", environment).unwrap();
        let relist = Duration::from_secs(7);
        assert_eq!(config, Config { listen: None, relist, log: "debug".to_owned(), ..Config::default() });
    }

    #[test]
    fn who_needs_no_key_is_said_as_networks() {
        let config = read("metrics-allow = \"192.0.2.0/24\"\nconsole-allow = \"192.0.2.0/24\"").unwrap();
        assert!(
            config.console_allow == config.metrics_allow && config.metrics_allow.contain("192.0.2.7".parse().unwrap())
        );
        assert!(!config.metrics_allow.contain("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn mistakes_say_where_they_are_and_what_is_meant() {
        assert_eq!(
            read("lisen = \"none\"").unwrap_err(),
            "netloom.toml: there is no key `lisen`; did you mean `listen`?"
        );
        let far = "netloom.toml: there is no key `color`; there are `advertise-host`, `agent-id`, `agent-name`, \
            `console-allow`, `controller`, `fabric`, `is-local`, `listen`, `log`, `metrics-allow`, `ovs-bridge`, \
            `ovs-socket`, `predecessor`, `relist-seconds`, `secret`, `transport`, `transport-address`, `transport-interface`, \
            `transport-mtu`, `transport-parent`, `transport-vlan`";
        assert_eq!(read("color = 1").unwrap_err(), far);
        for bad in [
            "fabric = \"ovn\"",
            "ovs-bridge = \"a/b\"",
            "ovs-socket = \"db.sock\"",
            "predecessor = \"agent\"",
            "listen = \"8001\"",
            "relist-seconds = 0",
            "relist-seconds = true",
            "metrics-allow = \"lab\"",
            "console-allow = \"perhaps\"",
            "listen = ",
            "agent-id = \"a/b\"",
            "agent-name = \"\"",
            "advertise-host = \"rack1:8001\"",
            "is-local = \"maybe\"",
        ] {
            assert!(read(bad).unwrap_err().starts_with("netloom.toml: "), "{bad}");
        }
    }

    #[test]
    fn an_agent_of_a_controller_says_who_it_is() {
        let text = "secret = \"hush\"\ncontroller = \"http://controller:8000\"\nagent-id = \"rack1\"\n\
            agent-name = \"Rack 1\"\nadvertise-host = \"2001:db8::1\"\nis-local = true\n";
        let config = read(text).unwrap();
        let controller = config.controller_config().unwrap().unwrap();
        assert_eq!(controller.url.to_string(), "http://controller:8000");
        let introduction = Introduction {
            id: Some("rack1".parse().unwrap()),
            name: Some("Rack 1".into()),
            advertise_host: Some("2001:db8::1".into()),
            is_local: true,
        };
        assert_eq!(config.introduction, introduction);
        assert_eq!(read("secret = \"hush\"").unwrap().controller_config(), Ok(None));
    }

    #[test]
    fn a_transport_is_written_in_the_file_and_corrected_in_the_environment() {
        let text = "transport = \"subinterface\"\ntransport-parent = \"eth1\"\ntransport-vlan = 100\n\
            transport-address = \"10.100.0.5/24\"\n";
        let Some(Transport::Subinterface(uplink)) = read(text).unwrap().transport else { panic!("{text}") };
        assert_eq!((uplink.name.as_str(), uplink.mtu.unwrap().bytes()), ("eth1.100", 9000));
        let environment = |variable: &str| (variable == "NETLOOM_TRANSPORT_VLAN").then(|| "4095".to_owned());
        let error = Config::read(text, "netloom.toml", environment).unwrap_err();
        assert_eq!(error, "netloom.toml: `transport-vlan`: VLAN 4095 is none; write a number from 1 to 4094");
        let error = read("transport = \"dedicated\"\ntransport-interface = \"eth1\"").unwrap_err();
        assert!(error.contains("`transport-address` is not set; set it, for example to `10.100.0.5/24`"), "{error}");
        assert!(read("transport-mtu = 9000").unwrap_err().contains("leave it out"));
    }

    #[test]
    fn how_the_host_is_reached_is_what_is_written_of_it() {
        let text = "secret = \"hush\"\ncontroller = \"http://192.0.2.1:8000\"\nlisten = \"0.0.0.0:8001\"\n\
            advertise-host = \"192.0.2.7\"\n";
        let management = read(text).unwrap().management();
        assert_eq!(management.towards, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(management.addresses, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(read("").unwrap().management(), Management::default());
    }

    #[test]
    fn a_controller_needs_plain_http_a_secret_and_a_way_back() {
        let refused = |text: &str, says: &[&str]| {
            let error = read(text).unwrap_err();
            assert!(says.iter().all(|word| error.contains(word)), "{error}");
            assert!(!error.contains("gr\u{fc}n"), "{error}");
        };
        refused("controller = \"http://controller\"", &["netloom.toml", "`secret`", "NETLOOM_SECRET"]);
        refused("secret = \"\"\ncontroller = \"http://controller\"", &["`secret`"]);
        refused("secret = \"gr\u{fc}n\"\ncontroller = \"http://controller\"", &["`secret`", "ASCII"]);
        refused("secret = \"hush\"\ncontroller = \"https://controller\"", &["`https://controller`", "plain http"]);
        refused("secret = \"hush\"\ncontroller = \"controller:8000\"", &["`http://HOST:PORT`"]);
        let nowhere = "listen = \"none\"\nsecret = \"hush\"\ncontroller = \"http://controller\"";
        refused(nowhere, &["`listen`", "NETLOOM_LISTEN"]);
    }
}
