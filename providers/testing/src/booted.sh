# Boots a systemd of the tests' own, in namespaces, over what this machine has: $1 is a directory for its mounts, $2 the
# directory with the tests' programs, $3 the file that says what its first process is called outside, $4 the text of
# own_root.sh.
# Everything that it writes is in memory. It ends when standard input is closed.
set -e
mounts=$1; programs=$2; pid=$3; parts=$4
cgroups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
own="$cgroups/gabion-test-$$"
mkdir "$own"
cat > "$mounts/boot" <<'BOOT'
set -e
mounts=$1; programs=$2
eval "$3"
own_root "$mounts"
# Whatever root's own shell does at its start is none of a test's: it may wait for a lock that was held when this booted.
mount -t tmpfs -o mode=700 tmpfs "$root/root"
own_views
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
show "$programs"
# Of what the machine itself would start, nothing is.
units="$root/etc/systemd/system"
rm -rf "$units" && mkdir -p "$units" "$root/var/lib/systemd/linger"
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n' > "$units/gabion-test.target"
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-tmpfiles-setup-dev.service \
    systemd-tmpfiles-clean.timer systemd-sysctl.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
    systemd-remount-fs.service systemd-sysusers.service systemd-timesyncd.service dev-hugepages.mount dev-mqueue.mount \
    sys-kernel-debug.mount sys-kernel-tracing.mount systemd-pstore.service systemd-random-seed.service \
    systemd-update-utmp.service systemd-modules-load.service systemd-journal-flush.service apt-daily.timer \
    apt-daily-upgrade.timer; do
    ln -s /dev/null "$units/$unit"
done
# Who is who is asked of files alone: other sources wait for services that are not there.
printf 'passwd: files\ngroup: files\nshadow: files\nhosts: files\n' > "$root/etc/nsswitch.conf"
hostname gabion-test
enter_root
exec env -i container=gabion-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=gabion-test.target --log-target=console --log-level=warning < /dev/null
BOOT
sh -c 'echo $$ > "$1/cgroup.procs"; exec unshare --mount --pid --fork --uts --ipc --cgroup --kill-child sh "$2/boot" "$2" "$3" "$4"' \
    sh "$own" "$mounts" "$programs" "$parts" < /dev/null &
outer=$!
end() {
    kill -9 "$outer" 2> /dev/null || true
    wait "$outer" 2> /dev/null || true
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        find "$own" -depth -type d -exec rmdir {} + 2> /dev/null && break
        sleep 0.2
    done
    rm -rf "$mounts"
    exit 0
}
trap end INT TERM HUP
while kill -0 "$outer" 2> /dev/null; do
    first=$(cat "/proc/$outer/task/$outer/children" 2> /dev/null | tr -d ' ')
    if [ -n "$first" ]; then echo "$first" > "$pid.new"; mv "$pid.new" "$pid"; break; fi
    sleep 0.05
done
cat > /dev/null || true
end
