#!/bin/sh
# Deploys the lab, sees a ping cross it, and removes it. Needs an agent that answers; NETLOOM is the binary.
set -eu
cd "$(dirname "$0")"
# shellcheck source=scripts/check-lib.sh
. ../../scripts/check-lib.sh
lab=minimal

is "the file is valid" "$netloom" validate .
is "the lab is deployed" "$netloom" deploy -t .
is "h1 reaches h2" on h1 ping -c 1 -W 2 10.0.0.2
is "h2 reaches h1" on h2 ping -c 1 -W 2 10.0.0.1
is "a second deploy changes nothing" says "nothing to change" "$netloom" deploy -t .
is "the cable is pulled" "$netloom" link down "$lab" h1:eth1
! on h1 ping -c 1 -W 1 10.0.0.2 >/dev/null 2>&1 || fail "a ping crosses a link that is cut"
is "the cable is put back" "$netloom" link up "$lab" h1:eth1
becomes 5 "h1 reaches h2 again" on h1 ping -c 1 -W 1 10.0.0.2
is "the lab is removed" "$netloom" destroy -t .
! "$netloom" inspect --name "$lab" >/dev/null 2>&1 || fail "the lab is still there"
