# A machine on a network of the tests' own, in namespaces: its first process. $1 is a directory with its keys and the
# configuration of its SSH server, in which its mounts are made too; $2 the text of own_root.sh; $3 its name; $4 who logs in;
# $5 its addresses; $6 the program of its Docker daemon, if it is to have one; what follows are directories that it has of
# this machine.
# Everything that it writes is in memory. It ends when standard input is closed.
set -e
directory=$1; parts=$2; name=$3; user=$4; addresses=$5; dockerd=$6
shift 6
eval "$parts"
own_root "$directory/mounts"
own_views
# Whoever logs in may pass through what is above those directories, and read what is made there for one user alone.
for shown in "$@"; do
    show "$shown"
    above=$shown
    while [ "$above" != / ]; do chmod a+rx "$root$above"; above=$(dirname "$above"); done
done
chmod a+rx "$root/root"
if [ -n "$dockerd" ]; then
    mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
    # Docker gives accelerators to containers where there is this program, which prepares them: here there are none.
    hook="$root/usr/local/bin/nvidia-container-runtime-hook"
    printf '#!/bin/sh\n' > "$hook"
    chmod 755 "$hook"
fi
home=/root
if [ "$user" != root ]; then
    home="/home/$user"
    echo "$user:x:64000:64000::$home:/bin/sh" >> "$root/etc/passwd"
    echo "$user:x:64000:" >> "$root/etc/group"
    echo "$user:*:19000:0:99999:7:::" >> "$root/etc/shadow"
    mkdir -p "$root$home"
    chown 64000:64000 "$root$home"
fi
printf 'passwd: files\ngroup: files\nshadow: files\nhosts: files\n' > "$root/etc/nsswitch.conf"
hostname "$name"
mkdir -p "$root/run/sshd" "$root/run/machine/changes"
for file in host_key authorized_keys sshd_config; do cp "$directory/$file" "$root/run/machine/$file"; done
chmod 600 "$root/run/machine/host_key"
# What is written on it, apart from what is in memory on every machine.
mount --bind "$directory/mounts/upper" "$root/run/machine/changes"
enter_root
# As on the images of clouds whose services listen on the ports of the web.
echo 80 > /proc/sys/net/ipv4/ip_unprivileged_port_start
ip link set lo up
# It is plugged in from outside.
until ip link show dev eth0 > /dev/null 2>&1; do sleep 0.05; done
for address in $addresses; do ip addr add "$address/32" dev eth0; done
ip link set eth0 up
# Everybody on the network is a neighbour, whatever the address.
ip route add default dev eth0
if [ -n "$dockerd" ]; then
    # By itself it changes the packet filter, which containers do not need to be reached from their machine.
    ip link add docker0 type bridge
    ip addr add 172.17.0.1/16 dev docker0
    ip link set docker0 up
    # Where it keeps what is its own, and the sockets of what it runs.
    mkdir -p /run/machine/docker /run/containerd/s
    "$dockerd" --data-root /run/machine/docker/data --exec-root /run/machine/docker/exec --pidfile /run/machine/docker/pid \
        --host unix:///run/docker.sock --group "$user" --bridge docker0 --iptables=false --ip6tables=false \
        --ip-forward=false --ip-masq=false < /dev/null > /run/machine/docker/log 2>&1 &
fi
"$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f /run/machine/sshd_config < /dev/null 2> /run/machine/sshd.log &
cat > /dev/null || true
