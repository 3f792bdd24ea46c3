# shellcheck shell=sh
# For the checks of the examples: what they have in common. Sourced, with `set -eu` in force.

netloom=${NETLOOM:-netloom}

# Says what is wrong and ends the check.
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# is WHAT COMMAND…: it must succeed now.
is() {
    what=$1
    shift
    "$@" >/dev/null || fail "$what: $*"
    echo "  $what"
}

# becomes SECONDS WHAT COMMAND…: it must succeed before the time is over.
becomes() {
    deadline=$(($(date +%s) + $1))
    what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$deadline" ] || fail "never: $what: $*"
        sleep 0.1
    done
    echo "  $what"
}

# on NODE COMMAND…: runs it in a node of $lab.
on() {
    node=$1
    shift
    "$netloom" exec --name "$lab" --node "$node" -- "$@"
}

# says TEXT COMMAND…: whether its output contains the text.
says() {
    text=$1
    shift
    "$@" | grep -qF -- "$text"
}
