#!/bin/sh
# Installs the named Debian packages that are missing. No service is started by it, now or at the next boot:
# what a lab's nodes run is not meant to run on the host.
set -eu

missing=
for package in "$@"; do
    # Docker's own packages (docker-ce) would be removed for Debian's.
    [ "$package" != docker.io ] || ! command -v dockerd >/dev/null || continue
    if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "install these first (this is no Debian system, so it is not done for you):$missing" >&2
    exit 1
fi
as_root=
[ "$(id -u)" -eq 0 ] || as_root=sudo

# invoke-rc.d(8) asks this program before it starts a service; 101 forbids it.
guard=/usr/sbin/policy-rc.d
remove_guard() { :; }
if [ ! -e "$guard" ]; then
    remove_guard() { $as_root rm -f "$guard"; }
    trap remove_guard EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$guard" >/dev/null
    $as_root chmod 755 "$guard"
fi

echo "installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of words
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
for package in $missing; do
    case "$package" in
    frr) services=frr.service ;;
    openvswitch-switch) services='openvswitch-switch.service ovs-vswitchd.service ovsdb-server.service' ;;
    docker.io) services='docker.socket docker.service containerd.service' ;;
    *) continue ;;
    esac
    # shellcheck disable=SC2086 # a list of words
    ! command -v systemctl >/dev/null || $as_root systemctl --quiet disable $services 2>/dev/null || true
done
