//! Names of program counters.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, bail};
use object::{Object as _, ObjectSymbol as _, SymbolKind};

/// A file, and the VM that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VmFile {
    /// Every VM, if not said.
    pub(crate) vm: Option<String>,
    pub(crate) file: PathBuf,
}

impl FromStr for VmFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (vm, file) = match text.split_once('=') {
            Some((vm, file)) if !vm.contains('/') => (Some(vm.to_owned()), file),
            _ => (None, text),
        };
        if file.is_empty() || vm.as_deref() == Some("") {
            return Err(format!("{text:?} is neither FILE nor VM=FILE"));
        }
        Ok(Self { vm, file: file.into() })
    }
}

/// Functions by address.
pub(super) struct Symbols(Vec<(u64, String)>);

impl Symbols {
    /// Reads an ELF file, or what `nm` prints: Linux's System.map.
    ///
    /// # Errors
    /// It is neither, or has no function.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let mut all = if bytes.starts_with(b"\x7fELF") { elf(bytes)? } else { map(bytes) };
        if all.is_empty() {
            bail!("neither an ELF file with symbols nor a System.map");
        }
        all.sort();
        Ok(Self(all))
    }

    /// The function that an address is in, with the distance from its start. The last one has no end.
    pub(super) fn name(&self, address: u64) -> Option<String> {
        let index = self.0.partition_point(|(start, _)| *start <= address).checked_sub(1)?;
        let (start, name) = &self.0[index];
        let offset = address - start;
        Some(if offset == 0 { name.clone() } else { format!("{name}+{offset:#x}") })
    }
}

fn elf(bytes: &[u8]) -> Result<Vec<(u64, String)>> {
    let file = object::File::parse(bytes)?;
    let functions = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition());
    Ok(functions.filter_map(|symbol| Some((symbol.address(), symbol.name().ok()?.to_owned()))).collect())
}

/// Lines of address, kind and name; kinds T, t, W and w are code.
fn map(bytes: &[u8]) -> Vec<(u64, String)> {
    let text = String::from_utf8_lossy(bytes);
    let entry = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
        let address = u64::from_str_radix(address, 16).ok()?;
        ["T", "t", "W", "w"].contains(&kind).then(|| (address, name.to_owned()))
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::{Symbols, VmFile};

    #[test]
    fn an_address_is_in_the_function_before_it() {
        let symbols = Symbols::read(b"20 T b\n10 t a\n18 D data\n").unwrap();
        let name = |address| symbols.name(address);
        assert_eq!((name(0xf), name(0x10).as_deref(), name(0x1f).as_deref()), (None, Some("a"), Some("a+0xf")));
        assert_eq!(name(0x24).as_deref(), Some("b+0x4"));
        assert!(Symbols::read(b"no map").is_err() && Symbols::read(b"\x7fELFbroken").is_err());
    }

    #[test]
    fn a_file_may_be_one_vms() {
        let read = |text: &str| text.parse::<VmFile>();
        assert_eq!(read("linux=a=b").unwrap(), VmFile { vm: Some("linux".to_owned()), file: "a=b".into() });
        assert_eq!(read("./x=y").unwrap(), VmFile { vm: None, file: "./x=y".into() });
        assert!(read("linux=").is_err() && read("=x").is_err() && read("").is_err());
    }
}
