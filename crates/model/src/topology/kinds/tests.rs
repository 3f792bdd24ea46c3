//! The built-in kinds, files that go over them, and the names that vendors give interfaces.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use proptest::prelude::*;

use super::{EMBEDDED, KindSpec, Kinds};
use crate::kind::Shape;
use crate::lab::LinkApplyMode;

/// The names that the format's kinds have, old ones included, and those of other tools for the same devices.
const NAMES: &str = "6wind_vsr arista_ceos ceos arista_veos vr-veos vr-arista_veos arrcus_arcos aruba_aoscx vr-aoscx \
    border0 bridge checkpoint_cloudguard ciena_saos cisco_asav cisco_c8000 cisco_c8000v vr-c8000v cisco_cat9kv \
    cisco_csr1000v vr-csr vr-cisco_csr1000v cisco_ftdv cisco_iol cisco_n9kv vr-n9kv vr-cisco_n9kv cisco_sdwan \
    cisco_vios cisco_xrd xrd cisco_xrd_vrouter cisco_xrv vr-xrv vr-cisco_xrv cisco_xrv9k vr-xrv9k vr-cisco_xrv9k \
    cumulus_cvx cvx dell_ftosv vr-ftosv vr-dell_ftosv dell_sonic ext-container f5_bigip-ve fdio_vpp \
    fortinet_fortigate freebsd generic_vm host huawei_vrp ipinfusion_ocnos juniper_cjunosevolved juniper_crpd crpd \
    juniper_csrx juniper_vjunosevolved vr-vjunosevolved juniper_vjunosrouter juniper_vjunosswitch vr-vjunosswitch \
    vr-juniper_vjunosswitch juniper_vmx vr-vmx vr-juniper_vmx juniper_vqfx vr-vqfx vr-juniper_vqfx juniper_vsrx \
    vr-vsrx vr-juniper_vsrx k8s-kind keysight_ixia-c-one keysight_ixiac linux mikrotik_ros vr-ros vr-mikrotik_ros \
    nokia_srlinux srl nokia_sros vr-sros vr-nokia_sros nokia_srsim nvidia_cumulusvx openbsd openwrt ostinato \
    ovs-bridge paloalto_panos vr-pan vr-paloalto_panos rare sonic-vm sonic-vs spirent_stc vyosnetworks_vyos \
    alpine frr vyos haproxy eos arista_eos juniper_cjunos cjunos iol-xe iol iol-l2 cisco_iosxr cisco_iosv iosvl2 \
    cat9800 cat9000v-q200 cat9000v-uadp fmcv ftdv cat-sdwan-controller cat-sdwan-manager cat-sdwan-validator \
    cat-sdwan-vedge juniper_vsrx3 f5_bigip citrix_adc paloalto_vmseries windows tcl c8000v asav";

fn builtin(name: &str) -> &'static KindSpec {
    Kinds::builtin().find(name).unwrap_or_else(|| panic!("no kind `{name}`"))
}

/// The kernel's name of an interface of a kind, or nothing if it can have none of that name.
fn kernel(kind: &str, written: &str) -> Option<String> {
    let rule = builtin(kind).interfaces.as_ref()?;
    rule.interface(written).map(|found| found.kernel().to_string())
}

fn extended(texts: &[&str]) -> Result<Kinds, String> {
    let mut kinds = Kinds::builtin().clone();
    for text in texts {
        kinds.extend("kinds/acme.toml", text).map_err(|error| error.to_string())?;
    }
    Ok(kinds)
}

#[test]
fn each_built_in_kind_is_read_and_every_file_of_the_folder_is_built_in() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/kinds");
    let there: BTreeSet<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let embedded: BTreeSet<String> = EMBEDDED.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(there, embedded);
    for (file, text) in EMBEDDED {
        let mut kinds = Kinds::default();
        kinds.extend(file, text).unwrap();
        let kind = kinds.iter().next().unwrap();
        assert_eq!(format!("{}.toml", kind.name), *file);
        assert_eq!(&KindSpec { ..toml::from_str(text).unwrap() }, kind);
        assert_eq!(&toml::from_str::<KindSpec>(&kind.to_toml()).unwrap(), kind, "{file} can be written and read again");
    }
    assert_eq!(Kinds::builtin().iter().count(), EMBEDDED.len());
}

#[test]
fn each_name_of_the_format_and_of_the_agent_contract_is_known_once() {
    let mut of: BTreeMap<&str, &str> = BTreeMap::new();
    for kind in Kinds::builtin().iter() {
        for name in std::iter::once(&kind.name).chain(&kind.aliases) {
            let before = of.insert(name.as_str(), kind.name.as_str());
            assert_eq!(before, None, "`{name}` is of two kinds");
        }
    }
    for name in NAMES.split_whitespace() {
        assert!(of.contains_key(name), "`{name}` is unknown");
    }
    assert_eq!(builtin("SRL").name.as_str(), "nokia_srlinux");
    assert_eq!(Kinds::builtin().nearest("nokia_srlinx"), Some("nokia_srlinux"));
}

#[test]
fn only_four_kinds_are_anything_but_something_that_runs() {
    let others: Vec<&str> = Kinds::builtin()
        .iter()
        .filter(|kind| kind.name.shape() != Shape::Runs)
        .map(|kind| kind.name.as_str())
        .collect();
    assert_eq!(others, ["bridge", "ext-container", "host", "ovs-bridge"]);
}

#[test]
fn each_example_of_a_rule_is_a_name_that_it_takes() {
    for kind in Kinds::builtin().iter() {
        let Some(rule) = &kind.interfaces else { continue };
        let example = rule.example.as_deref().unwrap_or_default();
        for name in example.split([',', ' ']).filter(|word| !word.is_empty() && *word != "or") {
            assert!(rule.interface(name).is_some(), "{}: {name}", kind.name);
        }
    }
}

#[test]
fn vendor_names_of_interfaces_become_those_of_the_kernel() {
    for (kind, written, wanted) in [
        ("nokia_srlinux", "e1-1", "e1-1"),
        ("nokia_srlinux", "ethernet-1/2", "e1-2"),
        ("srl", "ethernet-1/31/4", "e1-31-4"),
        ("arista_ceos", "eth1", "eth1"),
        ("arista_ceos", "et2", "eth2"),
        ("arista_ceos", "Ethernet3", "eth3"),
        ("arista_ceos", "Ethernet3/1", "eth3_1"),
        ("arista_ceos", "eth3_1", "eth3_1"),
        ("juniper_vmx", "ge-0/0/0", "eth1"),
        ("juniper_vsrx", "xe-0/0/3", "eth4"),
        ("juniper_vqfx", "et-0/0/9", "eth10"),
        ("juniper_vjunosrouter", "ge-0/0/1", "eth2"),
        ("juniper_vjunosswitch", "ge-0/0/1", "eth2"),
        ("juniper_vjunosevolved", "et-0/0/1", "eth2"),
        ("juniper_cjunosevolved", "et-0/0/0", "eth4"),
        ("cisco_csr1000v", "Gi2", "eth1"),
        ("cisco_csr1000v", "GigabitEthernet3", "eth2"),
        ("cisco_c8000v", "Gi2", "eth1"),
        ("cisco_cat9kv", "Gi1/0/1", "eth1"),
        ("cisco_n9kv", "Ethernet1/5", "eth5"),
        ("cisco_xrv", "Gi0/0/0/0", "eth1"),
        ("cisco_xrv9k", "TenGigE0/0/0/2", "eth3"),
        ("cisco_xrd", "Gi0-0-0-1", "Gi0-0-0-1"),
        ("cisco_xrd", "GigabitEthernet0/0/0/1", "Gi0-0-0-1"),
        ("cisco_ftdv", "Gi0/0", "eth1"),
        ("cisco_iol", "e0/1", "eth1"),
        ("cisco_iol", "Ethernet1/0", "eth4"),
        ("arista_veos", "Et1/2", "eth2"),
        ("nokia_sros", "1/1/3", "eth3"),
        ("nokia_sros", "1/1/c2/1", "eth2"),
        ("nokia_srsim", "1/1/c1/1", "e1-1-c1-1"),
        ("nokia_srsim", "2/x1/1/c3/1", "e2-x1-1-c3-1"),
        ("nvidia_cumulusvx", "swp7", "eth7"),
        ("aruba_aoscx", "1/1/4", "eth4"),
        ("dell_ftosv", "ethernet1/1/2", "eth2"),
        ("paloalto_panos", "Ethernet1/1", "eth1"),
        ("fortinet_fortigate", "port2", "eth1"),
        ("f5_bigip-ve", "1.2", "eth2"),
        ("mikrotik_ros", "ether2", "eth1"),
        ("ciena_saos10", "1", "eth1"),
        ("cisco_c8000", "FH0_0_0_0", "FH0_0_0_0"),
        ("cisco_c8000", "HundredGigE0/0/0/3", "Hu0_0_0_3"),
    ] {
        assert_eq!(kernel(kind, written).as_deref(), Some(wanted), "{kind} {written}");
    }
}

#[test]
fn names_that_a_kind_does_not_have_are_none() {
    for (kind, written) in [
        ("nokia_srlinux", "eth1"),
        ("nokia_srlinux", "ethernet-1"),
        ("arista_ceos", "eth0"),
        ("arista_ceos", "et0"),
        ("cisco_csr1000v", "Gi1"),
        ("cisco_csr1000v", "Gi0"),
        ("cisco_csr1000v", "Gi2/1"),
        ("cisco_csr1000v", "xGi2"),
        ("cisco_csr1000v", "Gi99999999999999999999"),
        ("cisco_iol", "e0/0"),
        ("juniper_vmx", "ge-0/1/0"),
        ("arista_veos", "eth0"),
        ("generic_vm", "wan"),
    ] {
        assert_eq!(kernel(kind, written), None, "{kind} {written}");
    }
}

#[test]
fn a_kind_gives_its_nodes_what_its_file_says() {
    let srl = builtin("nokia_srlinux").device();
    assert_eq!(srl.management.as_ref().map(crate::InterfaceName::as_str), Some("mgmt0"));
    assert_eq!((srl.shell, srl.needs.kvm), (vec!["sr_cli".to_owned()], false));
    assert_eq!(srl.config.unwrap().extract, ["sr_cli", "-d", "info flat"]);
    assert_eq!(srl.readiness.unwrap().log[0], "System is ready");
    let of = |kind: &str| builtin(kind).device().config.unwrap().file_name().to_owned();
    assert_eq!((of("srl"), of("ceos")), ("config.cli".to_owned(), "startup-config".to_owned()));
    let ansible: Vec<(String, &str)> = builtin("ceos").ansible().collect();
    let wanted = [("ansible_connection", "ansible.netcommon.network_cli"), ("ansible_network_os", "arista.eos.eos")];
    assert_eq!(ansible, wanted.map(|(name, value)| (name.to_owned(), value)));
    let csr = builtin("vr-csr").device();
    assert_eq!((csr.needs.kvm, csr.needs.interfaces_first), (true, true));
    assert_eq!(builtin("arista_ceos").link_apply_mode, Some(LinkApplyMode::Restart));
    assert!(builtin("linux").device().is_empty());
}

#[test]
fn a_later_file_adds_a_kind_or_goes_over_one() {
    let acme = "name = \"acme_router\"\naliases = [\"acme\"]\nabout = \"ACME router\"\nshell = \"acmesh -l\"\n\
        env = { BOOT = 1 }\nansible = { user = \"me\", port = 22 }\n[interfaces]\npattern = \"port[0-9]+\"\nexample = \"port1\"\n";
    let over = "name = \"acme_router\"\naliases = [\"acme2\"]\nenv = { MORE = true }\n[needs]\nkvm = true\n\
        [ansible]\nuser = \"you\"\n";
    let kinds = extended(&[acme, over]).unwrap();
    let kind = kinds.find("ACME2").unwrap();
    assert_eq!((kind.name.as_str(), kind.about()), ("acme_router", "ACME router"));
    assert_eq!(kind.device().shell, ["acmesh", "-l"]);
    assert!(kind.device().needs.kvm);
    let env: Vec<(&str, &str)> = kind.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("BOOT", "1"), ("MORE", "true")]);
    let ansible: Vec<(String, &str)> = kind.ansible().collect();
    assert_eq!(ansible, [("ansible_port".to_owned(), "22"), ("ansible_user".to_owned(), "you")]);
    assert_eq!(kinds.find("acme"), kinds.find("acme_router"));

    let kinds = extended(&["name = \"nokia_srlinux\"\nenv = { SRLINUX = \"2\" }\n"]).unwrap();
    assert_eq!(kinds.find("srl").unwrap().env["SRLINUX"].as_str(), "2");
    assert_eq!(kinds.find("srl").unwrap().about(), "Nokia SR Linux");
}

#[test]
fn a_file_that_is_no_kind_is_explained_with_its_line() {
    for (text, said) in [
        ("about = \"no name\"\n", "missing field `name`"),
        ("name = \"Acme\"\n", "kinds/acme.toml:1: kind `Acme` contains `A`; write it in lower-case letters"),
        ("name = \"acme\"\n", "kinds/acme.toml:1: kind `acme` has no `about`; add one line that says what it is"),
        ("name = \"acme\"\nabout = \"A\"\nshel = \"sh\"\n", "kinds/acme.toml:3: unknown field `shel`, expected one of"),
        (
            "name = \"acme\"\nabout = \"A\"\ncmd = \"sh -c 'x\"\n",
            "kinds/acme.toml:3: the command `sh -c 'x` ends inside",
        ),
        ("name = \"acme\"\nabout = \"A\"\nruntime = \"bridge\"\n", "kinds/acme.toml:3: only the kinds `bridge`"),
        ("name = \"acme\"\nabout = \"A\"\naliases = [\"srl\"]\n", "kinds/acme.toml:3: the alias `srl` is another name"),
        ("name = \"acme\"\nabout = \"A\"\naliases = [\"linux\"]\n", "the alias `linux` is the name of a kind already"),
        (
            "name = \"srl\"\nabout = \"A\"\n",
            "kinds/acme.toml:1: `srl` is another name of the kind `nokia_srlinux`; write",
        ),
        ("name = \"acme\"\nabout = \"A\"\nenv = { \"A=B\" = 1 }\n", "kinds/acme.toml:3: `A=B` cannot be the name"),
        ("name = \"acme\"\nabout = \"A\"\nsysctls = { x = 1 }\n", "kinds/acme.toml:3: `x` is not the name of a sysctl"),
        ("name = \"acme\"\nabout = \"A\"\ncap-add = [\"net\"]\n", "kinds/acme.toml:3: `net` is not a capability"),
        (
            "name = \"acme\"\nabout = \"A\"\n[interfaces]\npattern = \"(\"\n",
            "kinds/acme.toml:4: the pattern `(` cannot be used",
        ),
        (
            "name = \"acme\"\nabout = \"A\"\n[interfaces]\npattern = \"x\"\n",
            "kinds/acme.toml:4: a `pattern` for the names",
        ),
        (
            "name = \"acme\"\nabout = \"A\"\n[interfaces]\naliases = [{ pattern = \"p[0-9]\", kernel = \"eth{port}\" }]\n",
            "kinds/acme.toml:4: `{port}` of `eth{port}` is no group of its pattern; write `(?<port>…)`",
        ),
        (
            "name = \"acme\"\nabout = \"A\"\n[interfaces]\naliases = [{ pattern = \"p\", kernel = \"eth1\", offset = 1 }]\n",
            "kinds/acme.toml:4: the pattern `p` has no group `port` to reckon with",
        ),
        (
            "name = \"acme\"\nabout = \"A\"\n[config]\npath = \"etc\"\n",
            "kinds/acme.toml:4: `etc` is not an absolute path",
        ),
        (
            "name = \"acme\"\nabout = \"A\"\n[config]\nsave-as = \"../x\"\n",
            "kinds/acme.toml:4: `../x` is not the name of a file",
        ),
        ("name = \"acme\"\nabout = \"A\"\nansible = { \"a b\" = 1 }\n", "kinds/acme.toml:3: `a b` cannot be the name"),
        ("name = \"acme\n", "kinds/acme.toml:1: "),
        (
            "name = \"acme\"\nabout = \"A\"\n[interfaces]\npattern = \"(x{1000}){1000}\"\n",
            "kinds/acme.toml:4: the pattern",
        ),
    ] {
        let error = extended(&[text]).unwrap_err();
        assert!(error.contains(said), "{text}\n{error}");
    }
}

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/topology/kinds.md")).unwrap()
}

/// The blocks of code of a page in a language.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let open = format!("```{language}\n");
    page.split(&open).skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn the_examples_of_the_page_are_kinds() {
    let page = page();
    let [own, over] = blocks(&page, "toml")[..] else { panic!("two examples") };
    let kinds = extended(&[own, over]).unwrap();
    let acme = kinds.find("acme").unwrap();
    let rule = acme.interfaces.as_ref().unwrap();
    assert_eq!(rule.interface("port0").unwrap().kernel().as_str(), "eth1");
    assert_eq!(rule.interface("eth0"), None);
    let device = acme.device();
    assert_eq!((device.needs.memory_mib, device.needs.interfaces_first), (4096, true));
    assert_eq!(device.readiness.unwrap().timeout, 300);
    // Every key of a kind is in the example or in its table.
    let text = acme.to_toml();
    for key in text.lines().filter_map(|line| line.split_once(" = ").map(|(key, _)| key.trim_matches('"'))) {
        assert!(page.contains(key), "{key}");
    }
}

#[test]
fn the_page_lists_every_kind() {
    let mut rows = String::new();
    for kind in Kinds::builtin().iter() {
        let aliases: Vec<String> = kind.aliases.iter().map(|alias| format!("`{alias}`")).collect();
        writeln!(rows, "| `{}` | {} | {} |", kind.name, aliases.join(", "), kind.about()).unwrap();
    }
    let page = page();
    let listed = page.split_once("| kind | also | what |\n|---|---|---|\n").unwrap().1;
    assert_eq!(listed, rows);
}

/// A change of a text: cut out, put in.
fn mutation() -> impl Strategy<Value = (usize, usize, &'static str)> {
    let pieces =
        ["", "\"", "[", "]", "=", "\n", "{port}", "(?<port>[0-9]+)", "\\", "\u{0}", "é", "99999999999", "-1", "true"];
    (0..2000_usize, 0..20_usize, prop::sample::select(pieces.to_vec()))
}

fn mutated(text: &str, changes: &[(usize, usize, &str)]) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for (at, len, piece) in changes {
        let at = at % (letters.len() + 1);
        let end = (at + len).min(letters.len());
        letters.splice(at..end, piece.chars());
    }
    letters.into_iter().collect()
}

proptest! {
    #[test]
    fn no_text_of_a_kind_and_no_name_of_an_interface_is_a_panic(
        which in 0..EMBEDDED.len(),
        changes in prop::collection::vec(mutation(), 0..4),
        interface in ".{0,40}|[a-zA-Z]{1,5}[0-9]{1,25}(/[0-9]{1,25}){0,4}",
    ) {
        let mut kinds = Kinds::default();
        let text = mutated(EMBEDDED[which].1, &changes);
        if kinds.extend("kind.toml", &text).is_ok() {
            for kind in kinds.iter() {
                let _ = kind.interface(&interface);
                let again: KindSpec = toml::from_str(&kind.to_toml()).unwrap();
                prop_assert_eq!(&again, kind);
            }
        }
        if let Some(found) = Kinds::builtin().iter().nth(which).and_then(|kind| kind.interface(&interface).ok()) {
            prop_assert_eq!(found.display(), interface);
        }
    }
}
