//! What a host has too little of.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BRIDGE_PORTS, HostLimits, Level, Limit, Need};

/// The largest `kernel.pid_max` of 64-bit kernels (`PID_MAX_LIMIT` in linux/threads.h).
const PID_MAX: u64 = 1 << 22;

/// Follows the name of a bridge that is one's.
const OF_NETWORK: &str = " of the management network";

/// What a shortage means for a deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It works, but badly.
    Warning,
    /// It would fail halfway, so it is refused.
    Refused,
}

/// A limit of the host that labs would pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// Which.
    pub limit: Limit,
    /// What it means for a deploy.
    pub severity: Severity,
    /// Where it is set or what it is of: a sysctl, a file, `bridge br0`, `RLIMIT_NOFILE`.
    pub object: String,
    /// Its value.
    pub max: u64,
    /// What would be in use with all labs that are wanted, by everyone on the host.
    pub demand: u64,
    /// What is in use now; 0 where the kernel does not say.
    pub used: u64,
    /// The sysctls that end it, with values that leave room; empty where it is not a matter of sysctls.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub raise: BTreeMap<String, u64>,
}

/// Finds everything that the host has too little of: for all labs that are `wanted`, of which `there` is there already.
///
/// What is refused is only what would be made; a lab that became smaller is never short of anything.
pub fn shortages(wanted: &Need, there: &Need, host: &HostLimits) -> Vec<Shortage> {
    let mut found = Vec::new();
    for (limit, level) in host.levels.iter().filter(|(limit, _)| **limit != Limit::BridgePorts) {
        let (wants, has) = (wanted.amount(*limit), there.amount(*limit));
        let demand = wants.saturating_add(level.used.saturating_sub(has));
        let more = wants > has || limit.severity() == Severity::Warning && wants > 0;
        if more && demand > level.max {
            found.push(Shortage {
                limit: *limit,
                severity: limit.severity(),
                object: object(*limit, level),
                max: level.max,
                demand,
                used: level.used,
                raise: raise(*limit, level.max, demand, host),
            });
        }
    }
    for (bridge, ports) in wanted.ports() {
        let has = there.ports().get(bridge).copied().unwrap_or(0);
        let foreign = host.foreign_ports.get(bridge).copied().unwrap_or(0);
        let demand = ports.saturating_add(foreign);
        if *ports > has && demand > BRIDGE_PORTS {
            found.push(Shortage {
                limit: Limit::BridgePorts,
                severity: Limit::BridgePorts.severity(),
                object: match wanted.network(bridge) {
                    Some(network) => format!("bridge {bridge}{OF_NETWORK} `{network}`"),
                    None => format!("bridge {bridge}"),
                },
                max: BRIDGE_PORTS,
                demand,
                used: has.saturating_add(foreign),
                raise: BTreeMap::new(),
            });
        }
    }
    found
}

fn object(limit: Limit, level: &Level) -> String {
    let place = level.place.clone().or_else(|| limit.sysctl().map(str::to_owned));
    place.unwrap_or_else(|| "RLIMIT_NOFILE".to_owned())
}

/// Values with room for half as much again, so that the next small lab does not ask once more.
fn raise(limit: Limit, max: u64, demand: u64, host: &HostLimits) -> BTreeMap<String, u64> {
    let Some(sysctl) = limit.sysctl() else { return BTreeMap::new() };
    let mut value = enough(demand);
    if limit == Limit::Pids {
        if demand > PID_MAX {
            return BTreeMap::new();
        }
        value = value.min(PID_MAX);
    }
    debug_assert!(value > max, "a shortage is beyond the limit");
    let mut values = BTreeMap::from([(sysctl.to_owned(), value)]);
    for (companion, fraction) in limit.companions() {
        let value = value / fraction;
        if host.companions.get(*companion).is_some_and(|present| *present < value) {
            values.insert((*companion).to_owned(), value);
        }
    }
    values
}

/// A power of two, and half as much again as is needed.
fn enough(demand: u64) -> u64 {
    let wanted = demand.saturating_add(demand / 2);
    wanted.checked_next_power_of_two().unwrap_or(wanted)
}

impl Shortage {
    /// What a person does about it, as a sentence with the commands.
    pub fn advice(&self) -> String {
        if !self.raise.is_empty() {
            let settings: Vec<String> = self.raise.iter().map(|(name, value)| format!("{name}={value}")).collect();
            return format!("raise it with `sysctl -w {}`, or deploy with --raise-limits", settings.join(" "));
        }
        let enough = enough(self.demand);
        match self.limit {
            Limit::Descriptors => format!(
                "start the agent with more: LimitNOFILE={enough} in its systemd unit (`systemctl edit netloom`), or \
                 `ulimit -n {enough}` before `netloom agent`; labs run on while it is started anew"
            ),
            Limit::GroupPids => format!(
                "raise it with `echo {enough} > {}`, or TasksMax={enough} in the agent's systemd unit",
                self.object
            ),
            Limit::BridgePorts if self.object.contains(OF_NETWORK) => {
                "set another `mgmt.network` in some of the labs on it, or `network-mode: none` for nodes that need none"
                    .to_owned()
            }
            Limit::BridgePorts => "spread the links over several bridges".to_owned(),
            _ => "no kernel has more; deploy fewer nodes, or on several hosts".to_owned(),
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up_to = if self.severity == Severity::Warning { "up to " } else { "" };
        write!(
            f,
            "{}: this host allows {} {}, the labs on it would come to {up_to}{}; {}; {}",
            self.object,
            self.max,
            self.limit.noun(),
            self.demand,
            self.limit.beyond(),
            self.advice()
        )
    }
}
