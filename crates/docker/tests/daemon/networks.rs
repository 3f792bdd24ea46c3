//! Networks and volumes.

use netloom_docker::{Disconnect, EndpointAddresses, EndpointSettings, ErrorKind, Filters, Ipam, NetworkSpec, Subnet};

use crate::stage::{Stage, idle, soon};

pub(crate) async fn networks_are_made_and_removed(stage: &Stage) {
    let docker = &stage.docker;
    let subnet = Subnet { subnet: "172.29.7.0/24".into(), gateway: "172.29.7.1".into(), ..Subnet::default() };
    let spec = NetworkSpec {
        name: "mgmt".into(),
        ipam: Ipam { config: vec![subnet.clone()], ..Ipam::default() },
        options: [("com.docker.network.bridge.name".to_owned(), "br-mgmt".to_owned())].into(),
        labels: [("netloom.owner".to_owned(), "networks".to_owned())].into(),
        ..NetworkSpec::default()
    };
    let id = docker.create_network(&spec, soon()).await.unwrap().id;
    let network = docker.inspect_network("mgmt", soon()).await.unwrap();
    assert_eq!((network.id.as_str(), network.driver.as_str(), network.enable_ipv6), (id.as_str(), "bridge", false));
    assert_eq!(network.ipam.config, [subnet]);
    assert_eq!((network.options, network.labels), (spec.options.clone(), spec.labels.clone()));

    let error = docker.create_network(&spec, soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Conflict(_)), "{error}");
    let clash = NetworkSpec { name: "other".into(), options: [].into(), ..spec };
    let error = docker.create_network(&clash, soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Refused { status: 403, .. }), "{error}");

    let mut idle = idle();
    idle.host_config.network_mode = "mgmt".into();
    let first = stage.run("first", &idle).await;
    idle.host_config.network_mode = "bridge".into();
    let there = docker.inspect_container(&first, soon()).await.unwrap().network_settings.networks;
    assert_eq!((there["mgmt"].ip_address.as_str(), there["mgmt"].ip_prefix_len), ("172.29.7.2", 24));
    docker.disconnect_network("mgmt", &first, Disconnect::Gently, soon()).await.unwrap();
    let addresses = EndpointAddresses { ipv4_address: "172.29.7.77".into(), ..EndpointAddresses::default() };
    let settings = EndpointSettings { ipam_config: Some(addresses), ..EndpointSettings::default() };
    docker.connect_network("mgmt", &first, &settings, soon()).await.unwrap();
    let members = docker.inspect_network(&id, soon()).await.unwrap().containers;
    assert_eq!((members[&first].ipv4_address.as_str(), members[&first].name.as_str()), ("172.29.7.77/24", "first"));
    let error = docker.remove_network("mgmt", soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Refused { status: 403, .. }), "{error}");
    stage.remove(&first).await;

    let listed = docker.list_networks(&Filters::new().label("netloom.owner=networks"), soon()).await.unwrap();
    assert_eq!(listed.iter().map(|network| network.name.as_str()).collect::<Vec<_>>(), ["mgmt"]);
    docker.remove_network(&id, soon()).await.unwrap();
    docker.remove_network(&id, soon()).await.unwrap();
}

pub(crate) async fn volumes_are_listed_and_removed(stage: &Stage) {
    let docker = &stage.docker;
    let mut spec = idle();
    spec.host_config.binds = vec!["store:/store".into()];
    let id = docker.create_container("volumes", &spec, soon()).await.unwrap().id;
    let named = Filters::new().with("name", "store");
    let volumes = docker.list_volumes(&named, soon()).await.unwrap();
    assert_eq!((volumes.len(), volumes[0].name.as_str(), volumes[0].driver.as_str()), (1, "store", "local"));
    let error = docker.remove_volume("store", soon()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Conflict(_)), "{error}");
    let mounts = docker.inspect_container(&id, soon()).await.unwrap().mounts;
    assert_eq!((mounts[0].kind.as_str(), mounts[0].destination.as_str()), ("volume", "/store"));
    stage.remove(&id).await;
    docker.remove_volume("store", soon()).await.unwrap();
    docker.remove_volume("store", soon()).await.unwrap();
    assert!(docker.list_volumes(&named, soon()).await.unwrap().is_empty());
}
