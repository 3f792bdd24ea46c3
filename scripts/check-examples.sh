#!/bin/sh
# Runs the check of each example, or of those named, with an agent of its own, in network, mount and process namespaces of
# its own: the host is not touched, and nothing outlives the check. Examples with images of examples/images get a Docker
# daemon of their own too. NETLOOM is the binary.
set -eu
cd "$(dirname "$0")/.."
NETLOOM=$(realpath "${NETLOOM:-target/debug/netloom}")
export NETLOOM

# The images of the example in a directory, without their common prefix.
images() {
    cat "$1"/*.clab.yml | grep -o 'localhost/netloom/[a-z0-9]*' | sed 's|.*/||' | sort -u
}

# Starts a Docker daemon that ends, with all it has, when descriptor 8 is closed; waits until it answers; gives it images.
start_docker() {
    directory=$1/docker
    shift
    for program in docker dockerd containerd runc; do
        command -v $program >/dev/null || {
            echo "this check needs $program: apt-get install docker.io" >&2
            return 1
        }
    done
    mkdir "$directory"
    echo '{}' >"$directory/daemon.json"
    mkfifo "$directory/orders"
    sh crates/dockerd-fixture/src/keeper.sh "$directory" "netloom-check-$(basename "$(dirname "$directory")")" \
        <"$directory/orders" >/dev/null &
    keeper=$!
    exec 8>"$directory/orders"
    echo start >&8
    export DOCKER_HOST="unix://$directory/docker.sock"
    deadline=$(($(date +%s) + 60))
    until docker version >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$deadline" ] || {
            tail -n 20 "$directory/log" >&2
            echo "dockerd does not answer; the end of its log stands above" >&2
            return 1
        }
        sleep 0.1
    done
    scripts/build-images.sh "$@"
}

stop_docker() {
    [ -n "$keeper" ] || return 0
    exec 8>&-
    wait "$keeper" || true
}

check() {
    NETLOOM_ROOT=$1
    export NETLOOM_ROOT
    "$NETLOOM" agent --background 8>&-
    status=0
    "$2" 8>&- || status=$?
    if [ "$status" -ne 0 ]; then
        "$NETLOOM" inspect --all >&2 || true
        tail -n 20 "$1/var/lib/netloom/agent.log" >&2 || true
    fi
    "$NETLOOM" destroy --all >&2 || true
    "$NETLOOM" agent stop >&2 || true
    return "$status"
}

if [ "${1:-}" = --inside ]; then
    keeper=
    trap stop_docker EXIT
    ip link set lo up
    # shellcheck disable=SC2046 # names without spaces
    set -- "$2" "$3" $(images "$(dirname "$3")")
    root=$1
    check=$2
    shift 2
    [ $# -eq 0 ] || start_docker "$root" "$@"
    check "$root" "$check"
    exit
fi

[ $# -gt 0 ] || set -- $(cd examples && dirname -- */check.sh)
# There is no network to fetch packages from inside.
# shellcheck disable=SC2046 # names without spaces
set_of_images=$(for example in "$@"; do images "examples/$example"; done | sort -u)
# shellcheck disable=SC2086 # names without spaces
[ -z "$set_of_images" ] || scripts/build-images.sh --unpack-only $set_of_images || true
passed=0
failed=0
for example in "$@"; do
    root=$(mktemp -d)
    echo "check examples/$example/check.sh"
    if unshare --mount --net --pid --fork --kill-child --mount-proc "$0" --inside "$root" "examples/$example/check.sh"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
    rm -rf "$root"
done
echo "check result: $passed passed; $failed failed"
[ "$failed" -eq 0 ]
