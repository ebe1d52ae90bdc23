//! The ramdisk: busybox, a console device and an `/init` that ends in a shell with job control.

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

struct Entry<'a> {
    name: &'a str,
    mode: u32,
    device: (u32, u32),
    data: &'a [u8],
}

/// The archive around this `busybox` program; the same input gives the same bytes.
///
/// # Errors
/// Writing to memory fails.
pub(crate) fn build(busybox: &[u8]) -> Result<Vec<u8>> {
    let folder = |name| Entry { name, mode: DIRECTORY, device: (0, 0), data: &[] };
    let program = |name, data| Entry { name, mode: PROGRAM, device: (0, 0), data };
    let entries = [
        folder("bin"),
        folder("etc"),
        folder("dev"),
        // The kernel opens it for init before anything is mounted.
        Entry { name: "dev/console", mode: CHARACTER_DEVICE, device: (5, 1), data: &[] },
        program("bin/busybox", busybox),
        program("init", INIT.as_bytes()),
        program("etc/inittab", INITTAB.as_bytes()),
        program("etc/shell", SHELL.as_bytes()),
    ];
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
