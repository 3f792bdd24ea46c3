#!/bin/bash
# Shows three routers finding their ways: deploys examples/ospf, cuts a link, shows the new path. NETLOOM is the
# binary. The lab is removed at the end, and the agent is stopped if it was started here.
set -euo pipefail
cd "$(dirname "$0")/.."
NETLOOM=$(realpath "${NETLOOM:-target/release/netloom}")

as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi

bold= plain=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
# Shows a command as it would be typed, and runs it.
show() {
    local word
    printf '$ netloom'
    for word in "$@"; do
        case $word in
        *' '*) printf " '%s'" "$word" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "${as_root[@]}" "$NETLOOM" "$@"
}
# Runs a command in a node, without showing it.
on() { "${as_root[@]}" "$NETLOOM" exec --name ospf --node "$@"; }
# Waits, at most 30 s, until a command succeeds.
until_so() {
    local deadline=$((SECONDS + 30))
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS > deadline)); then
            echo "this should have become so within 30 s: $*" >&2
            return 1
        fi
        sleep 0.1
    done
}
path_is() { on r1 -- ip route get 10.3.0.10 | grep -q "via $1 "; }
neighbours() { [ "$(on "$1" -- vtysh -c 'show ip ospf neighbor' | grep -c Full/)" -eq 2 ]; }

started=no
end() {
    status=$?
    if [ "$started" = yes ]; then
        say "Cleaning up"
        "${as_root[@]}" "$NETLOOM" destroy --name ospf || true
        "${as_root[@]}" "$NETLOOM" agent stop || true
    elif [ "$started" = lab ]; then
        "${as_root[@]}" "$NETLOOM" destroy --name ospf || true
    fi
    exit "$status"
}
trap end EXIT

say "An agent for this host"
if "${as_root[@]}" "$NETLOOM" agent status 2>/dev/null; then
    started=lab
else
    show agent --background
    started=yes
fi

say "Three routers in a triangle, two hosts: from file to network"
show deploy -t examples/ospf

say "The routers find each other"
begin=$SECONDS
for router in r1 r2 r3; do until_so neighbours "$router"; done
until_so path_is 10.0.13.2
until_so on h1 -- ping -c 1 -W 1 10.3.0.10
echo "converged after $((SECONDS - begin)) s"
show exec --name ospf --node r1 -- vtysh -c "show ip ospf neighbor"
show exec --name ospf --node r1 -- ip route

say "From host to host"
show exec --name ospf --node h1 -- ping -c 3 -i 0.2 10.3.0.10
show exec --name ospf --node r1 -- ip route get 10.3.0.10

say "The link between r1 and r3 is cut"
show link down ospf r1:eth1
until_so path_is 10.0.12.2
until_so on h1 -- ping -c 1 -W 1 10.3.0.10
show inspect --name ospf
say "The traffic goes over r2"
show exec --name ospf --node r1 -- ip route get 10.3.0.10
show exec --name ospf --node h1 -- ping -c 3 -i 0.2 10.3.0.10

say "Mended again"
show link up ospf r1:eth1
until_so path_is 10.0.13.2
show exec --name ospf --node r1 -- ip route get 10.3.0.10

say "Cut once more, and left so: the last ping takes the second path"
show link down ospf r1:eth1
until_so path_is 10.0.12.2
show exec --name ospf --node h1 -- ping -c 3 -i 0.2 10.3.0.10

cat <<'TEXT'

Try it yourself, as root (target/release/netloom is the whole program):
  netloom deploy -t examples/ospf       starts an agent if none runs
  netloom shell ospf/r1                 a router's shell; vtysh is FRR's
  netloom events -f                     in another terminal: what happens, as it happens
  netloom destroy --all

The same in containers, with Docker running (its images are built here, no registry is asked):
  make images
  netloom deploy -t examples/ospf-containers
TEXT
