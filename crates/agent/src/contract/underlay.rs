//! The host's own interfaces as controllers change them: their MTU, and the interface that tunnels go by.
//!
//! What cannot be done is said in the answer, and then nothing was done.

use axum::Router;
use axum::extract::{Extension, Path, State};
use axum::routing::post;
use netloom_engine::{Changed, Cidr, Keep, TransportEdit, Uplink, Vlan, VlanId, contract_mtu};
use netloom_model::{InterfaceName, Mtu};
use serde::Deserialize;
use serde_json::json;

use super::answer::{Answer, Detail, Json, done};
use super::interfaces::host_ports;
use crate::access::Peer;
use crate::routes::Shared;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/interfaces/{name}/mtu", post(set_mtu)).route("/interfaces/provision", post(provision))
}

/// Who asks, where that is known: the way there is not to be lost.
type Asker = Option<Extension<Peer>>;

fn address_of(asker: Asker) -> Option<std::net::IpAddr> {
    asker.map(|Extension(Peer(address))| address.ip().to_canonical()).filter(|address| !address.is_loopback())
}

#[derive(Debug, Deserialize)]
struct SetMtu {
    mtu: u32,
    #[serde(default = "yes")]
    persist: bool,
}

fn yes() -> bool {
    true
}

async fn set_mtu(
    State(app): State<Shared>,
    asker: Asker,
    Path(name): Path<String>,
    Json(body): Json<SetMtu>,
) -> Answer {
    let mtu = contract_mtu(Some(body.mtu)).ok_or_else(|| {
        Detail::unreadable(&["body", "mtu"], "value_error", format!("{} is none: 68 to 9216 are", body.mtu))
    })?;
    let keep = if body.persist { Keep::Always } else { Keep::Once };
    let changed = match name.parse::<InterfaceName>() {
        Ok(name) => {
            let edit = TransportEdit::SetMtu { name, mtu, keep };
            app.engine.change_interface(edit, address_of(asker)).await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    let manager = app.network_manager;
    Ok(done(&match changed {
        Ok(Changed { former_mtu, mtu, keep, .. }) => json!({ "success": true, "error": null, "interface": name,
            "previous_mtu": former_mtu, "new_mtu": mtu, "persisted": keep == Keep::Always, "network_manager": manager }),
        Err(error) => {
            let before = host_ports(&app).iter().find(|port| port.name.as_str() == name).map_or(0, |port| port.mtu);
            json!({ "success": false, "error": error, "interface": name, "previous_mtu": before, "new_mtu": body.mtu,
                "persisted": false, "network_manager": manager })
        }
    }))
}

/// What is to be done with an interface.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    CreateSubinterface,
    Configure,
    Delete,
}

#[derive(Debug, Deserialize)]
struct Provision {
    action: Action,
    #[serde(default)]
    parent_interface: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    vlan_id: Option<i64>,
    #[serde(default)]
    ip_cidr: Option<String>,
    #[serde(default)]
    mtu: Option<i64>,
}

impl Provision {
    /// What is meant; an error names the field and what to write.
    fn edit(&self) -> Result<TransportEdit, String> {
        match self.action {
            Action::CreateSubinterface => {
                let vlan =
                    Vlan { parent: needed("parent_interface", self.parent_interface.as_ref())?, id: self.vlan()? };
                let name = self.name.as_ref().filter(|name| !name.is_empty());
                let name = name.map(|name| parsed("name", name)).transpose()?;
                let made = Uplink::subinterface(vlan, name).map_err(|why| why.to_string())?;
                let mtu = self.mtu()?.or(made.mtu);
                Ok(TransportEdit::Create(Uplink { mtu, address: self.address()?, ..made }))
            }
            Action::Configure => Ok(TransportEdit::Configure {
                name: needed("name", self.name.as_ref())?,
                mtu: self.mtu()?,
                address: self.address()?,
            }),
            Action::Delete => Ok(TransportEdit::Delete(needed("name", self.name.as_ref())?)),
        }
    }

    fn vlan(&self) -> Result<VlanId, String> {
        let id = self.vlan_id.ok_or("`vlan_id` is missing; write a number from 1 to 4094")?;
        let none = || format!("`vlan_id` is {id}; write a number from 1 to 4094");
        u16::try_from(id).ok().and_then(|id| id.try_into().ok()).ok_or_else(none)
    }

    fn mtu(&self) -> Result<Option<Mtu>, String> {
        let Some(mtu) = self.mtu else { return Ok(None) };
        let found = contract_mtu(u32::try_from(mtu).ok());
        found.map(Some).ok_or_else(|| format!("`mtu` is {mtu}; write a number from 68 to 9216"))
    }

    fn address(&self) -> Result<Option<Cidr>, String> {
        let text = self.ip_cidr.as_ref().filter(|text| !text.is_empty());
        text.map(|text| parsed("ip_cidr", text)).transpose()
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(field: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|why| format!("`{field}`: {why}"))
}

fn needed(field: &str, text: Option<&String>) -> Result<InterfaceName, String> {
    let text = text.filter(|text| !text.is_empty());
    parsed(field, text.ok_or_else(|| format!("`{field}` is missing; write the name of an interface"))?)
}

async fn provision(State(app): State<Shared>, asker: Asker, Json(body): Json<Provision>) -> Answer {
    let (name, changed) = match body.edit() {
        Ok(edit) => {
            let name = edit.interface().to_string();
            let changed = app.engine.change_interface(edit, address_of(asker)).await;
            (Some(name), changed.map_err(|error| error.to_string()))
        }
        Err(why) => (body.name, Err(why)),
    };
    Ok(done(&match changed {
        Ok(Changed { mtu, address, .. }) => {
            let mtu = Some(mtu).filter(|mtu| *mtu != 0);
            json!({ "success": true, "error": null, "interface_name": name, "mtu": mtu, "ip_address": address })
        }
        Err(error) => {
            json!({ "success": false, "error": error, "interface_name": name, "mtu": null, "ip_address": null })
        }
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn edit(mut body: Value) -> Result<TransportEdit, String> {
        // As the controller sends it: all fields, those that say nothing as null.
        for field in ["parent_interface", "name", "vlan_id", "ip_cidr", "mtu", "ovs_vlan_tag"] {
            body.as_object_mut().unwrap().entry(field).or_insert(Value::Null);
        }
        serde_json::from_value::<Provision>(body).unwrap().edit()
    }

    #[test]
    fn what_is_asked_for_is_understood_with_what_is_not_said() {
        let create = json!({ "action": "create_subinterface", "parent_interface": "eth1", "vlan_id": 100,
            "ip_cidr": "10.0.0.5/24", "attach_to_ovs": true, "ovs_vlan_tag": 7 });
        let Ok(TransportEdit::Create(made)) = edit(create) else { panic!() };
        assert_eq!((made.name.as_str(), made.mtu.unwrap().bytes()), ("eth1.100", 9000));
        let own = json!({ "action": "create_subinterface", "parent_interface": "eth1", "vlan_id": 100, "name": "data",
            "mtu": 1500 });
        let Ok(TransportEdit::Create(made)) = edit(own) else { panic!() };
        assert_eq!((made.name.as_str(), made.mtu.unwrap().bytes(), made.address), ("data", 1500, None));
        let name: InterfaceName = "eth1".parse().unwrap();
        let configure = edit(json!({ "action": "configure", "name": "eth1" }));
        assert_eq!(configure, Ok(TransportEdit::Configure { name: name.clone(), mtu: None, address: None }));
        assert_eq!(edit(json!({ "action": "delete", "name": "eth1" })), Ok(TransportEdit::Delete(name)));
    }

    #[test]
    fn what_cannot_be_done_names_the_field_and_what_to_write() {
        let sub = |more: Value| {
            let mut body = json!({ "action": "create_subinterface", "parent_interface": "eth1", "vlan_id": 100 });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            edit(body).unwrap_err()
        };
        for (why, says) in [
            (sub(json!({ "vlan_id": 0 })), "`vlan_id` is 0; write a number from 1 to 4094"),
            (sub(json!({ "vlan_id": 70_000 })), "1 to 4094"),
            (sub(json!({ "vlan_id": null })), "`vlan_id` is missing"),
            (sub(json!({ "parent_interface": "" })), "`parent_interface` is missing"),
            (sub(json!({ "mtu": 67 })), "`mtu` is 67; write a number from 68 to 9216"),
            (sub(json!({ "ip_cidr": "10.0.0.5" })), "`ip_cidr`: "),
            (sub(json!({ "name": "a b" })), "`name`: "),
            (edit(json!({ "action": "configure" })).unwrap_err(), "`name` is missing"),
        ] {
            assert!(why.contains(says), "{why}");
        }
    }
}
