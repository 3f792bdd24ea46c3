//! An image of busybox, as `docker save` would write it.

#![expect(clippy::unwrap_used, reason = "only tests use this")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use sha2::{Digest, Sha256};

/// Where Debian's static busybox is (package `busybox-static`), on the host and in the image.
pub const BUSYBOX: &str = "/bin/busybox";

/// An image of busybox with its commands in `/bin`, whose containers run `sh`: an archive for `docker load`.
///
/// # Panics
/// Where busybox is not there, or not static.
pub fn busybox(reference: &str) -> Vec<u8> {
    archive(reference, &json!({"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}), &[])
}

/// As [`busybox`], with this configuration (as in the API: `Cmd`, `Entrypoint`, `Env`, `ExposedPorts`, …) and these
/// files (path without the first `/`, content, mode) beside it.
///
/// # Panics
/// Where busybox is not there, or not static.
pub fn archive(reference: &str, config: &serde_json::Value, files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let layer = layer(files);
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))]},
    });
    let config = config.to_string().into_bytes();
    let config_name = format!("{}.json", digest(&config));
    let manifest = json!([{"Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"]}]).to_string();
    let mut image = tar::Builder::new(Vec::new());
    add(&mut image, &config_name, &config, 0o644);
    add(&mut image, "layer.tar", &layer, 0o644);
    add(&mut image, "manifest.json", manifest.as_bytes(), 0o644);
    image.into_inner().unwrap()
}

fn layer(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let busybox = fs::read(BUSYBOX).expect("/bin/busybox is there (Debian package busybox-static)");
    let commands = Command::new(BUSYBOX).arg("--list").output().expect("busybox runs");
    let mut layer = tar::Builder::new(Vec::new());
    for directory in ["bin/", "dev/", "etc/", "proc/", "root/", "sys/", "tmp/"] {
        let mut header = header(tar::EntryType::Directory, 0, if directory == "tmp/" { 0o1777 } else { 0o755 });
        layer.append_data(&mut header, directory, std::io::empty()).unwrap();
    }
    add(&mut layer, "bin/busybox", &busybox, 0o755);
    for command in String::from_utf8(commands.stdout).unwrap().lines().filter(|command| *command != "busybox") {
        let mut header = header(tar::EntryType::Symlink, 0, 0o777);
        layer.append_link(&mut header, Path::new("bin").join(command), "busybox").unwrap();
    }
    add(&mut layer, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", 0o644);
    add(&mut layer, "etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644);
    for (path, content, mode) in files {
        add(&mut layer, path, content, *mode);
    }
    layer.into_inner().unwrap()
}

fn add(archive: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) {
    let mut header = header(tar::EntryType::Regular, content.len() as u64, mode);
    archive.append_data(&mut header, path, content).unwrap();
}

fn header(kind: tar::EntryType, size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(1_767_225_600);
    header
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
