//! What a new container is to be.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::host::HostConfig;
use crate::lenient::{is_empty, keys};
use crate::network::EndpointSettings;

/// What a new container is to be; what is left empty is as the image or the daemon has it.
///
/// Source: the body of `POST /containers/create`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_excessive_bools, reason = "the API has them")]
pub struct ContainerSpec {
    /// The image: a reference or an id.
    pub image: String,
    /// Its host name; the beginning of its id by default.
    #[serde(skip_serializing_if = "is_empty")]
    pub hostname: String,
    /// Its domain.
    #[serde(skip_serializing_if = "is_empty")]
    pub domainname: String,
    /// `user`, `user:group`, or numbers.
    #[serde(skip_serializing_if = "is_empty")]
    pub user: String,
    /// Whether standard input is attached while it starts.
    #[serde(skip_serializing_if = "is_empty")]
    pub attach_stdin: bool,
    /// Whether standard output is attached while it starts.
    #[serde(skip_serializing_if = "is_empty")]
    pub attach_stdout: bool,
    /// Whether standard error is attached while it starts.
    #[serde(skip_serializing_if = "is_empty")]
    pub attach_stderr: bool,
    /// Whether it has a terminal.
    #[serde(skip_serializing_if = "is_empty")]
    pub tty: bool,
    /// Whether its standard input stays open without anybody attached.
    #[serde(skip_serializing_if = "is_empty")]
    pub open_stdin: bool,
    /// Whether its standard input is closed when the first that was attached leaves.
    #[serde(skip_serializing_if = "is_empty")]
    pub stdin_once: bool,
    /// `NAME=value`; a `NAME` alone takes one of the image away.
    #[serde(skip_serializing_if = "is_empty")]
    pub env: Vec<String>,
    /// The command, or the arguments of the entrypoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// The entrypoint; one empty text takes the image's away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Labels.
    #[serde(skip_serializing_if = "is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The directory that the command begins in.
    #[serde(skip_serializing_if = "is_empty")]
    pub working_dir: String,
    /// The signal that asks it to end, for example `SIGTERM`.
    #[serde(skip_serializing_if = "is_empty")]
    pub stop_signal: String,
    /// Seconds that it has to end, where who stops it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<u32>,
    /// Ports, as `80/tcp`.
    #[serde(skip_serializing_if = "is_empty", serialize_with = "keys::serialize")]
    pub exposed_ports: BTreeSet<String>,
    /// Directories in it that get a volume without a name.
    #[serde(skip_serializing_if = "is_empty", serialize_with = "keys::serialize")]
    pub volumes: BTreeSet<String>,
    /// How its health is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Whether it has no network at all, not even `lo`'s settings.
    #[serde(skip_serializing_if = "is_empty")]
    pub network_disabled: bool,
    /// The MAC address of its first interface.
    #[serde(skip_serializing_if = "is_empty")]
    pub mac_address: String,
    /// What it gets of the host.
    pub host_config: HostConfig,
    /// Its networks.
    #[serde(skip_serializing_if = "is_empty")]
    pub networking_config: NetworkingConfig,
}

/// How the health of a container is checked; all times in nanoseconds, 0 for what the image or the daemon says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", "…"]`; empty for the image's.
    #[serde(skip_serializing_if = "is_empty")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(skip_serializing_if = "is_empty")]
    pub interval: u64,
    /// For one check.
    #[serde(skip_serializing_if = "is_empty")]
    pub timeout: u64,
    /// While checks that fail do not count.
    #[serde(skip_serializing_if = "is_empty")]
    pub start_period: u64,
    /// How many checks in a row have to fail.
    #[serde(skip_serializing_if = "is_empty")]
    pub retries: u32,
}

/// The networks of a new container.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkingConfig {
    /// How it is connected to each; Docker before 25 takes one at most here.
    #[serde(skip_serializing_if = "is_empty")]
    pub endpoints_config: BTreeMap<String, EndpointSettings>,
}

#[cfg(test)]
mod tests {
    use super::super::host::{PortBinding, RestartPolicy};
    use super::*;

    #[test]
    fn what_is_empty_is_not_said() {
        let spec = ContainerSpec { image: "alpine".into(), ..ContainerSpec::default() };
        assert_eq!(serde_json::to_string(&spec).unwrap(), r#"{"Image":"alpine","HostConfig":{}}"#);
    }

    #[test]
    fn fields_have_the_names_of_the_api() {
        let host = HostConfig {
            cpuset_cpus: "0-1".into(),
            nano_cpus: 500_000_000,
            masked_paths: Some(vec![]),
            port_bindings: [(
                "80/tcp".to_owned(),
                vec![PortBinding { host_ip: String::new(), host_port: "8080".into() }],
            )]
            .into(),
            restart_policy: Some(RestartPolicy { name: "on-failure".into(), maximum_retry_count: 3 }),
            cgroupns_mode: "private".into(),
            ..HostConfig::default()
        };
        let spec = ContainerSpec {
            image: "alpine".into(),
            exposed_ports: ["80/tcp".to_owned()].into(),
            host_config: host,
            ..ContainerSpec::default()
        };
        let expected = serde_json::json!({
            "Image": "alpine",
            "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {
                "CpusetCpus": "0-1",
                "NanoCpus": 500_000_000,
                "MaskedPaths": [],
                "PortBindings": {"80/tcp": [{"HostPort": "8080"}]},
                "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
                "CgroupnsMode": "private",
            },
        });
        assert_eq!(serde_json::to_value(&spec).unwrap(), expected);
    }
}
