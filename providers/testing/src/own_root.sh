# What machines of the tests have in common: a root directory of their own over what this machine has. For a shell that
# is in a mount namespace of its own; everything that it writes is in memory, in "$mounts/upper".

# Makes the root directory: $1 is a directory for its mounts.
own_root() {
    mounts=$1
    mount --make-rprivate /
    mount -t tmpfs -o mode=755 tmpfs "$mounts"
    mkdir "$mounts/upper" "$mounts/work" "$mounts/root"
    root="$mounts/root"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$mounts/upper,workdir=$mounts/work" "$root"
}

# Gives it the views of the kernel, devices, and places for what is gone with the machine.
own_views() {
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for device in null zero full random urandom tty; do
        : > "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    : > "$root/dev/console"; mount --bind /dev/null "$root/dev/console"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
}

# Shows a directory of this machine as it is, if it is on another file system than the root directory.
show() {
    if [ -e "$1" ] && [ ! -e "$root$1" ]; then mkdir -p "$root$1"; mount --bind "$1" "$root$1"; fi
}

# Enters the root directory, and leaves this machine's.
enter_root() {
    cd "$root"
    mkdir -p run/before
    pivot_root . run/before
    umount -l /run/before
    rmdir /run/before
}
