#!/bin/sh
# Deploys the lab, fetches a page through the switch, by name and from the host, and removes the lab. Needs an agent that
# answers, a Docker daemon with the image, and busybox; NETLOOM is the binary.
set -eu
cd "$(dirname "$0")"
# shellcheck source=scripts/check-lib.sh
. ../../scripts/check-lib.sh
lab=web
page="It came through the switch"

fetched_by_client() {
    says "$page" on client timeout 3 wget -q -O - "http://$1/"
}

is "the file is valid" "$netloom" validate .
is "the lab is deployed" "$netloom" deploy -t .
is "the client has waited for the server to be healthy" says healthy "$netloom" inspect --name "$lab" --json
is "the client fetches a page through the switch" fetched_by_client 10.0.0.80
is "the client knows the server by name" on client ping -c 1 -W 2 server
is "… and fetches a page by it" fetched_by_client server
is "the server knows the client by name" on server ping -c 1 -W 2 client
is "the port of the server is published" says "$page" busybox wget -q -O - http://127.0.0.1:8080/
is "the cable of the server is pulled" "$netloom" link down "$lab" server:eth1
! fetched_by_client 10.0.0.80 2>/dev/null || fail "a page came through a link that is cut"
is "the cable is put back" "$netloom" link up "$lab" server:eth1
becomes 30 "the client fetches a page again" fetched_by_client 10.0.0.80
is "the server is restarted behind our back" docker restart -t 1 clab-web-server
becomes 30 "the client fetches a page from its next life" fetched_by_client 10.0.0.80
is "a second deploy changes nothing" says "nothing to change" "$netloom" deploy -t .
is "the lab is removed" "$netloom" destroy -t .
! "$netloom" inspect --name "$lab" >/dev/null 2>&1 || fail "the lab is still there"
[ -z "$(docker ps -aq)" ] || fail "containers are still there: $(docker ps -a)"
