//! Where the guests come from: the bundle and the VM tree in it, or the platform tree's own `/chosen`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use assay_el2::boot;
use assay_model::bundle::{Bundle, VM_TREE};
use assay_model::gate::Tree;
use assay_model::platform::Machine;
use assay_model::vm_tree::{self, Source, VmTree};
use assay_spec::addr::{Pa, Region};

/// What the boot loader passed besides the platform tree.
pub(crate) struct Guests {
    bundle: Option<Bundle<'static>>,
    /// Memory that no module may lie in.
    barred: Vec<Region<Pa>>,
    pub(crate) tree: VmTree,
}

/// A file that a VM needs cannot be had.
pub(crate) enum Missing {
    /// Not in the bundle, or there is no bundle.
    Member(String),
    /// The memory where the VM tree says that it is cannot be lent.
    Address(Region<Pa>),
}

/// Reads the bundle at `place`, or without one the platform's own tree.
pub(crate) fn open(
    place: Option<Region<Pa>>,
    platform: &[u8],
    machine: &Machine,
) -> Result<Guests, String> {
    let bundle = match place {
        Some(place) => {
            let bytes = boot::lend(place)
                .ok_or_else(|| format!("the bundle at {place:?} lies in memory that is in use"))?;
            Some(
                Bundle::new(bytes)
                    .map_err(|error| format!("the bundle cannot be read: {error}"))?,
            )
        }
        None => None,
    };
    let blob = match &bundle {
        Some(bundle) => bundle.member(VM_TREE).ok_or_else(|| {
            format!("the bundle has no member {VM_TREE}: build it with the tools")
        })?,
        None => platform,
    };
    let tree = Tree::new(blob).map_err(|error| format!("the VM tree cannot be read: {error}"))?;
    let tree = vm_tree::parse(&tree).map_err(|error| format!("{error}"))?;
    let reserved = machine
        .reserved
        .iter()
        .filter(|reserved| reserved.no_map)
        .map(|reserved| reserved.region);
    let coherent = machine.coherent.iter().filter_map(|node| node.reg);
    Ok(Guests {
        bundle,
        barred: reserved.chain(coherent).collect(),
        tree,
    })
}

impl Guests {
    /// Returns a file's bytes.
    pub(crate) fn file(&self, source: &Source) -> Result<&'static [u8], Missing> {
        match source {
            Source::Member(name) => {
                let found = self.bundle.as_ref().and_then(|bundle| bundle.member(name));
                found.ok_or_else(|| Missing::Member(name.clone()))
            }
            Source::Address(place) => {
                // EL2 would map it cacheable, which `no-map` forbids and coherent memory may not bear.
                let barred = self.barred.iter().any(|barred| barred.overlaps(place));
                let lent = if barred { None } else { boot::lend(*place) };
                lent.ok_or(Missing::Address(*place))
            }
        }
    }

    /// Returns the digest that the VM tree gives for a file.
    pub(crate) fn digest(&self, source: &Source) -> Option<assay_model::bundle::Digest> {
        match source {
            Source::Member(name) => self.tree.digest(name),
            Source::Address(_) => None,
        }
    }
}

impl Guests {
    /// Returns the members that add facts about the platform: `platform/*.dtbo`.
    pub(crate) fn overlays(&self) -> impl Iterator<Item = (&'static str, &'static [u8])> {
        let members = self.bundle.iter().flat_map(Bundle::members);
        members
            .filter(|member| member.name.starts_with("platform/") && member.name.ends_with(".dtbo"))
            .map(|member| (member.name, member.data))
    }
}
