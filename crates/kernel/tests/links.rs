//! Namespaces, links and addresses on the running kernel.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

mod common;

use std::net::{IpAddr, UdpSocket};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use common::{Stage, end, root, soon, veth};
use netloom_kernel::{
    Address, AdminState, Dumper, KernelErrorKind as K, LinkChange, Netns, Place, Request, Rtnl, SubmitError, VethEnd,
    Way, WayWatch, dump, prepare_pin_directory, unpin,
};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with, sockopt};

fn up(place: &Place, ifindex: u32) -> Request {
    let change = LinkChange { state: Some(AdminState::Up), ..LinkChange::default() };
    Request::SetLink { place: place.clone(), ifindex, change }
}

fn address(text: &str) -> Address {
    text.parse().map_or_else(|_| Address::V6(text.parse().unwrap()), Address::V4)
}

fn add(place: &Place, ifindex: u32, text: &str) -> Request {
    Request::AddAddress { place: place.clone(), ifindex, address: address(text), protocol: Some(78) }
}

#[tokio::test]
async fn five_hundred_links_between_a_hundred_namespaces_are_made_in_place() {
    if !root() {
        return;
    }
    let mut stage = Stage::new();
    let nodes: Vec<Place> = (0..100).map(|n| stage.node(&format!("n{n}"))).collect();
    let rtnl = Rtnl::start(stage.host.clone()).unwrap();
    let (mut create, mut finish) = (Vec::new(), Vec::new());
    for n in 0..100_u32 {
        for k in 0..5 {
            let (a, b) = (&nodes[n as usize], &nodes[(n as usize + k as usize + 1) % 100]);
            let (i, j) = (1000 + (n * 5 + k) * 2, 1001 + (n * 5 + k) * 2);
            create.push(veth(end(a, &format!("a{k}"), i), end(b, &format!("b{k}"), j)));
            finish.push((a.clone(), i, n));
            finish.push((b.clone(), j, n));
        }
    }
    finish.sort_by_key(|(place, ..)| place.to_string());
    let started = Instant::now();
    let mut batch = create;
    for (place, ifindex, n) in &finish {
        batch.push(up(place, *ifindex));
        batch.push(add(place, *ifindex, &format!("10.{n}.{}.1/30", ifindex % 250)));
    }
    let results = rtnl.submit(batch, soon()).await.unwrap();
    println!("500 links, 1000 ends up and addressed: {:?}", started.elapsed());
    assert_eq!(results.iter().find_map(|result| result.as_ref().err()), None);
    assert_eq!(results.len(), 2500);

    let dumper = Dumper::start(stage.host.clone(), &rtnl).unwrap();
    let started = Instant::now();
    let dumps = dumper.dump(nodes, soon()).await.unwrap();
    println!("dump of 100 namespaces: {:?}", started.elapsed());
    for found in dumps {
        let found = found.unwrap();
        // Ten ends and lo.
        assert_eq!(found.links.len(), 11);
        assert!(found.links.iter().all(|link| link.up && link.lower_up), "{found:?}");
        let ipv4 = found.addresses.iter().filter(|a| matches!(a.address, Address::V4(_))).count();
        assert_eq!(ipv4, 11);
    }
}

#[tokio::test]
async fn what_is_asked_for_is_what_a_dump_shows() {
    if !root() {
        return;
    }
    let mut stage = Stage::new();
    let (r1, r2) = (stage.node("r1"), stage.node("r2"));
    let rtnl = Rtnl::start(stage.host.clone()).unwrap();
    let a = VethEnd {
        mac: Some("02:00:00:00:00:01".parse().unwrap()),
        mtu: Some(9000.try_into().unwrap()),
        group: 77,
        ..end(&r1, "eth1", 100)
    };
    let b = VethEnd { group: 78, mtu: Some(9000.try_into().unwrap()), ..end(&r2, "eth7", 200) };
    let alias = "n".repeat(255);
    let batch = vec![
        veth(a, b),
        Request::SetLink {
            place: r2.clone(),
            ifindex: 200,
            change: LinkChange { state: Some(AdminState::Up), alias: Some(alias.clone()), ..LinkChange::default() },
        },
        Request::AddAltname { place: r2.clone(), ifindex: 200, altname: "GigabitEthernet0/0/0/7.with.long".into() },
        add(&r2, 200, "10.0.0.2/24"),
        add(&r2, 200, "2001:db8::2/64"),
        Request::AddRoute {
            place: r2.clone(),
            to: address("192.0.2.0/24"),
            via: Some("10.0.0.1".parse().unwrap()),
            ifindex: None,
        },
        Request::AddRoute {
            place: r2.clone(),
            to: address("::/0"),
            via: Some("2001:db8::1".parse().unwrap()),
            ifindex: Some(200),
        },
        Request::DeleteRoute { place: r2.clone(), to: address("192.0.2.0/24"), via: None, ifindex: None },
    ];
    for result in rtnl.submit(batch, soon()).await.unwrap() {
        result.unwrap();
    }
    let dumps: Vec<_> = dump(&[r1.clone(), r2.clone()]).unwrap().into_iter().map(Result::unwrap).collect();
    let a = dumps[0].named("eth1").unwrap();
    assert_eq!((a.ifindex, a.mtu, a.group, a.up, a.lower_up), (100, 9000, 77, true, true));
    assert_eq!(a.mac.unwrap().to_string(), "02:00:00:00:00:01");
    assert_eq!((a.kind.as_deref(), a.peer), (Some("veth"), Some(200)));
    assert!(a.peer_nsid.is_some());
    let b = dumps[1].named("GigabitEthernet0/0/0/7.with.long").unwrap();
    assert_eq!((b.ifindex, b.name.as_str(), b.alias.as_ref(), b.group), (200, "eth7", Some(&alias), 78));
    let addresses: Vec<String> =
        dumps[1].addresses_by_link()[&200].iter().filter(|a| !a.link_local).map(|a| a.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.2/24", "2001:db8::2/64"]);
    assert!(dumps[1].addresses_by_link()[&200].iter().all(|a| a.link_local || a.protocol == Some(78)));

    let gone = rtnl
        .submit(
            vec![Request::DeleteAddress { place: r2.clone(), ifindex: 200, address: address("10.0.0.2/24") }],
            soon(),
        )
        .await
        .unwrap();
    assert_eq!(gone, [Ok(())]);
}

#[tokio::test]
async fn an_interface_that_is_moved_stays_what_it_was() {
    if !root() {
        return;
    }
    let mut stage = Stage::new();
    let (old, new, peer) = (stage.node("old"), stage.node("new"), stage.node("peer"));
    let rtnl = Rtnl::start(stage.host.clone()).unwrap();
    let a = VethEnd {
        mac: Some("02:00:00:00:00:01".parse().unwrap()),
        mtu: Some(9000.try_into().unwrap()),
        group: 77,
        ..end(&old, "eth1", 100)
    };
    let marked = LinkChange { alias: Some("a mark".into()), state: Some(AdminState::Up), ..LinkChange::default() };
    let batch = vec![
        veth(a, end(&peer, "eth7", 200)),
        Request::SetLink { place: old.clone(), ifindex: 100, change: marked },
        Request::AddAltname { place: old.clone(), ifindex: 100, altname: "GigabitEthernet0/0/0/7.with.long".into() },
        up(&peer, 200),
        Request::MoveLink { place: old.clone(), ifindex: 100, to: new.clone(), state: AdminState::Up },
    ];
    for result in rtnl.submit(batch, soon()).await.unwrap() {
        result.unwrap();
    }
    let dumps: Vec<_> = dump(&[old, new, peer]).unwrap().into_iter().map(Result::unwrap).collect();
    assert!(dumps[0].named("eth1").is_none());
    let moved = dumps[1].named("GigabitEthernet0/0/0/7.with.long").unwrap();
    assert_eq!((moved.name.as_str(), moved.ifindex, moved.mtu, moved.group), ("eth1", 100, 9000, 77));
    assert_eq!(
        (moved.mac.unwrap().to_string().as_str(), moved.alias.as_deref()),
        ("02:00:00:00:00:01", Some("a mark"))
    );
    assert!(moved.up && moved.lower_up && dumps[2].named("eth7").unwrap().lower_up);
}

/// Whether what one place sends to 10.0.0.2, which the other one has, has its checksum.
fn sends_whole(from: &Place, to: &Place) -> bool {
    const IPV4: [u8; 2] = [0x08, 0x00];
    const UDP: u8 = 17;
    let receive = || {
        let all = NonZeroU32::new(u32::from(3_u16.to_be())).map(Protocol::from_raw);
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, all).unwrap();
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_secs(5))).unwrap();
        socket
    };
    let capture = to.netns().run(receive).unwrap();
    from.netns().run(|| UdpSocket::bind("10.0.0.1:0").unwrap().send_to(b"12345678", "10.0.0.2:9").unwrap()).unwrap();
    let mut frame = [0; 2048];
    loop {
        let (length, _) = recv(&capture, &mut frame[..], RecvFlags::empty()).expect("a datagram comes within 5 s");
        let ip = &frame[14..length];
        if frame[12..14] == IPV4 && ip[9] == UDP && ip[12..16] == [10, 0, 0, 1] {
            // Of addresses, protocol, length and the datagram itself (RFC 768); its ends are even.
            let udp = &ip[20..];
            let summed = [&ip[12..20], &[0, UDP], &udp[4..6], udp].concat();
            let sum: u32 = summed.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
            return (sum & 0xffff) + (sum >> 16) == 0xffff;
        }
    }
}

#[tokio::test]
async fn an_interface_that_completes_checksums_goes_on_with_it_where_it_is_moved() {
    if !root() {
        return;
    }
    let mut stage = Stage::new();
    let (r1, r2, new) = (stage.node("r1"), stage.node("r2"), stage.node("new"));
    let rtnl = Rtnl::start(stage.host.clone()).unwrap();
    let complete = |place: &Place| Request::DisableTxChecksum { place: place.clone(), name: "eth1".parse().unwrap() };
    let batch = vec![
        veth(end(&r1, "eth1", 100), end(&r2, "eth1", 200)),
        // Among others its turn is as theirs.
        complete(&r2),
        up(&r2, 200),
        add(&r1, 100, "10.0.0.1/24"),
        add(&r2, 200, "10.0.0.2/24"),
    ];
    assert_eq!(rtnl.submit(batch, soon()).await.unwrap(), [const { Ok(()) }; 5]);
    assert!(!sends_whole(&r1, &r2), "a veth leaves them to others");
    for _ in 0..2 {
        assert_eq!(rtnl.submit(vec![complete(&r1)], soon()).await.unwrap(), [Ok(())]);
        assert!(sends_whole(&r1, &r2));
    }
    let batch = vec![
        Request::MoveLink { place: r1.clone(), ifindex: 100, to: new.clone(), state: AdminState::Up },
        add(&new, 100, "10.0.0.1/24"),
    ];
    assert_eq!(rtnl.submit(batch, soon()).await.unwrap(), [Ok(()), Ok(())]);
    assert!(sends_whole(&new, &r2));

    let of = |name: &str| Request::DisableTxChecksum { place: r1.clone(), name: name.parse().unwrap() };
    let refused = rtnl.submit(vec![of("eth1"), of("lo")], soon()).await.unwrap();
    let refused: Vec<(K, String)> =
        refused.into_iter().filter_map(|result| result.err().map(|error| (error.kind, error.message))).collect();
    let why = "cannot switch off checksum offload of interface";
    let fixed = "its driver does not let `tx-checksumming` be switched (`ethtool -k` shows it as fixed)";
    let expected = [
        (K::NotFound, format!("{why} `eth1` in `r1`: no such device")),
        (K::Unsupported, format!("{why} `lo` in `r1`: {fixed}")),
    ];
    assert_eq!(refused, expected);
}

#[tokio::test]
async fn refusals_read_as_sentences_that_name_object_and_place() {
    if !root() {
        return;
    }
    let mut stage = Stage::new();
    let (r1, r2) = (stage.node("r1"), stage.node("r2"));
    let rtnl = Rtnl::start(stage.host.clone()).unwrap();
    let dummy = Request::CreateDummy { end: end(&r1, "d0", 900) };
    let batch = vec![
        veth(end(&r1, "eth1", 100), end(&r2, "eth1", 101)),
        veth(end(&r1, "eth1", 102), end(&r2, "eth2", 103)),
        veth(end(&r1, "eth3", 104), end(&r2, "eth1", 105)),
        veth(end(&r1, "eth4", 100), end(&r2, "eth4", 107)),
        veth(end(&r1, "eth5", 108), end(&r2, "eth5", 101)),
        add(&r1, 100, "10.0.0.1/24"),
        add(&r1, 100, "10.0.0.1/24"),
        up(&r1, 4711),
        Request::DeleteLink { place: r1.clone(), ifindex: 4711 },
        Request::DeleteAddress { place: r1.clone(), ifindex: 100, address: address("10.9.9.9/24") },
        Request::DeleteGroup { place: r1.clone(), group: 12345 },
        veth(end(&stage.host(), "eth1", 50), end(&r2, "eth1", 51)),
        Request::SetLink {
            place: r1.clone(),
            ifindex: 100,
            change: LinkChange { master: Some(1), ..LinkChange::default() },
        },
    ];
    let results = rtnl.submit(batch, soon()).await.unwrap();
    let said: Vec<(K, String)> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .map(|error| (error.kind, error.to_string()))
        .collect();
    let expected = [
        (K::AlreadyExists, "interface `eth1` already exists in `r1` (a veth)"),
        (K::AlreadyExists, "interface `eth1` already exists in `r2` (a veth)"),
        (K::IfindexTaken, "cannot create link `eth4` in `r1` with `eth4` in `r2`: its ifindex is taken"),
        (K::IfindexTaken, "cannot create link `eth5` in `r1` with `eth5` in `r2`: its ifindex is taken"),
        (K::AlreadyExists, "address 10.0.0.1/24 is already on interface `eth1` in `r1`"),
        (K::NotFound, "cannot bring up interface #4711 in `r1`: no such device"),
        (K::NotFound, "cannot delete interface #4711 in `r1`: no such device"),
        (K::NotFound, "cannot delete address 10.9.9.9/24 of interface `eth1` in `r1`: ipv4: Address not found"),
        (K::NotFound, "cannot delete interfaces of group 12345 in `r1`: no such device"),
        (K::AlreadyExists, "interface `eth1` already exists in `r2` (a veth)"),
    ];
    for ((kind, text), (expected_kind, expected_text)) in said.iter().zip(expected) {
        // Linux 6.1 has no words of its own for an address that is not there.
        let text = text.replace("cannot assign requested address", "ipv4: Address not found");
        assert_eq!((*kind, text.as_str()), (expected_kind, expected_text));
    }
    assert_eq!(said.len(), expected.len() + 1, "{said:#?}");
    assert!(said.last().unwrap().1.starts_with("cannot make a bridge port of interface `eth1` in `r1`: "), "{said:?}");

    // This kernel may or may not have the module; either is said plainly.
    match rtnl.submit(vec![dummy], soon()).await.unwrap().remove(0) {
        Ok(()) => {}
        Err(error) => {
            assert_eq!(error.kind, K::Unsupported);
            assert!(error.to_string().starts_with("the kernel has no `dummy` interfaces (module dummy): "), "{error}");
        }
    }
}

#[tokio::test]
async fn a_group_is_deleted_at_once_and_takes_the_other_ends_with_it() {
    if !root() {
        return;
    }
    let mut stage = Stage::new();
    let (host, r1) = (stage.host(), stage.node("r1"));
    let rtnl = Rtnl::start(stage.host.clone()).unwrap();
    let bridge = Request::CreateBridge {
        place: host.clone(),
        name: "br0".parse().unwrap(),
        ifindex: Some(10),
        mac: Some("02:00:00:00:00:0a".parse().unwrap()),
        mtu: None,
        group: 5,
    };
    let mut batch = vec![bridge, up(&host, 10)];
    for n in 0..70 {
        batch.push(Request::CreateVeth {
            a: VethEnd { group: 9, ..end(&host, &format!("p{n}"), 100 + n) },
            a_state: AdminState::Up,
            a_master: Some(10),
            b: end(&r1, &format!("eth{n}"), 200 + n),
        });
    }
    for result in rtnl.submit(batch, soon()).await.unwrap() {
        result.unwrap();
    }
    let before = dump(std::slice::from_ref(&host)).unwrap().remove(0).unwrap();
    assert_eq!(before.links.iter().filter(|link| link.master == Some(10) && link.group == 9).count(), 70);
    assert_eq!(before.named("br0").unwrap().mac.unwrap().to_string(), "02:00:00:00:00:0a");
    let results = rtnl.submit(vec![Request::DeleteGroup { place: host.clone(), group: 9 }], soon()).await.unwrap();
    assert_eq!(results, [Ok(())]);
    let after: Vec<_> = dump(&[host, r1]).unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!((after[0].links.len(), after[1].links.len()), (2, 1));
}

#[tokio::test]
async fn a_deadline_that_has_passed_leaves_everything_undone() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let rtnl = Rtnl::start(stage.host.clone()).unwrap();
    let batch = vec![veth(end(&stage.host(), "a", 10), end(&stage.host(), "b", 11))];
    let late = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    assert_eq!(rtnl.submit(batch, late).await, Err(SubmitError::Deadline));
    // Answered after it in the queue, so the first is through.
    assert_eq!(rtnl.submit(vec![up(&stage.host(), 1)], soon()).await, Ok(vec![Ok(())]));
    assert_eq!(dump(&[stage.host()]).unwrap().remove(0).unwrap().links.len(), 1);
    // A batch is answered a moment before it counts as finished.
    let until = soon();
    while rtnl.backlog().oldest().is_some() {
        assert!(Instant::now() < until, "a batch that was answered stays unfinished");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_namespace_is_gone_once_its_pin_and_handles_are() {
    if !root() {
        return;
    }
    let mut stage = Stage::new();
    let rtnl = Rtnl::start(stage.host.clone()).unwrap();
    let dumper = Dumper::start(stage.host.clone(), &rtnl).unwrap();
    let pin = stage.path("doomed");
    let place = Place::node(Netns::create_pinned(&pin).unwrap(), "doomed");
    let other = stage.node("other");
    let batch = vec![veth(end(&place, "eth1", 10), end(&other, "eth1", 11)), up(&place, 1)];
    assert_eq!(rtnl.submit(batch, soon()).await, Ok(vec![Ok(()), Ok(())]));
    dumper.dump(vec![place.clone()], soon()).await.unwrap()[0].as_ref().unwrap();
    drop(place);
    unpin(&pin).unwrap();
    unpin(&pin).unwrap();
    // The kernel tears a namespace down in the background; the far end of its link tells when.
    let deadline = soon();
    while dump(std::slice::from_ref(&other)).unwrap().remove(0).unwrap().links.len() > 1 {
        assert!(Instant::now() < deadline, "something still holds the namespace");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_namespace_has_a_cookie_of_its_own_and_the_caller_stays_where_it_is() {
    if !root() {
        return;
    }
    let mut stage = Stage::new();
    let before = Netns::current().unwrap().cookie().unwrap();
    let (one, two) = (stage.node("one"), stage.node("two"));
    let cookies = [&one, &two].map(|place| place.netns().cookie().unwrap());
    assert_ne!(cookies[0], cookies[1]);
    assert_eq!(Netns::open(stage.path("one")).unwrap().cookie().unwrap(), cookies[0]);
    assert_eq!(Netns::current().unwrap().cookie().unwrap(), before);
    assert_eq!(Netns::host().unwrap().cookie().unwrap(), before);
    let forwarding = "/proc/sys/net/ipv4/ip_forward";
    one.netns().run(|| std::fs::write(forwarding, "1")).unwrap().unwrap();
    two.netns().run(|| std::fs::write(forwarding, "0")).unwrap().unwrap();
    assert_eq!(one.netns().run(|| std::fs::read_to_string(forwarding)).unwrap().unwrap(), "1\n");
    assert_eq!(two.netns().run(|| std::fs::read_to_string(forwarding)).unwrap().unwrap(), "0\n");
}

#[test]
fn pins_are_made_once_and_what_is_no_namespace_is_refused() {
    if !root() {
        return;
    }
    let mut stage = Stage::new();
    prepare_pin_directory(stage.path("")).unwrap();
    stage.node("r1");
    let again = Netns::create_pinned(stage.path("r1")).unwrap_err();
    assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
    Netns::open(stage.path("r1")).unwrap();
    std::fs::write(stage.path("file"), "").unwrap();
    assert_eq!(Netns::open(stage.path("file")).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    unpin(stage.path("file")).unwrap();
    assert!(!stage.path("file").exists());
}

#[tokio::test(flavor = "current_thread")]
async fn a_dump_is_whole_while_links_come_and_go() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let host = stage.host();
    let rtnl = Rtnl::start(stage.host.clone()).unwrap();
    let dumper = Dumper::start(stage.host.clone(), &rtnl).unwrap();
    // Enough to make a dump take several reads, in each of which the kernel looks for changes.
    let old =
        (0..150).map(|n| veth(end(&host, &format!("old{n}"), 1000 + n), end(&host, &format!("peer{n}"), 2000 + n)));
    for result in rtnl.submit(old.collect(), soon()).await.unwrap() {
        result.unwrap();
    }
    let churn = async {
        for round in 0..10 {
            let new = (0..100).map(|n| {
                let ifindex = 10_000 + round * 1000 + n * 2;
                veth(end(&host, &format!("n{round}.{n}"), ifindex), end(&host, &format!("m{round}.{n}"), ifindex + 1))
            });
            for result in rtnl.submit(new.collect(), soon()).await.unwrap() {
                result.unwrap();
            }
        }
    };
    let look = async {
        let mut worst = Duration::ZERO;
        for _ in 0..20 {
            let started = Instant::now();
            let found = dumper.dump(vec![host.clone()], soon()).await.unwrap().remove(0).unwrap();
            worst = worst.max(started.elapsed());
            assert_eq!(found.links.iter().filter(|link| link.name.starts_with("old")).count(), 150);
        }
        println!("slowest dump while links are made: {worst:?}");
    };
    tokio::join!(churn, look);
}

#[tokio::test]
async fn a_subinterface_is_made_of_its_parent_or_refused_with_the_module() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let host = stage.host();
    let rtnl = Rtnl::start(stage.host.clone()).unwrap();
    let vlan = |name: &str, id| Request::CreateVlan {
        end: VethEnd { ifindex: None, ..end(&host, name, 0) },
        place: host.clone(),
        parent: 100,
        id,
    };
    let batch = vec![veth(end(&host, "p0", 100), end(&host, "p1", 101)), vlan("p0.7", 7), vlan("other", 7)];
    let mut results = rtnl.submit(batch, soon()).await.unwrap();
    assert_eq!(results.remove(0), Ok(()));
    match results.remove(0) {
        Ok(()) => {
            let twice = results.remove(0).unwrap_err();
            assert_eq!(twice.kind, K::Busy, "{twice}");
            let seen = dump(&[host]).unwrap().remove(0).unwrap();
            let made = seen.named("p0.7").unwrap();
            assert_eq!((made.vlan, made.peer, made.up), (Some(7), Some(100), false));
        }
        Err(error) => {
            assert_eq!(error.kind, K::Unsupported);
            assert!(error.to_string().starts_with("the kernel has no VLAN subinterfaces (module 8021q): "), "{error}");
        }
    }
}

#[tokio::test]
async fn the_way_that_packets_take_is_known_and_told_when_it_changes() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let host = stage.host();
    let rtnl = Rtnl::start(stage.host.clone()).unwrap();
    let dumper = Dumper::start(stage.host.clone(), &rtnl).unwrap();
    let elsewhere: IpAddr = "1.1.1.1".parse().unwrap();
    let (told, mut way) = tokio::sync::watch::channel(None);
    let _watch = WayWatch::start(&stage.host, elsewhere, move |way| {
        let _ = told.send(way);
    })
    .unwrap();
    let all = vec![elsewhere, "10.0.0.9".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    assert_eq!(dumper.ways(host.clone(), all.clone(), soon()).await.unwrap(), Ok(vec![None, None, None]));
    let default = Request::AddRoute {
        place: host.clone(),
        to: address("0.0.0.0/0"),
        via: Some("10.0.0.1".parse().unwrap()),
        ifindex: Some(100),
    };
    let made = vec![
        veth(end(&host, "p0", 100), end(&host, "p1", 101)),
        up(&host, 101),
        add(&host, 100, "10.0.0.2/24"),
        default,
    ];
    assert!(rtnl.submit(made, soon()).await.unwrap().iter().all(Result::is_ok));
    let expected = Some(Way { ifindex: 100, source: Some("10.0.0.2".parse().unwrap()) });
    assert_eq!(dumper.ways(host.clone(), all, soon()).await.unwrap(), Ok(vec![expected, expected, None]));
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, way.wait_for(|way| *way == expected)).await.unwrap().unwrap();
    // Of the routes that go with it nothing is said.
    let down = LinkChange { state: Some(AdminState::Down), ..LinkChange::default() };
    let down = Request::SetLink { place: host, ifindex: 100, change: down };
    assert_eq!(rtnl.submit(vec![down], soon()).await.unwrap(), [Ok(())]);
    tokio::time::timeout(limit, way.wait_for(Option::is_none)).await.unwrap().unwrap();
}
