//! A disk as one file: a table with one FAT file system in it, which UEFI takes as its system partition and U-Boot as
//! the one to boot from. Written sparse, by libraries, without root.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
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
/// A partition's type in an MBR.
const FAT32: u8 = 0x0c;

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

/// A disk's one file system, as firmware finds it: in the table's active partition.
pub(crate) struct Volume(FileSystem<StreamSlice<File>>);

impl Volume {
    /// Opens the disk.
    ///
    /// # Errors
    /// It has no such partition, or no FAT in it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        const PROTECTIVE: u8 = 0xee;
        // `fatfs` wants to be able to write.
        let mut disk = File::options().read(true).write(true).open(path)?;
        let table = ProtectiveMBR::from_disk(&mut disk, LogicalBlockSize::Lb512).context("no partition table")?;
        let first = table.partition(0).context("an MBR has four partitions")?;
        let (start, size) = if first.os_type == PROTECTIVE {
            let table = GptConfig::new().writable(false).open(path)?;
            let bootable = table.partitions().values().find(|partition| partition.flags & BOOTABLE != 0);
            let partition = bootable.context("no partition of the GPT is to be booted from")?;
            (partition.first_lba, partition.last_lba + 1 - partition.first_lba)
        } else {
            ensure!((first.boot_indicator, first.os_type) == (0x80, FAT32), "the MBR's first partition: {first:?}");
            (first.lb_start.into(), first.lb_size.into())
        };
        let space = StreamSlice::new(disk, start * 512, (start + size) * 512)?;
        Ok(Self(FileSystem::new(space, FsOptions::new())?))
    }

    /// Reads a file of it.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.0.root_dir().open_file(name.trim_start_matches('/'));
        file.and_then(|mut file| file.read_to_end(&mut bytes)).with_context(|| format!("the disk has no {name}"))?;
        Ok(bytes)
    }
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
    use fatfs::FatType;
    use gpt::GptConfig;

    use super::{Table, Volume, write};

    #[test]
    fn a_disk_has_a_table_and_the_files() {
        let path = std::env::temp_dir().join(format!("assay-disk-{}.img", std::process::id()));
        let large = vec![7; 3 << 20];
        write(&path, Table::Gpt, &[("EFI/BOOT/BOOTAA64.EFI", b"image"), ("EFI/BOOT/bundle.cpio", &large)]).unwrap();
        let disk = GptConfig::new().writable(false).open(&path).unwrap();
        let partition = disk.partitions().get(&1).unwrap().clone();
        assert_eq!(partition.part_type_guid, gpt::partition_types::EFI);
        assert_eq!((partition.first_lba % 2048, partition.flags), (0, 4));
        let volume = Volume::open(&path).unwrap();
        assert_eq!(volume.0.fat_type(), FatType::Fat32);
        assert!(volume.read("/efi/boot/BUNDLE.CPIO").unwrap() == large);
        assert_eq!(volume.read("bundle").unwrap_err().to_string(), "the disk has no bundle");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_card_has_an_mbr_with_one_partition() {
        let path = std::env::temp_dir().join(format!("assay-card-{}.img", std::process::id()));
        write(&path, Table::Mbr, &[("config.txt", b"kernel=assay.img")]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(Volume::open(&path).unwrap().read("config.txt").unwrap(), b"kernel=assay.img");
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
}
