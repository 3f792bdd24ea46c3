//! Files that a device is configured with.

use std::fs;

use super::host::{DockerHost, IMAGE};

const KIND: &str = r#"
name = "acme"
about = "ACME router"
[config]
path = "/conf/deep/startup.cfg"
license = "/conf/license.key"
"#;

#[test]
fn a_device_starts_with_its_configuration_and_boots_with_its_licence() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    fs::create_dir(host.labs.path().join("kinds")).unwrap();
    fs::write(host.labs.path().join("kinds/acme.toml"), KIND).unwrap();
    let config = "      startup-config: |\n        hostname r1\n        end\n";
    let lab = |config: &str| {
        format!(
            "name: x\ntopology:\n  defaults: {{ image: \"{IMAGE}\", network-mode: none }}\n  nodes:\n    \
             r1:\n      kind: acme\n      license: r1.key\n{config}"
        )
    };
    let file = host.topology("x", &lab(config));
    host.netloom(&["deploy", "-t", &file]).code(2).says("r1.key");
    before.are_all(&host);
    let key = host.labs.path().join("r1.key");
    fs::write(&key, "one\n").unwrap();
    host.netloom(&["deploy", "-t", &file]).code(0);
    let all = "cat /conf/deep/startup.cfg /conf/license.key";
    assert_eq!(host.inside("r1", all), "hostname r1\nend\none\n");

    // What it has saved stays; a licence is read at each boot.
    host.inside("r1", "echo saved >/conf/deep/startup.cfg");
    fs::write(&key, "two\n").unwrap();
    host.netloom(&["node", "restart", "x/r1"]).code(0);
    assert_eq!(host.inside("r1", all), "saved\ntwo\n");

    // Another configuration makes another device, and what it has saved in a directory of the host is its own.
    let saved = host.labs.path().join("saved");
    fs::create_dir(&saved).unwrap();
    fs::write(saved.join("startup.cfg"), "of the last life\n").unwrap();
    let bound = format!("{config}      binds: [\"saved:/conf/deep\"]\n");
    let file = host.topology("x", &lab(&bound));
    host.netloom(&["deploy", "-t", &file]).code(0);
    assert_eq!(host.inside("r1", all), "of the last life\ntwo\n");
    let file = host.topology("x", &lab(&format!("{bound}      enforce-startup-config: true\n")));
    host.netloom(&["deploy", "-t", &file, "--reconfigure"]).code(0);
    assert_eq!(host.inside("r1", all), "hostname r1\nend\ntwo\n");

    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
    let url = config.replace("|\n        hostname r1\n        end", "http://host/r1.cfg");
    let file = host.topology("x", &lab(&url));
    host.netloom(&["deploy", "-t", &file]).code(2).says("http://host/r1.cfg").says("download it");
    before.are_all(&host);
}
