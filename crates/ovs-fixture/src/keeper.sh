# Keeps one Open vSwitch: does what its standard input says, two words a line, and answers with a line each; at the end of
# the input all of it goes.
# $1: its directory; $2: where the schema is.
directory=$1
schema=$2
export OVS_RUNDIR="$directory" OVS_LOGDIR="$directory" OVS_DBDIR="$directory" OVS_SYSCONFDIR="$directory"
database=
switch=

# A child of this shell that dies with it, however that ends. No daemon reads its standard input: that is for orders.
run() {
    log=$1
    shift
    setpriv --pdeathsig KILL "$@" >>"$directory/$log.stderr" 2>&1 </dev/null &
}

start() {
    case "$1" in
    database)
        [ -e "$directory/conf.db" ] || ovsdb-tool create "$directory/conf.db" "$schema" >&2
        # One that was killed leaves them, and connects to neither: nobody takes an old socket for a new one.
        rm -f "$directory/db.sock" "$directory/database.ctl"
        run database ovsdb-server "$directory/conf.db" --remote="punix:$directory/db.sock" --no-chdir \
            --pidfile="$directory/database.pid" --unixctl="$directory/database.ctl" \
            --log-file="$directory/database.log" -vconsole:off
        database=$!
        ;;
    switch)
        rm -f "$directory/switch.ctl"
        run switch ovs-vswitchd "unix:$directory/db.sock" --no-chdir \
            --pidfile="$directory/switch.pid" --unixctl="$directory/switch.ctl" \
            --log-file="$directory/switch.log" -vconsole:off
        switch=$!
        ;;
    esac
}

pid() {
    case "$1" in database) echo "$database" ;; switch) echo "$switch" ;; esac
}

# Whether a thread of a process has not stopped yet (proc(5): the state stands behind the name).
moves() {
    ! cat "/proc/$1/task/"*/stat 2>/dev/null | sed 's/.*) //' | awk '$1 != "T" { exit 1 }'
}

# Whether a process is there and not dead.
lives() {
    [ -n "$1" ] && case "$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null)" in '' | Z* | X*) return 1 ;; esac
}

# Ends a daemon by a signal, and waits until it has.
end() {
    process=$(pid "$1")
    [ -n "$process" ] || return 0
    kill "-$2" "$process" 2>/dev/null
    kill -CONT "$process" 2>/dev/null
    wait "$process" 2>/dev/null
    case "$1" in database) database= ;; switch) switch= ;; esac
}

# The devices of a switch outlive it, unless it is told to clean up.
clean() {
    kill -CONT "$switch"
    timeout 5 ovs-appctl --target="$directory/switch.ctl" exit --cleanup >/dev/null 2>&1
}

# Removes what a switch has left that could not clean up: the tap devices of its internal interfaces.
sweep() {
    query='["Open_vSwitch",{"op":"select","table":"Interface","where":[["type","==","internal"]],"columns":["name"]}]'
    names=$(ovsdb-tool query "$directory/conf.db" "$query" | grep -o '"name":"[^"]*"' | cut -d'"' -f4)
    for name in ovs-netdev $names; do
        case "$(ip -details link show dev "$name" 2>/dev/null)" in *' type tap '*) ip link delete dev "$name" ;; esac
    done
}

end_all() {
    trap '' HUP INT TERM
    ! lives "$switch" || clean
    end switch KILL
    end database KILL
    [ ! -e "$directory/switch.log" ] || sweep
    rm -rf "$directory"
}

trap 'exit 1' HUP INT TERM
trap end_all EXIT
while read -r order daemon; do
    case "$order" in
    start) start "$daemon" ;;
    stop) end "$daemon" TERM ;;
    kill) end "$daemon" KILL ;;
    freeze)
        kill -STOP "$(pid "$daemon")"
        while moves "$(pid "$daemon")"; do :; done
        ;;
    thaw) kill -CONT "$(pid "$daemon")" ;;
    empty) rm -f "$directory/conf.db" "$directory/.conf.db.~lock~" ;;
    esac
    if lives "$(pid "$daemon")"; then pid "$daemon"; else echo none; fi
done
