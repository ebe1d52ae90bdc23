//! The cells by which a module's `reg` is read.

use crate::gate::{Cells, Malformed, Node};

/// Reads `#address-cells` and `#size-cells` for a module's `reg`, each from the nearest node above that has it.
///
/// The Devicetree Specification (2.3.5) gives a node without them 2 and 1, whatever is above it. Xen takes those
/// of the node above, and trees are written for it that rely on that.
pub(super) fn above(module: &Node<'_, '_>) -> Result<Cells, Malformed> {
    let nearest = |name: &'static str, default| {
        let above = module.ancestors().find(|node| node.has(name));
        let cells = above.map_or(Ok(None), |node| node.u32(name))?;
        Ok(cells.unwrap_or(default))
    };
    Ok(Cells {
        address: nearest("#address-cells", Cells::DEFAULT.address)?,
        size: nearest("#size-cells", Cells::DEFAULT.size)?,
    })
}
