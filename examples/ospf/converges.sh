# shellcheck shell=sh
# For the checks of the OSPF labs, of namespaces and of containers: deploys $lab, sees the direct way, cuts it, sees the other
# one, and mends it. Sourced after check-lib.sh.

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
