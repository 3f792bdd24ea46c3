#!/bin/sh
# The main process of a router: FRR's daemons under their watchdog, in the foreground.
set -eu
# /run is fresh in every node.
install -d -o frr -g frr -m 755 /run/frr
# It starts what it watches, loads frr.conf, and starts again what dies.
exec /usr/lib/frr/watchfrr zebra bgpd
