//! Networks that the daemon has.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::docker::{Ask, Docker};
use crate::error::Result;
use crate::filters::Filters;
use crate::lenient::{is_empty, null};
use crate::reply::{LIST, ONE};
use crate::target::Target;

/// How a container is connected to a network: what is to be, and what is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndpointSettings {
    /// Addresses that it is to have.
    #[serde(rename = "IPAMConfig", skip_serializing_if = "Option::is_none")]
    pub ipam_config: Option<EndpointAddresses>,
    /// Other names of it in that network.
    #[serde(skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub aliases: Vec<String>,
    /// The id of the network.
    #[serde(rename = "NetworkID", skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub network_id: String,
    /// The id of the connection.
    #[serde(rename = "EndpointID", skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub endpoint_id: String,
    /// The IPv4 address that it has.
    #[serde(rename = "IPAddress", skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub ip_address: String,
    /// The length of its prefix.
    #[serde(rename = "IPPrefixLen", skip_serializing_if = "is_empty")]
    pub ip_prefix_len: u8,
    /// The IPv4 gateway.
    #[serde(skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub gateway: String,
    /// The IPv6 address that it has.
    #[serde(rename = "GlobalIPv6Address", skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub global_ipv6_address: String,
    /// The length of its prefix.
    #[serde(rename = "GlobalIPv6PrefixLen", skip_serializing_if = "is_empty")]
    pub global_ipv6_prefix_len: u8,
    /// The IPv6 gateway.
    #[serde(rename = "IPv6Gateway", skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub ipv6_gateway: String,
    /// The MAC address of its interface.
    #[serde(skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub mac_address: String,
}

/// Addresses that a container is to have in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndpointAddresses {
    /// IPv4.
    #[serde(rename = "IPv4Address", skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub ipv4_address: String,
    /// IPv6.
    #[serde(rename = "IPv6Address", skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub ipv6_address: String,
}

/// What a new network is to be.
///
/// Source: the body of `POST /networks/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// `bridge`, `macvlan`, …; `bridge` where it is empty.
    #[serde(skip_serializing_if = "is_empty")]
    pub driver: String,
    /// Whether it leads nowhere but to its containers.
    #[serde(skip_serializing_if = "is_empty")]
    pub internal: bool,
    /// Whether it has IPv6.
    #[serde(rename = "EnableIPv6", skip_serializing_if = "is_empty")]
    pub enable_ipv6: bool,
    /// Its addresses.
    #[serde(rename = "IPAM", skip_serializing_if = "is_empty")]
    pub ipam: Ipam,
    /// Options of the driver, for example `com.docker.network.bridge.name`.
    #[serde(skip_serializing_if = "is_empty")]
    pub options: BTreeMap<String, String>,
    /// Labels.
    #[serde(skip_serializing_if = "is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The addresses of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ipam {
    /// Who gives them; `default` where it is empty.
    #[serde(skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub driver: String,
    /// Its subnets.
    #[serde(skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub config: Vec<Subnet>,
}

/// A subnet of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Subnet {
    /// As `172.20.20.0/24`.
    #[serde(skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub subnet: String,
    /// The part of it that addresses are given from.
    #[serde(rename = "IPRange", skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub ip_range: String,
    /// The address of the host in it.
    #[serde(skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub gateway: String,
    /// Addresses by name that are given to nobody.
    #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub auxiliary_addresses: BTreeMap<String, String>,
}

/// A network.
///
/// Source: the answer of `GET /networks/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// `local`, `swarm`, …
    pub scope: String,
    /// The driver.
    pub driver: String,
    /// Whether it has IPv6.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Its addresses.
    #[serde(rename = "IPAM", deserialize_with = "null")]
    pub ipam: Ipam,
    /// Whether it leads nowhere but to its containers.
    pub internal: bool,
    /// The containers that are connected now, by id; in a list of networks nobody is.
    #[serde(deserialize_with = "null")]
    pub containers: BTreeMap<String, NetworkMember>,
    /// Options of the driver.
    #[serde(deserialize_with = "null")]
    pub options: BTreeMap<String, String>,
    /// Labels.
    #[serde(deserialize_with = "null")]
    pub labels: BTreeMap<String, String>,
}

/// A container that is connected to a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkMember {
    /// Its name.
    pub name: String,
    /// The MAC address of its interface.
    pub mac_address: String,
    /// With the length of its prefix; empty for none.
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    /// With the length of its prefix; empty for none.
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}

/// A network that was made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreatedNetwork {
    /// 64 hexadecimal digits.
    pub id: String,
    /// What the daemon has to say about it; empty for nothing.
    #[serde(default, deserialize_with = "null")]
    pub warning: String,
}

/// Whether a container that does not answer is disconnected all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disconnect {
    /// Only if it can be done well.
    Gently,
    /// Also if the container is not there any more.
    Forced,
}

impl Docker {
    /// All networks that the filter lets pass.
    ///
    /// Source: `GET /networks`.
    pub async fn list_networks(&self, filter: &Filters, deadline: Instant) -> Result<Vec<Network>> {
        self.call("list networks", "", deadline, async {
            let target = Target::at(["networks"]).query_some("filters", filter.value().as_deref());
            self.ask(Ask::get(target)).await?.json(LIST).await
        })
        .await
    }

    /// A network by its name or id, with who is connected.
    ///
    /// Source: `GET /networks/{id}`.
    pub async fn inspect_network(&self, network: &str, deadline: Instant) -> Result<Network> {
        self.call("inspect network", network, deadline, async {
            self.ask(Ask::get(Target::at(["networks", network]))).await?.json(ONE).await
        })
        .await
    }

    /// Makes a network; a name that is taken is a `Conflict`, a subnet that is taken is `Refused`.
    ///
    /// Source: `POST /networks/create`.
    pub async fn create_network(&self, spec: &NetworkSpec, deadline: Instant) -> Result<CreatedNetwork> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Body<'a> {
            /// Else Docker before 25 makes a second network of the same name.
            check_duplicate: bool,
            #[serde(flatten)]
            spec: &'a NetworkSpec,
        }
        self.call("create network", &spec.name, deadline, async {
            let ask = Ask::post(Target::at(["networks", "create"])).json(&Body { check_duplicate: true, spec })?;
            self.ask(ask).await?.json(ONE).await
        })
        .await
    }

    /// Removes a network; one that is not there is fine.
    ///
    /// One that has containers is `Refused` with status 403. Source: `DELETE /networks/{id}`.
    pub async fn remove_network(&self, network: &str, deadline: Instant) -> Result<()> {
        let ask = Ask::delete(Target::at(["networks", network]));
        match self.command("remove network", network, ask, deadline).await {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome,
        }
    }

    /// Connects a container to a network.
    ///
    /// Source: `POST /networks/{id}/connect`.
    pub async fn connect_network(
        &self,
        network: &str,
        container: &str,
        settings: &EndpointSettings,
        deadline: Instant,
    ) -> Result<()> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Body<'a> {
            container: &'a str,
            endpoint_config: &'a EndpointSettings,
        }
        self.call("connect to network", network, deadline, async {
            let body = Body { container, endpoint_config: settings };
            self.ask(Ask::post(Target::at(["networks", network, "connect"])).json(&body)?).await?.done().await
        })
        .await
    }

    /// Disconnects a container from a network.
    ///
    /// Source: `POST /networks/{id}/disconnect`.
    pub async fn disconnect_network(
        &self,
        network: &str,
        container: &str,
        how: Disconnect,
        deadline: Instant,
    ) -> Result<()> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Body<'a> {
            container: &'a str,
            force: bool,
        }
        self.call("disconnect from network", network, deadline, async {
            let body = Body { container, force: how == Disconnect::Forced };
            self.ask(Ask::post(Target::at(["networks", network, "disconnect"])).json(&body)?).await?.done().await
        })
        .await
    }
}
