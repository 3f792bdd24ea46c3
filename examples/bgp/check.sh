#!/bin/sh
# Deploys the fabric, sees each leaf use both spines, restarts one of them under traffic, and sees it used again;
# removes the lab. Needs an agent that answers; NETLOOM is the binary.
set -eu
cd "$(dirname "$0")"
# shellcheck source=scripts/check-lib.sh
. ../../scripts/check-lib.sh
lab=bgp
# Of a ping flow from h1 to h4, 50 packets a second. A restart loses a few; a second's worth is generous.
may_lose=50

sessions_are_up() {
    [ "$(on "$1" vtysh -c 'show bgp summary json' | grep -c '"state":"Established"')" -eq "$2" ]
}

# Whether a leaf has a route to each of the three other networks over each spine, in the daemon and in the kernel.
uses_both_spines() {
    known=$(on "$1" vtysh -c 'show ip route bgp')
    kernel=$(on "$1" ip route show proto bgp)
    for spine in 1 2; do
        hop=10.0.$spine${1#l}.1
        [ "$(echo "$known" | grep -c "\*.* via $hop,")" -eq 3 ] || return 1
        [ "$(echo "$kernel" | grep -c "nexthop via $hop ")" -eq 3 ] || return 1
    done
}

is "the file is valid" "$netloom" validate .
is "the lab is deployed" "$netloom" deploy -t .
for spine in s1 s2; do
    becomes 30 "$spine has four sessions" sessions_are_up "$spine" 4
done
for leaf in l1 l2 l3 l4; do
    becomes 30 "$leaf uses both spines" uses_both_spines "$leaf"
done
for host in 2 3 4; do
    becomes 10 "h1 reaches h$host" on h1 ping -c 1 -W 1 "10.1.$host.10"
done

# The one over which the flow goes.
spine=s2
if says "via 10.0.11.1 " on l1 ip route get 10.1.4.10 from 10.1.1.10 iif eth3 ipproto icmp; then
    spine=s1
fi
flow=$(mktemp)
trap 'rm -f "$flow"' EXIT
# Goes on until it is interrupted.
on h1 ping -i 0.02 10.1.4.10 >"$flow" &
ping=$!
replies() { grep -c ' bytes from ' "$flow"; }
more_than() { [ "$(replies)" -gt "$1" ]; }
becomes 10 "the flow is answered" more_than 0
is "$spine is restarted under traffic" "$netloom" node restart "$lab/$spine"
becomes 30 "$spine has four sessions again" sessions_are_up "$spine" 4
for leaf in l1 l2 l3 l4; do
    becomes 30 "$leaf uses both spines again" uses_both_spines "$leaf"
done
becomes 10 "the flow is answered afterwards" more_than "$(replies)"
on h1 pkill -INT -x ping
wait "$ping" || true
summary=$(sed -n 's/^\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p' "$flow")
[ -n "$summary" ] || fail "the ping flow did not end well: $(tail -n 3 "$flow")"
lost=$((${summary% *} - ${summary#* }))
[ "$lost" -le "$may_lose" ] || fail "the flow lost $lost of ${summary% *} packets; at most $may_lose may be"
echo "  the flow lost $lost of ${summary% *} packets"
is "the lab is removed" "$netloom" destroy -t .
! "$netloom" inspect --name "$lab" >/dev/null 2>&1 || fail "the lab is still there"
