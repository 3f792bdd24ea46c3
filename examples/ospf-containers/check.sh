#!/bin/sh
# Deploys the lab, sees OSPF find the direct way and, when that is cut, the other one; restarts a router behind our back;
# removes the lab. Needs an agent that answers and a Docker daemon with the images; NETLOOM is the binary.
set -eu
cd "$(dirname "$0")"
# shellcheck source=scripts/check-lib.sh
. ../../scripts/check-lib.sh
lab=ospf-containers
# shellcheck source=examples/ospf/converges.sh
. ../ospf/converges.sh
is "r3 is restarted behind our back" docker restart -t 1 "clab-$lab-r3"
for router in r1 r3; do
    becomes 30 "$router has two neighbours again" neighbours_are_full "$router" 2
done
becomes 30 "h2 reaches h1" on h2 ping -c 1 -W 1 10.1.0.10
is "the lab is removed" "$netloom" destroy -t .
! "$netloom" inspect --name "$lab" >/dev/null 2>&1 || fail "the lab is still there"
[ -z "$(docker ps -aq)" ] || fail "containers are still there: $(docker ps -a)"
