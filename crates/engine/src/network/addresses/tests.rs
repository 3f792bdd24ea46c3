use netloom_model::Management;

use super::*;
use crate::testing::Sketch;

fn network(ipv4: &str, range: Option<&str>, others: Option<&str>) -> OnNetwork {
    let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
    let gateway = Some(Ipv4Addr::from(u32::from(net(ipv4).address) + 1));
    let ipv4 = Family::Subnet { net: net(ipv4), gateway, range: range.map(net) };
    let network = Management { ipv4, ipv6: Family::Off, ..Management::default() };
    OnNetwork { network, others_ipv4: others.map(net), others_ipv6: None, nodes: BTreeMap::new() }
}

fn lab(nodes: usize) -> std::sync::Arc<Lab> {
    (0..nodes).fold(Sketch::new("lab"), |sketch, n| sketch.container(&format!("r{n:03}"))).lab()
}

fn chosen(
    lab: &Lab,
    ground: &OnNetwork,
    before: Option<&OnNetwork>,
    taken: &[&str],
) -> Result<Vec<String>, Vec<String>> {
    let taken = taken.iter().map(|address| (address.parse().unwrap(), "a container".to_owned())).collect();
    let on = choose(lab, ground, before, &taken)?;
    Ok(on.nodes.values().map(|addresses| addresses.ipv4.unwrap().to_string()).collect())
}

#[test]
fn nodes_are_counted_up_around_what_others_have() {
    let ground = network("10.0.0.0/24", None, Some("10.0.0.240/28"));
    let found = chosen(&lab(3), &ground, None, &["10.0.0.3"]).unwrap();
    assert_eq!(found, ["10.0.0.2", "10.0.0.4", "10.0.0.5"]);
}

#[test]
fn a_network_that_is_all_others_is_used_from_its_end() {
    let ground = network("10.0.0.0/24", None, Some("10.0.0.0/24"));
    assert_eq!(chosen(&lab(2), &ground, None, &["10.0.0.254"]).unwrap(), ["10.0.0.253", "10.0.0.252"]);
}

#[test]
fn what_others_are_given_comes_last() {
    let ground = network("10.0.0.0/28", None, Some("10.0.0.12/30"));
    let found = chosen(&lab(13), &ground, None, &[]).unwrap();
    assert_eq!(found.first().unwrap(), "10.0.0.2");
    assert_eq!(found[9..], ["10.0.0.11", "10.0.0.14", "10.0.0.13", "10.0.0.12"]);
}

#[test]
fn too_many_nodes_are_an_error_that_says_what_to_set() {
    let ground = network("10.0.0.0/29", None, None);
    let why = chosen(&lab(8), &ground, None, &["10.0.0.6"]).unwrap_err();
    assert_eq!(why.len(), 1);
    assert!(
        why[0].contains("10.0.0.0/29") && why[0].contains("4 of the 8") && why[0].contains("`mgmt.ipv4-subnet`"),
        "{why:?}"
    );
}

#[test]
fn nodes_keep_what_they_have_and_the_file_comes_first() {
    let ground = network("10.0.0.0/24", Some("10.0.0.64/26"), None);
    let first = choose(&lab(3), &ground, None, &BTreeMap::new()).unwrap();
    let more = Sketch::new("lab").container("a").container("r000").container("r001").container("r002");
    let more = more.with("a", |node| node.management.ipv4 = Some("10.0.0.65".parse().unwrap())).lab();
    let found = chosen(&more, &ground, Some(&first), &[]).unwrap();
    // r001 had what the file now gives to another node.
    assert_eq!(found, ["10.0.0.65", "10.0.0.64", "10.0.0.67", "10.0.0.66"]);
}

#[test]
fn an_address_of_the_file_that_cannot_be_is_refused_with_its_reason() {
    let ground = network("10.0.0.0/24", None, None);
    for (address, why) in [("10.0.1.5", "not in"), ("10.0.0.1", "gateway"), ("10.0.0.9", "a container")] {
        let lab = Sketch::new("lab").container("r1");
        let lab = lab.with("r1", |node| node.management.ipv4 = Some(address.parse().unwrap())).lab();
        let said = chosen(&lab, &ground, None, &["10.0.0.9"]).unwrap_err();
        assert!(said.len() == 1 && said[0].contains(why) && said[0].contains("node r1"), "{said:?}");
    }
}

#[test]
fn an_ipv6_network_is_not_counted_through() {
    let net: Ipv6Net = "3fff:172:20:20::/64".parse().unwrap();
    let ipv6 = Family::Subnet { net, gateway: Some("3fff:172:20:20::1".parse().unwrap()), range: None };
    let network = Management { ipv4: Family::Off, ipv6, ..Management::default() };
    let mut ground = OnNetwork { network, others_ipv4: None, others_ipv6: None, nodes: BTreeMap::new() };
    let of = |on: &OnNetwork| choose(&lab(2), on, None, &BTreeMap::new()).unwrap();
    let second = |on: OnNetwork| on.nodes.values().nth(1).unwrap().ipv6.unwrap().to_string();
    assert_eq!(second(of(&ground)), "3fff:172:20:20::3");
    ground.others_ipv6 = Some(net);
    assert_eq!(second(of(&ground)), "3fff:172:20:20:ffff:ffff:ffff:fffe");
}
