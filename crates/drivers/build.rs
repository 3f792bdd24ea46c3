//! Builds `netloom-init`, the first process of namespace nodes, so that the driver can carry it along.
//!
//! It is a workspace of its own because it is linked statically, whatever the rest is built for, and always for size.
//! It gets a target directory beside the one in use: cargo holds a lock on that one while this script runs.

#![expect(clippy::print_stderr, reason = "what a build script has to say goes there")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

fn main() {
    if let Err(why) = build() {
        eprintln!("netloom-init cannot be built: {why}");
        exit(1);
    }
}

fn build() -> Result<(), String> {
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let source = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("../init");
    let out = PathBuf::from(variable("OUT_DIR")?);
    let target = variable("TARGET")?;
    for watched in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", source.join(watched).display());
    }
    println!("cargo::rerun-if-changed=build.rs");

    // <target directory>/<profile>/build/<package>/out
    let directory = out.ancestors().nth(4).ok_or("OUT_DIR is not where cargo puts it")?.join("netloom-init");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo.current_dir(&source).args(["build", "--release", "--locked", "--target", &target, "--target-dir"]);
    cargo.arg(&directory);
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if is_about_the_outer_build(&name) {
            cargo.env_remove(&*name);
        }
    }
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static");
    let status = cargo.status().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("cargo ended with {status}"));
    }
    // A copy, since another build may be replacing the original at this moment.
    let (built, copy) = (directory.join(&target).join("release/netloom-init"), out.join("netloom-init"));
    fs::copy(&built, &copy).map_err(|error| format!("{}: {error}", built.display()))?;
    println!("cargo::rustc-env=NETLOOM_INIT={}", copy.display());
    Ok(())
}

/// What cargo and clippy set for this script, and what a user set for the main build only. Where to find registries
/// and whether there is a network stays.
fn is_about_the_outer_build(name: &str) -> bool {
    let profile = ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_", "CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PKG_"];
    let single =
        ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_MANIFEST_DIR", "CLIPPY_ARGS"];
    profile.iter().any(|prefix| name.starts_with(prefix)) || single.contains(&name)
}
