# Boots a host: systemd on this machine's root, of which it has a copy to write on, with Docker, Open vSwitch and the agent as
# a person installs them.
# $1: its name; $2: its address; $3: its disk; $4: the control group of all hosts; $5: the program under test; $6: the agent's
# unit; $7: what it sees as /labs.
name=$1 address=$2 disk=$3 groups=$4 netloom=$5 unit=$6 labs=$7
set -eu

install() {
    for part in upper work root docker containerd netloom; do mkdir -p "$disk/$part"; done
    mount -t overlay overlay -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" "$disk/root"
    etc=$disk/root/etc
    # What this machine starts and has set is none of the host's.
    for own in fstab machine-id netloom docker/daemon.json openvswitch/conf.db; do rm -rf "${etc:?}/$own"; done
    rm -rf "$etc"/systemd/system/*.wants
    echo "$name" >"$etc/hostname"
    # Without one it would be a first boot, at which systemd starts all that is installed.
    tr -d - </proc/sys/kernel/random/uuid >"$etc/machine-id"
    cp "$unit" "$etc/systemd/system"
    # Control groups of version 1 are mounted such that only systemd can use them.
    cat >"$etc/systemd/system/uplink.service" <<END
[Unit]
DefaultDependencies=no
Before=network.target docker.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=sh -c 'for mount in /sys/fs/cgroup /sys/fs/cgroup/*/; do mount -o remount,rw,bind "\$\$mount"; done; true'
ExecStart=ip address add $address/24 dev host0
ExecStart=ip link set host0 up
[Install]
WantedBy=multi-user.target
END
    SYSTEMCTL_SKIP_SYSV=1 systemctl --quiet "--root=$disk/root" enable uplink docker openvswitch-switch netloom
}

# Goes into a control group in each hierarchy, which has in it all that the host makes.
enter() {
    hierarchies=/sys/fs/cgroup
    [ -e /sys/fs/cgroup/cgroup.controllers ] || hierarchies=$(echo /sys/fs/cgroup/*/)
    for hierarchy in $hierarchies; do
        all=$hierarchy/$groups
        mkdir -p "$all/$name"
        # Of version 1: a group has no processor and no memory at first. Of version 2: what controls groups is passed on.
        [ ! -e "$all/cpuset.mems" ] || for file in cpuset.cpus cpuset.mems; do
            cat "$hierarchy/$file" >"$all/$file"
            cat "$hierarchy/$file" >"$all/$name/$file"
        done
        [ ! -e "$all/cgroup.subtree_control" ] || echo "+cpu +memory +pids" 2>/dev/null >"$all/cgroup.subtree_control" || true
        echo 0 >"$all/$name/cgroup.procs"
    done
}

[ -d "$disk/root" ] || install
enter
exec systemd-nspawn --quiet --boot --directory="$disk/root" --machine="$name" --register=no --keep-unit --settings=no \
    --network-bridge=wire --capability=all --system-call-filter="add_key keyctl bpf" --console=pipe \
    --bind=/dev/net/tun --bind="$disk/docker:/var/lib/docker" --bind="$disk/containerd:/var/lib/containerd" \
    --bind="$disk/netloom:/var/lib/netloom" --bind-ro="$netloom:/usr/local/bin/netloom" --bind-ro="$labs:/labs"
