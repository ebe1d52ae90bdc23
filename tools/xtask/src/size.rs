//! `size`: where the bytes and the lines are.

mod lines;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::Args;
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionIndex, SectionKind, SymbolKind};

use crate::build;

/// What the loaded image is to have at most: a goal, reported and not enforced.
const IMAGE_LIMIT: u64 = 150 * 1024;
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Only the lines: nothing is built
    #[arg(long)]
    lines: bool,
}

/// The figures that other commands report too.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Image {
    /// Bytes of `assay.img`.
    pub(crate) loaded: u64,
    /// Bytes that are zeroed at boot, heap and stacks included.
    pub(crate) bss: u64,
}

/// Prints the tables.
///
/// # Errors
/// The firmware doesn't build.
pub(crate) fn run(options: Options) -> Result<()> {
    if options.lines {
        return lines::print();
    }
    let artifacts = build::firmware(build::Profile::Release)?;
    let file = fs::read(&artifacts.elf)?;
    let image = sections(&file, fs::metadata(&artifacts.image)?.len())?;
    by_crate(&file)?;
    lines::print()?;
    let (loaded, verdict) = (image.loaded, if image.loaded > IMAGE_LIMIT { "missed" } else { "reached" });
    println!("goal for the image: {IMAGE_LIMIT} bytes, {verdict} with {loaded}");
    Ok(())
}

/// The image's figures without printing.
///
/// # Errors
/// There is no ELF file.
pub(crate) fn image(elf: &Path, flat: &Path) -> Result<Image> {
    let file = fs::read(elf)?;
    let loaded = fs::metadata(flat)?.len();
    let bss = memory(&parse(&file)?).iter().filter(|section| section.zeroed).map(|section| section.size).sum();
    Ok(Image { loaded, bss })
}

/// A section that takes memory.
struct Section {
    name: String,
    size: u64,
    zeroed: bool,
    index: SectionIndex,
}

fn parse(file: &[u8]) -> Result<ElfFile64<'_>> {
    ElfFile64::parse(file).ok().context("not an ELF file")
}

fn memory(file: &ElfFile64<'_>) -> Vec<Section> {
    let mut found = Vec::new();
    for section in file.sections() {
        let zeroed = section.kind() == SectionKind::UninitializedData;
        // Sections with an address of 0 that aren't the first are notes and debug information.
        let takes_memory = zeroed || section.address() != 0 || section.kind() == SectionKind::Text;
        if takes_memory && section.size() > 0 {
            let name = section.name().unwrap_or("?").to_owned();
            found.push(Section { name, size: section.size(), zeroed, index: section.index() });
        }
    }
    found
}

fn sections(file: &[u8], loaded: u64) -> Result<Image> {
    let mut image = Image { loaded, bss: 0 };
    println!("{:24} {:>10}", "section", "bytes");
    for section in memory(&parse(file)?) {
        println!("{:24} {:>10}", section.name, section.size);
        image.bss += if section.zeroed { section.size } else { 0 };
    }
    println!("{:24} {:>10}  of {IMAGE_LIMIT}", "image as loaded", image.loaded);
    println!("{:24} {:>10}\n", "zeroed at boot", image.bss);
    Ok(image)
}

/// Symbols' sizes by the crate that their mangled name starts with. Inlined code counts for its caller.
fn by_crate(file: &[u8]) -> Result<()> {
    let file = parse(file)?;
    let loaded: Vec<SectionIndex> =
        memory(&file).into_iter().filter(|section| !section.zeroed).map(|section| section.index).collect();
    let mut sizes = BTreeMap::<String, u64>::new();
    for symbol in file.symbols() {
        let in_image = symbol.section_index().is_some_and(|index| loaded.contains(&index));
        if in_image && matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data) {
            *sizes.entry(crate_of(symbol.name().unwrap_or(""))).or_default() += symbol.size();
        }
    }
    let mut sizes: Vec<(String, u64)> = sizes.into_iter().filter(|(_, size)| *size > 0).collect();
    sizes.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    println!("{:24} {:>10}", "crate", "bytes");
    for (name, size) in sizes {
        println!("{name:24} {size:>10}");
    }
    println!();
    Ok(())
}

/// The first crate in a name of either mangling.
fn crate_of(symbol: &str) -> String {
    let rest = match (symbol.strip_prefix("_ZN"), symbol.strip_prefix("_R")) {
        (Some(rest), _) => Some(rest),
        // A crate root is `C`, a disambiguator that ends in `_`, and the name.
        (None, Some(rest)) => rest.split_once("Cs").and_then(|(_, rest)| Some(rest.split_once('_')?.1)),
        (None, None) => None,
    };
    rest.and_then(counted).and_then(first_path).unwrap_or("(assembly and others)").to_owned()
}

/// `5model…`
fn counted(text: &str) -> Option<&str> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let length: usize = text.get(..digits)?.parse().ok()?;
    let name = text.get(digits..)?;
    name.get(..length).map(|name| name.trim_start_matches('_'))
}

/// An impl's name is a type's, `$LT$model..vgic..Vgic$u20$as…`: its first path's first part.
fn first_path(name: &str) -> Option<&str> {
    if !name.contains('$') {
        return Some(name);
    }
    name.split_once("..")?.0.rsplit('$').next()
}

#[cfg(test)]
mod tests {
    use super::crate_of;

    #[test]
    fn both_manglings_give_the_crate() {
        assert_eq!(crate_of("_ZN11assay_model4vgic4read17h0123456789abcdefE"), "assay_model");
        assert_eq!(crate_of("_RNvMs_NtCs4fqI2P2rA04_9assay_el25timerNtB4_5Timer3arm"), "assay_el2");
        assert_eq!(crate_of("_ZN31_$LT$assay_model..vgic..Vgic$GT$3fmt17hE"), "assay_model");
        assert_eq!(crate_of("vectors"), "(assembly and others)");
    }
}
