use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use netloom_engine::TraceKind::{self, Directory, Layer, Names, Namespace, NamespaceLink, Record};

use super::*;

fn ground(root: &std::path::Path) -> Ground {
    Ground { layout: Layout::new(root).unwrap(), cgroups: Cgroups::detect().unwrap() }
}

#[test]
fn what_is_left_in_files_is_found_once_and_gone_with_its_directories() {
    let root = tempfile::tempdir().unwrap();
    let ground = ground(root.path());
    let layout = &ground.layout;
    let (lab, node): (LabName, NodeName) = ("x".parse().unwrap(), "r1".parse().unwrap());
    let pin = layout.pin(&lab, &node);
    fs::create_dir_all(pin.parent().unwrap()).unwrap();
    // A file without a namespace is what a reboot leaves.
    fs::write(&pin, "").unwrap();
    fs::create_dir_all(layout.ip_netns()).unwrap();
    symlink(&pin, layout.ip_netns().join("clab-x-r1")).unwrap();
    symlink("/somewhere/else", layout.ip_netns().join("foreign")).unwrap();
    fs::write(layout.ip_netns().join("by-hand"), "").unwrap();
    fs::create_dir_all(layout.layer(&lab, &node).join("upper/etc")).unwrap();
    fs::create_dir_all(layout.node_run(&lab, &node)).unwrap();
    fs::create_dir_all(layout.state().join("containers/x")).unwrap();
    fs::write(layout.state().join("containers/x/r1.json"), "{}").unwrap();
    fs::create_dir_all(layout.lab_run(&lab)).unwrap();
    fs::write(layout.lab_run(&lab).join("hosts"), "").unwrap();
    // Somebody's.
    let other: NodeName = "other".parse().unwrap();
    fs::create_dir_all(layout.node_run(&lab, &other)).unwrap();
    fs::write(layout.node_run(&lab, &other).join("log"), "").unwrap();

    let all = ground.look(&BTreeSet::new()).unwrap();
    let mut kinds: Vec<TraceKind> = all.iter().map(|trace| trace.kind).collect();
    kinds.sort();
    assert_eq!(kinds, [NamespaceLink, Namespace, Layer, Directory, Record, Names]);
    assert!(all.iter().all(|trace| trace.lab == lab && trace.changed.is_some()));
    // What a known node has goes with it.
    let known = BTreeSet::from([(lab.clone(), node.clone())]);
    let kinds: Vec<TraceKind> = ground.look(&known).unwrap().iter().map(|trace| trace.kind).collect();
    assert_eq!(kinds, [Names]);

    let deadline = Instant::now() + Duration::from_secs(30);
    for trace in all.iter().chain(&all) {
        ground.remove(trace, deadline).unwrap();
    }
    assert_eq!(ground.look(&BTreeSet::new()).unwrap(), []);
    for gone in
        ["run/netloom/netns/x", "run/netloom/labs/x", "var/lib/netloom/layers/x", "var/lib/netloom/containers/x"]
    {
        assert!(!root.path().join(gone).exists(), "{gone}");
    }
    assert!(layout.node_run(&lab, &other).join("log").exists());
    assert!(layout.ip_netns().join("by-hand").exists() && layout.ip_netns().join("foreign").is_symlink());
}

#[test]
fn the_layer_of_a_node_that_came_back_stays() {
    let root = tempfile::tempdir().unwrap();
    let ground = ground(root.path());
    let (lab, node): (LabName, NodeName) = ("x".parse().unwrap(), "r1".parse().unwrap());
    fs::create_dir_all(ground.layout.layer(&lab, &node).join("upper")).unwrap();
    let all = ground.look(&BTreeSet::new()).unwrap();
    let run = ground.layout.node_run(&lab, &node);
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("node.json"), "{}").unwrap();
    let error = ground.remove(&all[0], Instant::now() + Duration::from_secs(30)).unwrap_err();
    assert!(error.to_string().contains("its node is there"), "{error}");
    assert!(ground.layout.layer(&lab, &node).exists());
}
