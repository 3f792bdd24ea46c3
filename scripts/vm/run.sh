#!/bin/bash
# Runs the tests that this machine's kernel may be unable to run in Debian's cloud kernel, in one virtual machine.
#
# QEMU emulates the processor (no KVM is needed or used). Nothing is installed but QEMU and the tools to make an
# initramfs; the kernel is unpacked below the target directory and kept there. Prints what the tests print; ends as
# they end, or with an error when the machine hangs for longer than NETLOOM_VM_SECONDS (420).
#
#   scripts/vm/run.sh [NAME]    only the tests whose names contain NAME
set -euo pipefail
cd "$(dirname "$0")/../.."

only=${1:-}
target=${CARGO_TARGET_DIR:-target}/vm
mkdir -p "$target"
target=$(realpath "$target")

# What is to run: the name of a test of the workspace, and what is added to its command line. The others say nothing
# about a kernel that they do not say on the machine itself.
tests=(
    "vm"
    "links a_group a_subinterface refusals what_is_asked_for"
    "fabric_kernel a_dummy"
    "runtime_namespace a_node_has limits_change nothing_is_left user_environment"
)
# What the tests call, and what the kernel calls for modules.
programs=(bash dash ip ping unshare nsenter setpriv mount umount kmod tc date)
programs+=(ovsdb-server ovsdb-tool ovs-vswitchd ovs-vsctl ovs-appctl)
schema=/usr/share/openvswitch/vswitch.ovsschema
# What labs need of a kernel; what these need comes along.
modules=(veth tun bridge dummy 8021q macvlan vxlan vrf overlay openvswitch sch_netem sch_tbf sch_htb sch_ingress cls_u32 act_mirred ifb)

# Says why there is no virtual machine to be had here: an error where one is required.
unavailable() {
    if [ -n "${NETLOOM_REQUIRE_VM:-}" ]; then
        echo "FAILED: the tests in the virtual machine cannot run: $*" >&2
        exit 1
    fi
    echo "SKIPPED: the tests in the virtual machine: $*" >&2
    exit 0
}

# The unpacked kernel of this Debian release, fetched once.
fetch_kernel() {
    local package=linux-image-cloud-amd64 found
    found=$(find "$target" -path '*/boot/vmlinuz-*' 2>/dev/null | sort -V | tail -1)
    if [ -z "$found" ]; then
        command -v apt-get dpkg >/dev/null || unavailable "the kernel is a Debian package, and this is no Debian system"
        package=$(apt-cache depends "$package" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -1)
        [ -n "$package" ] || unavailable "no package linux-image-cloud-amd64 is known here; run apt-get update"
        rm -rf "$target/fetch"
        mkdir "$target/fetch"
        (cd "$target/fetch" && apt-get download -qq -o APT::Sandbox::User=root "$package") ||
            unavailable "$package cannot be fetched"
        dpkg -x "$target"/fetch/*.deb "$target/fetch/$package"
        mv "$target/fetch/$package" "$target/$package"
        rm -rf "$target/fetch"
        found=$(find "$target/$package" -path '*/boot/vmlinuz-*')
    fi
    kernel=$found
    kernel_root=${found%/boot/*}
    release=${found##*/vmlinuz-}
}

# put FILE [PATH]: copies a file into the initramfs, with the libraries that it is linked to.
put() {
    local to=$root${2:-$1} library
    mkdir -p "${to%/*}"
    cp -L --remove-destination "$1" "$to"
    for library in $(ldd "$1" 2>/dev/null | grep -oE '/[^ ]+ \(0x' | cut -d' ' -f1); do
        [ -e "$root$library" ] || install -D "$(realpath "$library")" "$root$library"
    done
}

make_initramfs() {
    local name path applet module test binary
    rm -rf "$root"
    mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,proc,sys,dev,run,tmp,etc,root,home,mnt,var/lib,var/tmp}
    put /bin/busybox
    for applet in $(/bin/busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    for name in "${programs[@]}"; do
        path=$(command -v "$name") || { echo "FAILED: there is no \`$name\` here" >&2; exit 1; }
        # Real tools win over busybox' applets of the same name.
        rm -f "$root/bin/$name" "$root/sbin/$name"
        put "$(realpath "$path")" "/usr/bin/$name"
        ln -s "/usr/bin/$name" "$root/bin/$name"
    done
    put "$schema"
    # Debian's busybox shell runs its applets before what is in PATH.
    ln -sf dash "$root/bin/sh"
    for name in modprobe insmod lsmod rmmod; do
        rm -f "$root/bin/$name"
        ln -s /usr/bin/kmod "$root/sbin/$name"
    done
    ln -s /run "$root/var/run"
    grep -E '^(root|daemon|nobody):' /etc/passwd >"$root/etc/passwd"
    grep -E '^(root|daemon|nogroup):' /etc/group >"$root/etc/group"
    printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
    printf 'vm\n' >"$root/etc/hostname"
    printf '6e65746c6f6f6d766d6e65746c6f6f6d\n' >"$root/etc/machine-id"

    local from=$kernel_root/lib/modules/$release to=$root/lib/modules/$release
    [ -e "$from/modules.dep" ] || depmod -b "$kernel_root" "$release"
    mkdir -p "$to"
    cp "$from"/modules.{builtin,builtin.modinfo,order} "$to"
    for module in "${modules[@]}"; do
        modprobe -d "$kernel_root" -S "$release" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
    done | sort -u | while read -r path; do
        install -D -m644 "$path" "$to/${path#*"/modules/$release/"}"
    done
    depmod -b "$root" "$release"

    # Built as `make test` builds them, so that nothing is built twice.
    local selection=()
    for test in "${tests[@]}"; do selection+=(--test "${test%% *}"); done
    cargo test --workspace --locked --no-run "${selection[@]}" 2>&1 | tee "$target/build.log" >&2
    for test in "${tests[@]}"; do
        name=${test%% *}
        binary=$(sed -nE "s|.*Executable tests/$name[./].* \((.*)\)|\1|p" "$target/build.log")
        strip --strip-debug -o "$target/stripped" "$binary"
        put "$target/stripped" "/tests/$name"
        echo "/tests/$name --test-threads 1 ${only:-${test#"$name"}}" >>"$root/tests/list"
    done
    # Where the tests of the program look for it.
    local netloom=${CARGO_TARGET_DIR:-target}/debug/netloom
    strip --strip-debug -o "$target/stripped" "$netloom"
    put "$target/stripped" "$(realpath "$netloom")"
    rm "$target/stripped"
    install -m755 scripts/vm/init "$root/init"
    (cd "$root" && find . -print0 | cpio --null --quiet -o -H newc -R 0:0) >"$target/initramfs"
}

for tool in qemu-system-x86_64 busybox kmod cpio; do
    command -v "$tool" >/dev/null || unavailable "there is no $tool"
done
fetch_kernel
root=$target/root
make_initramfs

began=$SECONDS
: >"$target/console"
: >"$target/output"
timeout --kill-after=5 "${NETLOOM_VM_SECONDS:-420}" \
    qemu-system-x86_64 -accel tcg -cpu max -m 1024 -smp 2 -nodefaults -no-user-config -display none -no-reboot \
    -serial "file:$target/console" -serial "file:$target/output" \
    -kernel "$kernel" -initrd "$target/initramfs" \
    -append "console=ttyS0 panic=-1 quiet mitigations=off netloom.vm" </dev/null &
qemu=$!
trap 'kill "$qemu" 2>/dev/null || true' EXIT
# Shown as it comes; the line with the status is not for people.
tail --pid="$qemu" -s 0.2 -n +1 -f "$target/output" | tr -d '\r' | grep --line-buffered -v '^netloom-vm-status' || true
ended=0
wait "$qemu" || ended=$?
trap - EXIT

status=$(tr -d '\r' <"$target/output" | sed -n 's/^netloom-vm-status //p')
if [ -z "$status" ]; then
    echo "FAILED: the virtual machine did not come to an end (QEMU: $ended) in $((SECONDS - began)) s; its console:" >&2
    tail -n 30 "$target/console" >&2
    exit 1
fi
echo "     In the VM $((SECONDS - began)) s"
exit "$status"
