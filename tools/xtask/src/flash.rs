//! `flash`: writes a disk image to a card or stick, and to nothing else.

mod device;

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, IsTerminal as _, Read, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;
use rustix::fs::{Advice, OFlags, fadvise};

use crate::failure::unusable;
use crate::progress::Progress;
use device::System;

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
    let length = image.metadata()?.len();
    let found = System::real().look(&options.device, length).map_err(unusable)?;
    eprintln!("{found}\nAll that is on it will be lost.");
    if !options.yes && !agrees()? {
        return Err(unusable(anyhow!("nothing was written")));
    }
    // The kernel refuses O_EXCL for a disk that it uses itself, whatever the tables say.
    let device =
        OpenOptions::new().read(true).write(true).custom_flags(OFlags::EXCL.bits().cast_signed()).open(&found.path);
    let device = device.with_context(|| format!("can't write {}", found.path.display()))?;
    write(&image, &device, length)?;
    compare(&image, &device, length)
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

    use super::{STEP, compare, write};

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
