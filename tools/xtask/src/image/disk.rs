//! A disk as one file: a table with one FAT file system in it, which UEFI takes as its system partition and U-Boot as
//! the one to boot from. Written sparse, by libraries, without root.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use fscommon::StreamSlice;
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::{PartRecord, ProtectiveMBR};
use gpt::partition_types::EFI;

const MIB: u64 = 1 << 20;
/// The least that is FAT32 whatever the size of its clusters.
const LEAST: u64 = 64 * MIB;
/// What U-Boot's scan looks for: the attribute "legacy BIOS bootable".
const BOOTABLE: u64 = 1 << 2;

/// Which table says where the file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// UEFI's.
    Gpt,
    /// What small boards' firmware reads.
    Mbr,
}

/// Writes a disk with these files, `/` between the parts of their names.
///
/// # Errors
/// It can't be written, or a name is none that FAT has.
pub(crate) fn write(path: &Path, table: Table, files: &[(&str, &[u8])]) -> Result<()> {
    let content: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    // An eighth for tables and what else somebody puts there.
    let volume = (content + content / 8 + 8 * MIB).next_multiple_of(MIB).max(LEAST);
    // Beside it, so that what was there stays whole until this is.
    let partial = path.with_extension("partial");
    let disk = File::options().read(true).write(true).create(true).truncate(true).open(&partial)?;
    // QEMU takes cards of powers of two only.
    let size = volume + 2 * MIB;
    disk.set_len(if table == Table::Mbr { size.next_power_of_two() } else { size })?;
    let (start, end) = match table {
        Table::Gpt => partition(&disk, volume)?,
        Table::Mbr => old_partition(&disk, volume)?,
    };
    let mut space = StreamSlice::new(&disk, start, end)?;
    let options = FormatVolumeOptions::new().fat_type(FatType::Fat32).volume_label(*b"ASSAY      ");
    fatfs::format_volume(&mut space, options)?;
    space.seek(SeekFrom::Start(0))?;
    let system = FileSystem::new(space, FsOptions::new())?;
    for &(name, bytes) in files {
        put(&system.root_dir(), name, bytes).with_context(|| format!("can't write {name} into the image"))?;
    }
    system.unmount()?;
    Ok(fs::rename(partial, path)?)
}

/// Writes the partition table. Gives where the one partition begins and ends.
fn partition(disk: &File, volume: u64) -> Result<(u64, u64)> {
    let sectors = u32::try_from(disk.metadata()?.len() / 512 - 1).unwrap_or(u32::MAX);
    let mut device = disk;
    ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(&mut device)?;
    let config = GptConfig::new().writable(true).logical_block_size(LogicalBlockSize::Lb512);
    let mut table = config.create_from_device(device, None)?;
    let id = table.add_partition("assay", volume, EFI, BOOTABLE, Some(MIB / 512))?;
    let partition = table.partitions().get(&id).context("the partition is not in its table")?;
    let place = (partition.first_lba * 512, (partition.last_lba + 1) * 512);
    let _ = table.write()?;
    Ok(place)
}

/// Writes an MBR with the one partition, FAT32 by blocks, active. Gives where it begins and ends.
fn old_partition(disk: &File, volume: u64) -> Result<(u64, u64)> {
    const FAT32: u8 = 0x0c;
    // Nobody reads cylinders any more: the most that they say.
    let (lb_start, lb_size) = (u32::try_from(MIB / 512)?, u32::try_from(volume / 512)?);
    let none = PartRecord::new_protective(Some(0));
    let own = PartRecord { boot_indicator: 0x80, os_type: FAT32, lb_start, lb_size, ..none };
    let mut table = ProtectiveMBR::with_lb_size(0);
    let _ = table.set_partition(0, own).context("an MBR has four partitions")?;
    let mut device = disk;
    table.overwrite_lba0(&mut device)?;
    Ok((MIB, MIB + volume))
}

fn put<T: fatfs::ReadWriteSeek>(root: &fatfs::Dir<'_, T>, name: &str, bytes: &[u8]) -> Result<()> {
    for (at, _) in name.match_indices('/') {
        let _ = root.create_dir(&name[..at])?;
    }
    let mut file = root.create_file(name)?;
    file.truncate()?;
    Ok(file.write_all(bytes)?)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;

    use fatfs::{FatType, FileSystem, FsOptions};
    use fscommon::StreamSlice;
    use gpt::GptConfig;

    use super::{Table, write};

    #[test]
    fn a_disk_has_a_table_and_the_files() {
        let path = std::env::temp_dir().join(format!("assay-disk-{}.img", std::process::id()));
        let large = vec![7; 3 << 20];
        write(&path, Table::Gpt, &[("EFI/BOOT/BOOTAA64.EFI", b"image"), ("EFI/BOOT/bundle.cpio", &large)]).unwrap();
        let disk = GptConfig::new().writable(false).open(&path).unwrap();
        let partition = disk.partitions().get(&1).unwrap().clone();
        assert_eq!(partition.part_type_guid, gpt::partition_types::EFI);
        assert_eq!((partition.first_lba % 2048, partition.flags), (0, 4));
        let file = File::open(&path).unwrap();
        let space = StreamSlice::new(file, partition.first_lba * 512, (partition.last_lba + 1) * 512).unwrap();
        let system = FileSystem::new(ReadOnly(space), FsOptions::new()).unwrap();
        assert_eq!(system.fat_type(), FatType::Fat32);
        let mut bytes = Vec::new();
        system.root_dir().open_file("efi/boot/BUNDLE.CPIO").unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes == large);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_card_has_an_mbr_with_one_partition() {
        let path = std::env::temp_dir().join(format!("assay-card-{}.img", std::process::id()));
        write(&path, Table::Mbr, &[("config.txt", b"kernel=assay.img")]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(bytes[510..512], [0x55, 0xaa]);
        let entry = &bytes[446..462];
        assert_eq!((entry[0], entry[4]), (0x80, 0x0c));
        assert_eq!(entry[8..12], 2048u32.to_le_bytes());
        let size = u64::from(u32::from_le_bytes(entry[12..16].try_into().unwrap())) * 512;
        assert!(size >= super::LEAST && size + (1 << 20) <= bytes.len() as u64);
        assert!(bytes[462..510].iter().all(|&byte| byte == 0));
        // FAT32's own mark, in its first sector.
        assert_eq!(bytes[(1 << 20) + 82..][..8], *b"FAT32   ");
    }

    /// What `fatfs` wants to write to is not written to.
    struct ReadOnly<T>(T);

    impl<T: std::io::Read> std::io::Read for ReadOnly<T> {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(to)
        }
    }

    impl<T: std::io::Seek> std::io::Seek for ReadOnly<T> {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }

    impl<T> std::io::Write for ReadOnly<T> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
