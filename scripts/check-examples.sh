#!/bin/sh
# Runs the check of each example with an agent of its own, in network, mount and process namespaces of its own: the
# host is not touched, and nothing outlives the check. NETLOOM is the binary.
set -eu
cd "$(dirname "$0")/.."
NETLOOM=$(realpath "${NETLOOM:-target/debug/netloom}")
export NETLOOM

if [ "${1:-}" = --inside ]; then
    ip link set lo up
    NETLOOM_ROOT=$2 "$NETLOOM" agent --background
    status=0
    NETLOOM_ROOT=$2 "$3" || status=$?
    if [ "$status" -ne 0 ]; then
        NETLOOM_ROOT=$2 "$NETLOOM" inspect --all >&2 || true
        tail -n 20 "$2/var/lib/netloom/agent.log" >&2 || true
    fi
    NETLOOM_ROOT=$2 "$NETLOOM" destroy --all >&2 || true
    NETLOOM_ROOT=$2 "$NETLOOM" agent stop >&2 || true
    exit "$status"
fi

passed=0
failed=0
for check in examples/*/check.sh; do
    root=$(mktemp -d)
    echo "check $check"
    if unshare --mount --net --pid --fork --kill-child --mount-proc "$0" --inside "$root" "$check"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
    rm -rf "$root"
done
echo "check result: $passed passed; $failed failed"
[ "$failed" -eq 0 ]
