//! Whether a device may be overwritten, by what the kernel says of it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

/// Where the kernel says what there is and what is in use.
pub(super) struct System {
    /// A folder for each block device.
    block: PathBuf,
    /// Tables whose lines begin with a device: mounts, and swap.
    tables: Vec<PathBuf>,
}

/// A device that may be overwritten.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Its numbers, `MAJOR:MINOR`.
    pub(super) number: String,
    model: String,
    bytes: u64,
}

#[cfg(test)]
impl Found {
    /// One with these numbers.
    pub(super) fn numbered(number: &str) -> Self {
        Self { number: number.to_owned(), ..Self::default() }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, {} MiB", self.path.display(), self.model, self.bytes >> 20)
    }
}

impl System {
    /// The running one.
    pub(super) fn real() -> Self {
        Self { block: "/sys/class/block".into(), tables: vec!["/proc/self/mounts".into(), "/proc/swaps".into()] }
    }

    /// Looks at a device that `length` bytes are to be written to.
    ///
    /// # Errors
    /// It must not be written, or they don't fit: the message says why.
    pub(super) fn look(&self, device: &Path, length: u64) -> Result<Found> {
        let shown = device.display();
        // Names like those in /dev/disk/by-id are links.
        let path = fs::canonicalize(device).with_context(|| format!("there is no {shown}"))?;
        let name = path.file_name().context("no device's name")?.to_string_lossy().into_owned();
        let facts = self.block.join(&name);
        ensure!(facts.is_dir(), "{shown} is not a block device");
        ensure!(!facts.join("partition").exists(), "{shown} is a partition: name the whole disk");
        let fact = |file: &str| fs::read_to_string(facts.join(file)).unwrap_or_default().trim().to_owned();
        // Readers that are built in do not call their cards removable.
        let is_card = fact("device/type") == "SD";
        // Nor is all that calls itself so a stick: disks on ports that can be plugged do too.
        let place = fs::canonicalize(&facts)?;
        let is_usb = place.components().any(|part| part.as_os_str().to_string_lossy().starts_with("usb"));
        let is_stick = fact("removable") == "1" && is_usb;
        ensure!(is_stick || is_card, "{shown} is not removable: only SD cards and USB sticks are written");
        ensure!(fact("ro") != "1", "{shown} is write-protected");
        self.check_use(&name, &facts, device)?;
        let sectors: u64 =
            fact("size").parse().with_context(|| format!("the kernel does not say how large {shown} is"))?;
        let bytes = sectors.saturating_mul(512);
        ensure!(bytes != 0, "{shown} has no medium");
        ensure!(bytes >= length, "{shown} has {} MiB, and the image {}", bytes >> 20, length.div_ceil(1 << 20));
        let model = [fact("device/model"), fact("device/name")].into_iter().find(|model| !model.is_empty());
        let number = fact("dev");
        Ok(Found { path, number, model: model.unwrap_or_else(|| "no model's name".to_owned()), bytes })
    }

    /// Refuses a disk of which something is mounted, swapped to, or part of another device.
    fn check_use(&self, name: &str, facts: &Path, device: &Path) -> Result<()> {
        let mut parts = vec![name.to_owned()];
        for entry in fs::read_dir(facts)?.flatten() {
            if entry.path().join("partition").exists() {
                parts.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        for part in &parts {
            let holders = fs::read_dir(self.block.join(part).join("holders"))
                .or_else(|_| fs::read_dir(facts.join(part).join("holders")));
            if holders.is_ok_and(|mut holders| holders.next().is_some()) {
                bail!(
                    "{part} of {} belongs to another device (LVM, RAID, encryption): take it out of that first",
                    device.display()
                );
            }
        }
        for table in &self.tables {
            // Who can't read what is mounted must not write.
            let text = fs::read_to_string(table).with_context(|| format!("can't read {}", table.display()))?;
            for line in text.lines() {
                let mut words = line.split_ascii_whitespace();
                let Some(source) = words.next().filter(|source| source.starts_with('/')) else { continue };
                let source = fs::canonicalize(source).unwrap_or_else(|_| source.into());
                let used = source.file_name().map(|used| used.to_string_lossy().into_owned());
                if used.is_some_and(|used| parts.contains(&used)) {
                    bail!("{} is in use ({}): unmount it first", source.display(), words.next().unwrap_or("mounted"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::System;

    /// A made-up /sys and /proc, and a /dev of regular files.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str) -> Self {
            let fake = Self(std::env::temp_dir().join(format!("assay-device-{}-{name}", std::process::id())));
            fake.put("devices/usb1/block/sdx");
            for (file, text) in [
                ("dev/sdx", ""),
                ("dev/sdx1", ""),
                ("sys/sdx/removable", "1\n"),
                ("sys/sdx/ro", "0\n"),
                ("sys/sdx/size", "8192\n"),
                ("sys/sdx/device/model", "Stick   \n"),
                ("sys/sdx/sdx1/partition", "1\n"),
                ("sys/sdx1/partition", "1\n"),
                ("mounts", "proc /proc proc rw 0 0\n/dev/sda1 / ext4 rw 0 0\n"),
                ("swaps", "Filename Type\n"),
            ] {
                fake.set(file, text);
            }
            fake
        }

        /// Puts the device there, on one bus or another.
        fn put(&self, place: &str) {
            let (place, link) = (self.0.join(place), self.0.join("sys/sdx"));
            fs::create_dir_all(&place).unwrap();
            fs::create_dir_all(self.0.join("sys")).unwrap();
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(place, link).unwrap();
        }

        fn set(&self, file: &str, text: &str) {
            let path = self.0.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn look(&self, device: &str, length: u64) -> Result<String, String> {
            let tables = vec![self.0.join("mounts"), self.0.join("swaps")];
            let found = System { block: self.0.join("sys"), tables }.look(&self.0.join("dev").join(device), length);
            found.map(|found| found.to_string()).map_err(|error| format!("{error:#}"))
        }

        fn refused(&self, word: &str) {
            let error = self.look("sdx", 1).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_stick_that_nobody_uses_may_be_written() {
        let fake = Fake::new("free");
        assert!(fake.look("sdx", 4 << 20).unwrap().ends_with("sdx: Stick, 4 MiB"));
        fake.set("sys/sdx/removable", "0\n");
        fake.set("sys/sdx/device/type", "SD\n");
        assert!(fake.look("sdx", 1).is_ok());
        assert!(fake.look("sdx", (4 << 20) + 1).unwrap_err().contains("the image 5"));
    }

    #[test]
    fn disks_of_the_machine_partitions_and_files_are_refused() {
        let fake = Fake::new("wrong");
        assert!(fake.look("sdx1", 1).unwrap_err().contains("is a partition"));
        assert!(fake.look("sdz", 1).unwrap_err().contains("there is no"));
        fake.set("dev/file", "");
        assert!(fake.look("file", 1).unwrap_err().contains("is not a block device"));
        fake.set("sys/sdx/ro", "1\n");
        fake.refused("write-protected");
        fake.set("sys/sdx/removable", "0\n");
        fake.refused("is not removable");
        // A disk inside the machine, on a port for plugging.
        fake.put("devices/ata1/block/sdx");
        fake.set("sys/sdx/removable", "1\n");
        fake.refused("is not removable");
    }

    #[test]
    fn what_is_in_use_is_refused() {
        let fake = Fake::new("used");
        let dev = fake.0.join("dev").display().to_string();
        fake.set("mounts", &format!("{dev}/sdx1 /media/stick vfat rw 0 0\n"));
        fake.refused("/media/stick");
        fake.set("mounts", &format!("{dev}/sdx /mnt vfat rw 0 0\n"));
        fake.refused("unmount it first");
        fake.set("mounts", "");
        fake.set("swaps", &format!("Filename Type\n{dev}/sdx1 partition 1 0 -2\n"));
        fake.refused("in use");
        fake.set("swaps", "");
        assert!(fake.look("sdx", 1).is_ok());
        fake.set("sys/sdx1/holders/dm-0", "");
        fake.refused("another device");
        let _ = fs::remove_file(fake.0.join("sys/sdx1/holders/dm-0"));
        fs::remove_file(fake.0.join("mounts")).unwrap();
        fake.refused("can't read");
    }
}
