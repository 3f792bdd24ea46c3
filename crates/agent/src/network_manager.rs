//! Which program manages the host's interfaces, by what it has left in `/run`. No process is started and none is asked.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// What manages a host's interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NetworkManager {
    /// NetworkManager.
    #[serde(rename = "networkmanager")]
    Gnome,
    /// netplan, which has one of the others do it.
    Netplan,
    /// systemd-networkd.
    SystemdNetworkd,
    /// Nothing that is known here.
    Unknown,
}

impl NetworkManager {
    /// As it is now. Looks at files in memory.
    pub(crate) fn detect() -> Self {
        Self::of(Path::new("/run"))
    }

    fn of(run: &Path) -> Self {
        let is_netplan = |directory: &str| {
            let entries = fs::read_dir(run.join(directory)).into_iter().flatten().flatten();
            entries.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("netplan"))
        };
        if is_netplan("systemd/network") || is_netplan("NetworkManager/system-connections") {
            Self::Netplan
        } else if run.join("NetworkManager").is_dir() {
            Self::Gnome
        } else if run.join("systemd/netif").is_dir() {
            Self::SystemdNetworkd
        } else {
            Self::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_known_by_its_files() {
        let found = |paths: &[&str]| {
            let run = tempfile::tempdir().unwrap();
            for path in paths {
                fs::create_dir_all(run.path().join(path)).unwrap();
            }
            serde_json::to_value(NetworkManager::of(run.path())).unwrap()
        };
        assert_eq!(found(&[]), "unknown");
        assert_eq!(found(&["NetworkManager"]), "networkmanager");
        assert_eq!(found(&["systemd/netif/links"]), "systemd-networkd");
        assert_eq!(found(&["systemd/netif", "systemd/network/10-netplan-eth0.network"]), "netplan");
        assert_eq!(found(&["NetworkManager/system-connections/netplan-eth0.nmconnection"]), "netplan");
    }
}
