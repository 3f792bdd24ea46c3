//! Topologies that were generated are right, whatever their shape and size.

use proptest::prelude::*;

use super::*;
use crate::topology::generate::{Addresses, MAX, Recipe, Refused, Shape, generate};

fn recipe(shape: Shape, addresses: Addresses) -> Recipe {
    Recipe {
        shape,
        name: "made".parse().unwrap(),
        prefix: None,
        kind: "linux".to_owned(),
        runtime: Some("namespace".to_owned()),
        image: None,
        addresses,
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        (2_u32..40).prop_map(|nodes| Shape::Line { nodes }),
        (3_u32..40).prop_map(|nodes| Shape::Ring { nodes }),
        (1_u32..40).prop_map(|around| Shape::Star { around }),
        (2_u32..12).prop_map(|nodes| Shape::Mesh { nodes }),
        (1_u32..5, 1_u32..9, 0_u32..5).prop_map(|(spines, leaves, hosts)| Shape::Clos { spines, leaves, hosts }),
    ]
}

/// How many nodes and links.
fn size(shape: Shape) -> (u32, u32) {
    match shape {
        Shape::Line { nodes } => (nodes, nodes - 1),
        Shape::Ring { nodes } => (nodes, nodes),
        Shape::Star { around } => (around + 1, around),
        Shape::Mesh { nodes } => (nodes, nodes * (nodes - 1) / 2),
        Shape::Clos { spines, leaves, hosts } => (spines + leaves + leaves * hosts, leaves * (spines + hosts)),
    }
}

proptest! {
    #[test]
    fn a_generated_topology_is_a_lab_of_its_size_without_a_warning(shape in shapes(), addressed in any::<bool>()) {
        let addresses = if addressed { Addresses::PerLink } else { Addresses::Absent };
        let text = generate(&recipe(shape, addresses)).unwrap();
        prop_assert_eq!(said(&text), "", "{}", text);
        let lab = lab(&text);
        let (nodes, links) = size(shape);
        prop_assert_eq!((lab.nodes().len(), lab.links().len()), (nodes as usize, links as usize));
        let given: BTreeSet<_> = lab.links().iter().flat_map(|link| link.ends().filter_map(|end| end.ipv4)).collect();
        prop_assert_eq!(given.len(), if addressed { 2 * links as usize } else { 0 });
    }

    #[test]
    fn names_and_images_are_written_so_that_they_are_read_again(name in "[A-Za-z0-9][-A-Za-z0-9._]{0,20}", image in "[!-~]{1,20}") {
        let shape = Shape::Line { nodes: 2 };
        let (runtime, image) = (None, Some(image));
        let text = generate(&Recipe { name: name.parse().unwrap(), runtime, image: image.clone(), ..recipe(shape, Addresses::Absent) });
        let lab = lab(&text.unwrap());
        prop_assert_eq!(lab.name().as_str(), name);
        prop_assert_eq!(&node(&lab, "r1").image, &image);
    }
}

#[test]
fn a_small_ring_and_a_small_clos_read_as_a_person_would_write_them() {
    insta::assert_snapshot!(generate(&recipe(Shape::Ring { nodes: 3 }, Addresses::Absent)).unwrap(), @r#"
    # A ring of 3 nodes: eth1 goes to the next one, eth2 to the one before.
    name: made
    topology:
      defaults:
        kind: linux
        runtime: namespace
      nodes:
        r1: {}
        r2: {}
        r3: {}
      links:
        - endpoints: ["r1:eth1", "r2:eth2"]
        - endpoints: ["r2:eth1", "r3:eth2"]
        - endpoints: ["r3:eth1", "r1:eth2"]
    "#);
    let shape = Shape::Clos { spines: 1, leaves: 2, hosts: 1 };
    insta::assert_snapshot!(generate(&recipe(shape, Addresses::PerLink)).unwrap(), @r#"
    # A Clos network; spines: 1, leaves: 2, hosts at each leaf: 1.
    name: made
    topology:
      defaults:
        kind: linux
        runtime: namespace
      groups:
        spines: { labels: { graph-level: 0 } }
        leaves: { labels: { graph-level: 1 } }
        hosts: { labels: { graph-level: 2 } }
      nodes:
        s1: { group: spines }
        l1: { group: leaves }
        l2: { group: leaves }
        h1: { group: hosts }
        h2: { group: hosts }
      links:
        - { endpoints: ["l1:eth1", "s1:eth1"], ipv4: [10.0.0.0/31, 10.0.0.1/31] }
        - { endpoints: ["l2:eth1", "s1:eth2"], ipv4: [10.0.0.2/31, 10.0.0.3/31] }
        - { endpoints: ["l1:eth2", "h1:eth1"], ipv4: [10.0.0.4/31, 10.0.0.5/31] }
        - { endpoints: ["l2:eth2", "h2:eth1"], ipv4: [10.0.0.6/31, 10.0.0.7/31] }
    "#);
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    let why = |shape| generate(&recipe(shape, Addresses::Absent)).unwrap_err();
    assert_eq!(why(Shape::Ring { nodes: 2 }).to_string(), "a ring needs at least 3 nodes, and this is 2");
    for shape in [
        Shape::Line { nodes: 1 },
        Shape::Star { around: 0 },
        Shape::Mesh { nodes: 0 },
        Shape::Clos { spines: 0, leaves: 1, hosts: 1 },
        Shape::Clos { spines: 1, leaves: 0, hosts: 1 },
    ] {
        assert!(matches!(why(shape), Refused::TooFew { .. }), "{shape:?}");
    }
    for shape in [
        Shape::Ring { nodes: u32::MAX },
        Shape::Star { around: u32::MAX },
        Shape::Mesh { nodes: 448 },
        Shape::Mesh { nodes: u32::MAX },
        Shape::Clos { spines: 1, leaves: 1, hosts: 100_000 },
        Shape::Clos { spines: u32::MAX, leaves: u32::MAX, hosts: u32::MAX },
    ] {
        assert!(matches!(why(shape), Refused::TooMany { .. }), "{shape:?}");
    }
}

#[test]
fn the_largest_topology_that_is_written_can_be_read() {
    let largest = u32::try_from(MAX).unwrap();
    let text = generate(&recipe(Shape::Ring { nodes: largest }, Addresses::PerLink)).unwrap();
    assert_eq!(lab(&text).links().len(), largest as usize);
}
