/work/main/crates/init/target/debug/deps/netloom_init-cb60a43621f812f6.d: /work/main/clippy.toml src/main.rs src/capability.rs src/exec.rs src/launch.rs src/mounts.rs src/node.rs src/output.rs src/relay.rs src/setup.rs src/signals.rs src/spec.rs src/status.rs Cargo.toml

/work/main/crates/init/target/debug/deps/libnetloom_init-cb60a43621f812f6.rmeta: /work/main/clippy.toml src/main.rs src/capability.rs src/exec.rs src/launch.rs src/mounts.rs src/node.rs src/output.rs src/relay.rs src/setup.rs src/signals.rs src/spec.rs src/status.rs Cargo.toml

/work/main/clippy.toml:
src/main.rs:
src/capability.rs:
src/exec.rs:
src/launch.rs:
src/mounts.rs:
src/node.rs:
src/output.rs:
src/relay.rs:
src/setup.rs:
src/signals.rs:
src/spec.rs:
src/status.rs:
Cargo.toml:

# env-dep:CLIPPY_ARGS=
# env-dep:CLIPPY_CONF_DIR
