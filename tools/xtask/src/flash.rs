//! `flash`: writes a disk image to a card or stick, and to nothing else.

mod device;

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, IsTerminal as _, Read, Seek as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;
use rustix::fs::{Advice, OFlags, fadvise, major, minor};

use crate::failure::unusable;
use crate::progress::Progress;
use device::{Found, System};

/// What is written at once.
const STEP: usize = 4 << 20;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The card or stick, as a whole: /dev/sdX, /dev/mmcblkN
    #[arg(long, value_name = "DEV")]
    device: PathBuf,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// What to write: disk.img of `image`
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The device must not be written, nobody agrees, or it does not hold afterwards what was written.
pub(crate) fn run(options: &Options) -> Result<()> {
    let image = File::open(&options.file).with_context(|| format!("can't read {}", options.file.display()));
    let image = image.map_err(unusable)?;
    is_disk(&image).with_context(|| options.file.display().to_string()).map_err(unusable)?;
    let length = image.metadata()?.len();
    let found = System::real().look(&options.device, length).map_err(unusable)?;
    // Before the question, so that the answer is about this device and no other that has come in its place. The kernel
    // refuses O_EXCL for a disk that it uses itself, whatever the tables say.
    let device =
        OpenOptions::new().read(true).write(true).custom_flags(OFlags::EXCL.bits().cast_signed()).open(&found.path);
    let device = device.with_context(|| format!("can't write {}", found.path.display())).map_err(unusable)?;
    let opened = System::real().look(&options.device, length).map_err(unusable)?;
    if opened != found || !is_node(&device, &found)? {
        return Err(unusable(anyhow!("{} is not the device that the kernel has by that name", found.path.display())));
    }
    eprintln!("{found}\nAll that is on it will be lost.");
    if !options.yes && !agrees()? {
        return Err(unusable(anyhow!("nothing was written")));
    }
    write(&image, &device, length)?;
    compare(&image, &device, length)
}

/// Looks whether a file is a disk: what `image` writes has a table in its first sector, and its mark at the end of that.
fn is_disk(mut image: &File) -> Result<()> {
    let mut sector = [0; 512];
    let is_whole = image.metadata()?.is_file() && image.read_exact(&mut sector).is_ok();
    image.rewind()?;
    ensure!(is_whole && sector.ends_with(&[0x55, 0xaa]), "it is no disk image: `image` writes disk.img");
    Ok(())
}

/// Tells whether an open file is the block device that was looked at.
fn is_node(device: &File, found: &Found) -> Result<bool> {
    let node = device.metadata()?;
    let number = format!("{}:{}", major(node.rdev()), minor(node.rdev()));
    Ok(node.file_type().is_block_device() && number == found.number)
}

/// Asks on the terminal.
fn agrees() -> Result<bool> {
    ensure!(std::io::stdin().is_terminal(), "nobody is there to ask: give --yes");
    eprint!("Write it? Type yes: ");
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// Writes all of the image, and waits until the device has it.
fn write(mut image: &File, mut device: &File, length: u64) -> Result<()> {
    each_step(image, length, "writing", |bytes, _| {
        device.write_all(bytes)?;
        Ok(device.sync_data()?)
    })?;
    image.rewind()?;
    Ok(device.rewind()?)
}

/// Reads the device, not what the kernel remembers of it, and compares.
fn compare(image: &File, mut device: &File, length: u64) -> Result<()> {
    fadvise(device, 0, None, Advice::DontNeed)?;
    let mut there = vec![0; STEP];
    each_step(image, length, "reading back", |bytes, at| {
        let there = &mut there[..bytes.len()];
        device.read_exact(there)?;
        let wrong = bytes.iter().zip(&*there).position(|(one, other)| one != other);
        match wrong {
            Some(wrong) => {
                bail!("byte {} is not what was written: the device is bad, or smaller than it says", at + wrong as u64)
            }
            None => Ok(()),
        }
    })
}

/// Shows the image's bytes a step at a time, each with its place.
fn each_step(
    mut image: impl Read,
    length: u64,
    name: &str,
    mut with: impl FnMut(&[u8], u64) -> Result<()>,
) -> Result<()> {
    let mut progress = Progress::start(name);
    let (mut bytes, mut at) = (vec![0; STEP], 0);
    while at < length {
        let size = usize::try_from(length - at).map_or(STEP, |left| left.min(STEP));
        image.read_exact(&mut bytes[..size])?;
        with(&bytes[..size], at)?;
        at += size as u64;
        progress.at(at * 100 / length.max(1), &format!("{} of {} MiB", at >> 20, length >> 20));
    }
    progress.done("done");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::os::unix::fs::FileExt as _;

    use super::device::Found;
    use super::{STEP, compare, is_disk, is_node, write};

    #[test]
    fn files_that_are_no_disks_and_files_in_a_devices_place_are_refused() {
        let path = std::env::temp_dir().join(format!("assay-flash-mark-{}", std::process::id()));
        let mut disk = vec![0; 1024];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        for (bytes, is_one) in [(&[][..], false), (&[0x55, 0xaa], false), (&[0; 1024], false), (&disk, true)] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(is_disk(&File::open(&path).unwrap()).is_ok(), is_one, "{} bytes", bytes.len());
        }
        assert!(!is_node(&File::open(&path).unwrap(), &Found::default()).unwrap());
        std::fs::remove_file(path).unwrap();
        assert!(is_disk(&File::open("/dev/null").unwrap()).is_err());
        assert!(!is_node(&File::open("/dev/null").unwrap(), &Found::numbered("1:3")).unwrap());
    }

    #[test]
    fn what_is_written_is_read_back_and_a_wrong_byte_is_found() {
        let folder = std::env::temp_dir().join(format!("assay-flash-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let bytes: Vec<u8> = (0..=250).cycle().take(STEP + 4321).collect();
        let length = bytes.len() as u64;
        std::fs::write(folder.join("image"), &bytes).unwrap();
        std::fs::write(folder.join("device"), vec![9; STEP * 2]).unwrap();
        let image = File::open(folder.join("image")).unwrap();
        let device = OpenOptions::new().read(true).write(true).open(folder.join("device")).unwrap();
        write(&image, &device, length).unwrap();
        compare(&image, &device, length).unwrap();
        let there = std::fs::read(folder.join("device")).unwrap();
        assert!(there[..bytes.len()] == bytes && there[bytes.len()..].iter().all(|&byte| byte == 9));
        device.write_at(&[255], STEP as u64 + 7).unwrap();
        let (image, device) = (File::open(folder.join("image")).unwrap(), File::open(folder.join("device")).unwrap());
        let error = compare(&image, &device, length).unwrap_err().to_string();
        assert!(error.contains(&format!("byte {}", STEP + 7)), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
