# Keeps one Docker daemon: does what its standard input says, a word a line, and answers with a line each; at the end of
# the input all of it goes.
# $1: the daemon's directory, $2: the name of its control group, $3: its own bridge; empty: the one that it makes; $4: whether
# it keeps a firewall, `true` or, if nothing is said, `false`.
directory=$1
group=$2
bridge=$3
firewall=${4:-false}
pid=

start() {
    # After one that was killed. Its containerd dies with it, but where nobody reaps orphans its pid stays in use, and
    # the next dockerd would wait for it.
    rm -f "$directory/pid" "$directory/exec/containerd/containerd.pid"
    dockerd --data-root "$directory/data" --exec-root "$directory/exec" --pidfile "$directory/pid" \
        --host "unix://$directory/docker.sock" --cgroup-parent "/$group" --bridge "$bridge" \
        --iptables="$firewall" --ip6tables=false --ip-masq="$firewall" --config-file "$directory/daemon.json" --shutdown-timeout 1 \
        >>"$directory/log" 2>&1 </dev/null &
    pid=$!
}

# Whether a thread of the daemon has not stopped yet (proc(5): the state stands behind the name).
moves() {
    ! cat "/proc/$pid/task/"*/stat 2>/dev/null | sed 's/.*) //' | awk '$1 != "T" { exit 1 }'
}

# The processes of all containers, in every hierarchy of control groups.
contained() {
    find /sys/fs/cgroup -path "*/$group/*" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u
}

# What the daemon has left when it was killed: containerd and shims, known by the directory in their arguments.
left() {
    for process in /proc/[0-9]*; do
        [ "${process#/proc/}" != $$ ] || continue
        case "$({ tr '\0' ' ' <"$process/cmdline"; } 2>/dev/null)" in
        containerd*"$directory/exec/"* | */containerd*"$directory/exec/"*) echo "${process#/proc/}" ;;
        esac
    done
}

# Whether the daemon is there and not dead.
lives() {
    [ -n "$pid" ] && case "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null)" in '' | Z* | X*) return 1 ;; esac
}

end() {
    trap '' HUP INT TERM
    tries=0
    if [ -n "$pid" ]; then
        kill -TERM "$pid" 2>/dev/null
        kill -CONT "$pid" 2>/dev/null
    fi
    # It starts no other container now, but one may still be on its way.
    while lives && [ $tries -lt 100 ]; do
        for process in $(contained); do kill -KILL "$process" 2>/dev/null; done
        tries=$((tries + 1))
        sleep 0.1
    done
    [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null
    while [ -n "$(contained)$(left)" ] && [ $tries -lt 200 ]; do
        for process in $(contained) $(left); do kill -KILL "$process" 2>/dev/null; done
        tries=$((tries + 1))
    done
    # The innermost first.
    for mount in $(awk -v d="$directory/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sort -r); do
        umount -l "$mount"
    done
    find /sys/fs/cgroup -depth -type d -path "*/$group*" -exec rmdir {} + 2>/dev/null
    rm -rf "$directory"
}

trap 'exit 1' HUP INT TERM
trap end EXIT
ip link set lo up
while read -r order; do
    case "$order" in
    start) start ;;
    freeze)
        kill -STOP "$pid"
        while moves; do :; done
        ;;
    thaw) kill -CONT "$pid" ;;
    kill)
        kill -KILL "$pid"
        # When this returns none of its threads holds the socket any more.
        wait "$pid" 2>/dev/null
        pid=
        ;;
    esac
    if lives; then echo "$pid"; else echo none; fi
done
