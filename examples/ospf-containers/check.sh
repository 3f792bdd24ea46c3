#!/bin/sh
# Deploys the lab, sees OSPF find the direct way and, when that is cut, the other one; restarts a router behind our back;
# removes the lab. Needs an agent that answers and a Docker daemon with the images; NETLOOM is the binary.
set -eu
cd "$(dirname "$0")"
# shellcheck source=scripts/check-lib.sh
. ../../scripts/check-lib.sh
lab=ospf-containers

neighbours_are_full() {
    [ "$(on "$1" vtysh -c 'show ip ospf neighbor' | grep -c Full/)" -eq "$2" ]
}

is "the file is valid" "$netloom" validate .
is "the lab is deployed" "$netloom" deploy -t .
for router in r1 r2 r3; do
    becomes 30 "$router has two neighbours" neighbours_are_full "$router" 2
done
becomes 30 "r1 takes the direct way" says "via 10.0.13.2 dev eth1" on r1 ip route get 10.3.0.10
becomes 10 "h1 reaches h2" on h1 ping -c 1 -W 1 10.3.0.10
is "the direct link is cut" "$netloom" link down "$lab" r1:eth1
becomes 30 "r1 takes the way over r2" says "via 10.0.12.2 dev eth2" on r1 ip route get 10.3.0.10
becomes 10 "h1 still reaches h2" on h1 ping -c 1 -W 1 10.3.0.10
is "the direct link is mended" "$netloom" link up "$lab" r1:eth1
becomes 30 "r1 takes the direct way again" says "via 10.0.13.2 dev eth1" on r1 ip route get 10.3.0.10
is "r3 is restarted behind our back" docker restart -t 1 "clab-$lab-r3"
for router in r1 r3; do
    becomes 30 "$router has two neighbours again" neighbours_are_full "$router" 2
done
becomes 30 "h2 reaches h1" on h2 ping -c 1 -W 1 10.1.0.10
is "the lab is removed" "$netloom" destroy -t .
! "$netloom" inspect --name "$lab" >/dev/null 2>&1 || fail "the lab is still there"
[ -z "$(docker ps -aq)" ] || fail "containers are still there: $(docker ps -a)"
