//! The ramdisks: busybox, a console device and an `/init` that ends in a shell with job control; the same with modules and
//! commands that make memory of a `pmem-region`; and with modules for a disk and a network, which goes on from the disk if
//! that has a system.

use anyhow::Result;
use cpio::newc::{Builder, trailer};

/// File types of `st_mode`, with the permissions.
const DIRECTORY: u32 = 0o040755;
const PROGRAM: u32 = 0o100755;
const CHARACTER_DEVICE: u32 = 0o020600;

/// Runs first. busybox's `init` does the rest, so that `poweroff` and `reboot` work as everywhere.
const INIT: &str = "\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /sbin /usr/bin /usr/sbin
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mkdir -p /dev/pts
/bin/busybox mount -t devpts devpts /dev/pts
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox --install -s
hostname debian
exec /bin/busybox init
";

/// `cttyhack` makes the console the shell's controlling terminal: Ctrl-C and job control work.
const INITTAB: &str = "\
::respawn:/bin/cttyhack /bin/sh /etc/shell
::ctrlaltdel:/sbin/reboot
";

const SHELL: &str = "\
echo
echo \"Linux $(uname -r) on $(nproc) CPUs. 'poweroff' ends it.\"
export PS1='\\h:\\w# ' HOME=/root TERM=${TERM:-linux}
cd /
exec /bin/sh
";

/// Of the ramdisk with modules: loads them before the shell starts. busybox unpacks what the kernel's package has packed.
const LOAD: &str = "\
#!/bin/sh
[ -e /run/loaded ] && exec /bin/sh /etc/shell
touch /run/loaded
cd /lib/extra
unxz *.xz 2>/dev/null
for module in *.ko; do
    insmod $module || echo \"$module: is the kernel another one than the ramdisk's?\"
done
echo
echo \"'devdax' makes /dev/dax0.0 of the region; 'kmem' gives that to Linux as memory of its node.\"
exec /bin/sh /etc/shell
";

/// Makes a devdax of the first region: what `ndctl create-namespace -f -e namespace0.0 -m devdax -M mem` does.
const DEVDAX: &str = "\
#!/bin/sh
nd=/sys/bus/nd
wait_for() {
    for _ in $(seq 100); do [ -e $1 ] && return; usleep 100000; done
    echo \"there is no $1: the VM needs a region with use = dax, and Linux 6.12\" >&2
    exit 1
}
[ -e /dev/dax0.0 ] && exit
wait_for $nd/drivers/nd_pmem/namespace0.0
wait_for $nd/devices/dax0.0/align
echo namespace0.0 > $nd/drivers/nd_pmem/unbind
cd $nd/devices/dax0.0 || exit 1
echo 2097152 > align
cat /proc/sys/kernel/random/uuid > uuid
echo pmem > mode
echo namespace0.0 > namespace
echo dax0.0 > $nd/drivers/dax_pmem/bind
wait_for /dev/dax0.0
ls -l /dev/dax0.0
";

/// Gives the devdax to the kernel, movable, so that the kernel's own data does not go there: what
/// `daxctl reconfigure-device -m system-ram dax0.0` does.
const KMEM: &str = "\
#!/bin/sh
devdax >/dev/null || exit 1
dax=/sys/bus/dax/drivers
echo dax0.0 > $dax/device_dax/unbind
echo dax0.0 > $dax/kmem/new_id
for state in /sys/devices/system/memory/memory*/state; do
    [ $(cat $state) = offline ] && echo online_movable > $state
done
awk '/^Node/ { line = $0 } /managed/ && $2 { print line, $2 * 4, \"kB\" }' /proc/zoneinfo
";

/// Run by `/init` itself, which may become the disk's own: loads modules, brings the network up, and goes on from the first
/// file system with `/sbin/init`.
const DISK: &str = "\
cd /lib/extra
/bin/busybox unxz *.xz 2>/dev/null
for module in *.ko; do
    insmod $module || echo \"$module: is the kernel another one than the ramdisk's?\"
done
cd /
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -b /dev/nvme0n1 ] && break
    sleep 0.2
done
if [ -e /sys/class/net/eth0 ]; then
    ifconfig eth0 up
    udhcpc -q -n -i eth0 -s /etc/lease >/dev/null 2>&1 && echo \"eth0 has an address\"
fi
mkdir -p /mnt
for disk in /dev/nvme0n1p* /dev/nvme0n1; do
    [ -b $disk ] && mount -t ext4 $disk /mnt 2>/dev/null || continue
    if [ -e /mnt/sbin/init ] || [ -L /mnt/sbin/init ]; then
        echo \"going on from $disk\"
        for place in dev proc sys; do mkdir -p /mnt/$place; mount -o move /$place /mnt/$place; done
        exec switch_root /mnt /sbin/init
    fi
    umount /mnt
done
[ -b /dev/nvme0n1 ] && echo \"/dev/nvme0n1 has no system with /sbin/init\"
";

/// What `udhcpc` runs when it has an address.
const LEASE: &str = "\
#!/bin/sh
[ \"$1\" = bound ] || exit 0
ifconfig $interface $ip netmask ${subnet:-255.255.255.0}
[ -n \"$router\" ] && route add default gw $router
[ -n \"$dns\" ] && echo nameserver $dns >/etc/resolv.conf
exit 0
";

/// What a ramdisk has besides the shell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum With {
    /// Nothing.
    Nothing,
    /// Memory of a `pmem-region`.
    Dax,
    /// A disk and a network.
    Disk,
}

struct Entry<'a> {
    name: &'a str,
    mode: u32,
    device: (u32, u32),
    data: &'a [u8],
}

/// The archive around this `busybox` program, with these modules by name; the same input gives the same bytes.
///
/// # Errors
/// Writing to memory fails.
pub(crate) fn build(busybox: &[u8], with: With, modules: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let folder = |name| Entry { name, mode: DIRECTORY, device: (0, 0), data: &[] };
    let program = |name, data| Entry { name, mode: PROGRAM, device: (0, 0), data };
    let with_modules = INITTAB.replace("/etc/shell", "/etc/load");
    let inittab = if with == With::Dax { &with_modules } else { INITTAB };
    let last = "exec /bin/busybox init\n";
    let from_disk = INIT.replace(last, &format!(". /etc/disk\n{last}"));
    let init = if with == With::Disk { &from_disk } else { INIT };
    let mut entries = vec![
        folder("bin"),
        folder("etc"),
        folder("dev"),
        // The kernel opens it for init before anything is mounted.
        Entry { name: "dev/console", mode: CHARACTER_DEVICE, device: (5, 1), data: &[] },
        program("bin/busybox", busybox),
        program("init", init.as_bytes()),
        program("etc/inittab", inittab.as_bytes()),
        program("etc/shell", SHELL.as_bytes()),
    ];
    let scripts: &[(&str, &str)] = match with {
        With::Nothing => &[],
        With::Dax => &[("etc/load", LOAD), ("bin/devdax", DEVDAX), ("bin/kmem", KMEM)],
        With::Disk => &[("etc/disk", DISK), ("etc/lease", LEASE)],
    };
    if !modules.is_empty() {
        entries.extend([folder("lib"), folder("lib/extra")]);
    }
    entries.extend(scripts.iter().map(|(name, text)| program(name, text.as_bytes())));
    let paths: Vec<String> = modules.iter().map(|(name, _)| format!("lib/extra/{name}")).collect();
    entries.extend(paths.iter().zip(modules).map(|(path, (_, data))| program(path, data)));
    let mut archive = Vec::new();
    for (inode, entry) in (1u32..).zip(&entries) {
        let builder =
            Builder::new(entry.name).ino(inode).mode(entry.mode).rdev_major(entry.device.0).rdev_minor(entry.device.1);
        let mut writer = builder.write(archive, u32::try_from(entry.data.len())?);
        std::io::Write::write_all(&mut writer, entry.data)?;
        archive = writer.finish()?;
    }
    Ok(trailer(archive)?)
}
