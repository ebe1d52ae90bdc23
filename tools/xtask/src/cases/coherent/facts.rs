//! What the platform's tree says of the accelerator: an overlay, written for each case.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::REGION;
use crate::build;

/// One region and what is said at the root.
#[derive(Clone, Copy)]
pub(in crate::cases) struct Facts {
    /// Properties of the root node.
    pub(in crate::cases) root: &'static str,
    /// Where the region is.
    pub(in crate::cases) start: u64,
    /// Its bytes.
    pub(in crate::cases) size: u64,
    /// The region's properties beside `compatible`, `no-map` and its NUMA node; a `reg` here is all there is.
    pub(in crate::cases) node: &'static str,
    /// Further children of `/reserved-memory`.
    pub(in crate::cases) others: &'static str,
}

/// A slice of RAM with the mark.
pub(in crate::cases) const MARKED: Facts =
    Facts { root: "", start: 0x7000_0000, size: 0x800_0000, node: "assay,mte-capable;", others: "" };

/// The slice without a word about tags.
pub(in crate::cases) const UNMARKED: Facts = Facts { node: "", ..MARKED };

impl Facts {
    /// Whether the region is a BAR, whose place the tree doesn't say.
    pub(super) fn is_bar(&self) -> bool {
        self.node.contains("assay,pci-bar")
    }

    fn source(&self) -> String {
        let Self { root, start, size, node, others } = self;
        let cells = |number: u64| format!("{:#x} {:#x}", number >> 32, number & 0xffff_ffff);
        let reg = if node.contains("reg = ") || self.is_bar() {
            String::new()
        } else {
            format!("reg = <{} {}>;", cells(*start), cells(*size))
        };
        let unit = if self.is_bar() { String::new() } else { format!("@{start:x}") };
        let cells = "#address-cells = <2>; #size-cells = <2>;";
        format!(
            "/dts-v1/; /plugin/;\n/ {{ compatible = \"linux,dummy-virt\"; }};\n\
             &{{/}} {{ {cells} {root} reserved-memory {{ {cells} ranges;\n{others}\n\
             {REGION}{unit} {{ compatible = \"assay,coherent-memory\"; {reg} no-map; \
             {node} numa-node-id = <1>; }};\n}}; }};\n"
        )
    }

    /// Writes the overlay's source and gives its path.
    pub(in crate::cases) fn file(&self, name: &str) -> Result<PathBuf> {
        let folder = build::target()?.join("assay/overlays");
        fs::create_dir_all(&folder)?;
        let path = folder.join(name).with_extension("dtso");
        fs::write(&path, self.source()).with_context(|| format!("can't write {}", path.display()))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use assay_harness::overlay;

    use super::MARKED;
    use crate::cases::coherent::{pci, places, table};

    #[test]
    fn the_source_of_every_case_compiles() {
        for look in table::ROWS.iter().chain(pci::ROWS) {
            overlay::compile(&look.facts.source()).unwrap();
        }
        for (_, facts, _) in places::FAULTS.iter().chain(pci::FAULTS) {
            overlay::compile(&facts.source()).unwrap();
        }
    }

    #[test]
    fn the_slice_is_that_of_the_boards_own_overlay() {
        let top = assay_harness::cache::repository().unwrap();
        let board = overlay::read(&top.join("platforms/qemu-virt/accelerator.dtso")).unwrap();
        assert_eq!(overlay::compile(&MARKED.source()).unwrap(), board);
    }
}
