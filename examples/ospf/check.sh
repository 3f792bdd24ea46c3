#!/bin/sh
# Deploys the lab, sees OSPF find the direct way and, when that is cut, the other one; removes the lab. Needs an
# agent that answers; NETLOOM is the binary.
set -eu
cd "$(dirname "$0")"
# shellcheck source=scripts/check-lib.sh
. ../../scripts/check-lib.sh
lab=ospf
# shellcheck source=examples/ospf/converges.sh
. ./converges.sh
becomes 10 "h2 reaches h1" on h2 ping -c 1 -W 1 10.1.0.10
is "the lab is removed" "$netloom" destroy -t .
! "$netloom" inspect --name "$lab" >/dev/null 2>&1 || fail "the lab is still there"
