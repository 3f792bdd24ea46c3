# Few targets; `make help` lists them. All of them may be run again at any time.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Tests make namespaces and links: without root their programs are run by sudo.
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
ifneq ($(shell id -u),0)
export CARGO_TARGET_$(shell echo $(HOST) | tr a-z- A-Z_)_RUNNER ?= sudo -E
endif
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E)

.DEFAULT_GOAL := help
.PHONY: help demo images test test-workspace test-init test-examples test-vm test-crash test-crash-few prove-health prove-mutants soak test-health lint bench fuzz build clean packages test-packages image-packages vm rust

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: packages build ## watch a network come up: three routers, OSPF, a link that is cut
	NETLOOM=$(TARGET)/release/netloom scripts/demo.sh

images: image-packages ## build the images of the examples from Debian packages, without a registry
	@mkdir -p $(TARGET)/images
	@$(SUDO) env IMAGES_CACHE=$(TARGET)/images scripts/build-images.sh

test: test-workspace test-init test-examples test-crash-few test-health test-vm ## run all tests and the checks of the examples

# Whatever is run, it is built as part of the whole workspace and together with a test: any other choice has dependencies with other
# features, and all of them are built once more.
BUILD = $(CARGO) build --workspace --locked --test names
FAILPOINTS = --workspace --locked --features netloom/failpoints
test-workspace: rust test-packages
# Most of them wait for daemons more than they reckon.
	RUST_TEST_THREADS=4 NETLOOM_REQUIRE_ROOT=1 $(CARGO) test --workspace --no-fail-fast --locked
	$(CARGO) test --package netloom-failpoint --features enabled --locked
	$(CARGO) test $(FAILPOINTS) --test agent -- blocked

test-init: rust
	cd crates/init && $(CARGO) test --no-fail-fast --locked

test-examples: rust test-packages image-packages
	$(BUILD) --bin netloom
	@mkdir -p $(TARGET)/images
	$(SUDO) env NETLOOM=$(TARGET)/debug/netloom IMAGES_CACHE=$(TARGET)/images scripts/check-examples.sh

# Moved aside, so that nobody takes a program with fail points for one that is shipped.
test-crash-few: rust test-packages
	$(CARGO) build $(FAILPOINTS) --test names --bin netloom --bin netloom-crash
	rm -f $(TARGET)/debug/netloom-failpoints
	mv $(TARGET)/debug/netloom $(TARGET)/debug/netloom-failpoints
	$(SUDO) $(TARGET)/debug/netloom-crash few --netloom $(TARGET)/debug/netloom-failpoints --ledger $(TARGET)/crash-ledger-few.jsonl

# As it is shipped, but for them.
CRASH = $(CARGO) build --release --package netloom --package netloom-crash --features netloom/failpoints --locked
test-crash: rust test-packages ## kill the agent at every place where it changes state, and see what comes of it
	$(CRASH)
	rm -f $(TARGET)/release/netloom-failpoints
	mv $(TARGET)/release/netloom $(TARGET)/release/netloom-failpoints
	$(SUDO) $(TARGET)/release/netloom-crash all --jobs 2 --netloom $(TARGET)/release/netloom-failpoints --ledger $(TARGET)/crash-ledger.jsonl

# Up to four minutes on two busy cores. What the kernel of this machine may lack, and what would change the machine: dummy
# links, VLANs, Open vSwitch in the kernel, cgroup v2, limits of the host, the clock. Emulated, so no KVM is needed.
test-vm: rust vm ## run the tests that need another kernel in a virtual machine
	scripts/vm/run.sh

lint: rust ## formatting and clippy, without a single warning
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy $(FAILPOINTS) --lib --bins --test agent --test names -- -D warnings
	cd crates/init && $(CARGO) fmt --check && $(CARGO) clippy --all-targets --locked -- -D warnings
	cd fuzz && $(CARGO) fmt --check && $(CARGO) clippy --locked -- -D warnings

FUZZ_SECONDS ?= 60
fuzz: rust ## search a minute per target for inputs that readers of topologies and of OVSDB do not take well
	fuzz/run.sh $(FUZZ_SECONDS)

# In namespaces of its own: nothing of the host is touched.
ALONE = $(SUDO) unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private
# A few hundred probes in each phase; what a thousandth part of them takes is not judged.
test-health: test-crash-few
	$(BUILD) --bin netloom --bin netloom-bench
	$(ALONE) $(TARGET)/debug/netloom-bench --netloom $(TARGET)/debug/netloom \
		prove --probes 400 --failpoints $(TARGET)/debug/netloom-failpoints
	$(ALONE) $(TARGET)/debug/netloom-bench --netloom $(TARGET)/debug/netloom soak 1

prove-health: rust test-packages ## prove that the agent is never unhealthy, whatever is done to it: an hour and a half
	$(CRASH)
	rm -f $(TARGET)/release/netloom-failpoints
	mv $(TARGET)/release/netloom $(TARGET)/release/netloom-failpoints
	$(CARGO) build --release --package netloom --package netloom-bench --locked
	$(ALONE) $(TARGET)/release/netloom-bench --netloom $(TARGET)/release/netloom \
		prove --failpoints $(TARGET)/release/netloom-failpoints

MINUTES ?= 60
soak: rust test-packages ## have an agent live through random labs, edits and faults (MINUTES=60)
	$(CARGO) build --release --package netloom --package netloom-bench --locked
	$(ALONE) $(TARGET)/release/netloom-bench --netloom $(TARGET)/release/netloom soak $(MINUTES)

prove-mutants: rust test-packages ## see that the proof notices when a cause of ill health is put back
	$(CARGO) build --package netloom-bench --locked
	$(SUDO) scripts/prove-mutants.sh

bench: rust test-packages ## measure Netloom against the bare kernel and print one table (docs/performance.md)
	$(CARGO) build --release --package netloom --package netloom-bench --locked
	$(ALONE) $(TARGET)/release/netloom-bench --netloom $(TARGET)/release/netloom

build: rust ## build target/release/netloom
	$(CARGO) build --release --package netloom --locked

clean: ## remove what was built
	$(CARGO) clean
	cd crates/init && $(CARGO) clean

# Where these cannot be had the tests in the virtual machine are skipped, or fail, with the reason.
vm:
	@-scripts/install-packages.sh qemu-system-x86 busybox-static kmod cpio openvswitch-switch

packages:
	@scripts/install-packages.sh gcc libc6-dev e2fsprogs iproute2 iputils-ping procps frr

# Daemons for tests; one that is there already is left alone.
test-packages: packages
	@scripts/install-packages.sh docker.io busybox-static openvswitch-switch systemd-container

image-packages:
	@scripts/install-packages.sh mmdebstrap

rust: packages
	@command -v $(CARGO) >/dev/null || { echo "Rust is needed: https://rustup.rs" >&2; exit 1; }
