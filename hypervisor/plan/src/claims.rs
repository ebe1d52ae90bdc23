//! From the VMs' claims of coherent and of shared memory to decisions: names looked up, places checked, the policy
//! asked.
//!
//! One pure function of the platform, the VM tree, the CPUs and the boot's proof. EL2 maps what it returns
//! and `explain` prints it, so the two cannot differ. It maps, probes and prints nothing.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use assay_spec::addr::{Ipa, Region};

use crate::platform::{CoherentNode, HostPlatform, NodeFault};
use crate::policy::regions::Occupied;
use crate::policy::{Claim, CpuBits, Decision, Denied, Fault, Notices, Proof};
use crate::refusal::Refusal;
use crate::space::{Backing, Mapping};
use crate::vm_tree::VmConfig;

mod bars;
mod coherent;
mod devices;
mod flash;
mod ground;
mod identity;
mod naming;
mod place;
mod platform;
mod prove;
mod ram;
mod shared;
#[cfg(test)]
pub(crate) mod tests;
mod trouble;
mod virtio;

pub use bars::claimed_bars;
pub use coherent::unclaimed_faults;
pub(crate) use devices::found;
pub use devices::{address as function_address, claimed_functions, found_function};
pub(crate) use platform::all as platform_devices;
pub use platform::{PlatformFault, streams as platform_streams, unchecked};
pub use prove::{ToProve, to_prove};
pub use shared::shared_by_one;
pub use trouble::{Ground, Holder, Trouble};
pub use virtio::VirtioFault;
pub(crate) use virtio::{all as all_virtio, served_by};

/// All that decisions depend on.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The platform, overlays included.
    pub machine: &'a HostPlatform,
    /// The VMs that can be tried.
    pub vms: &'a [VmConfig],
    /// What every CPU can do, as the ID registers have it: what RAM's proof takes away is taken away here.
    pub bits: CpuBits,
    /// Bits of a physical address, the minimum of all CPUs.
    pub pa_bits: u8,
    /// Memory that is in no reservation of the platform's and yet nobody's: Assay's image, the bundle.
    pub occupied: &'a [Occupied<'a>],
    /// What the boot's proof found, by the path of a coherent or a memory node.
    pub proof: &'a dyn Fn(&str) -> Proof,
}

/// Memory that a VM asks for, and what became of it: a [`Mapping`] if the policy grants it and it has a place.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// The region's name as it is printed: a node's path where two nodes have one name, `memory` for the VM's RAM.
    pub region: &'a str,
    /// The paths of the nodes that it comes from, or may come from, each once.
    pub nodes: Vec<&'a str>,
    /// Its length in bytes; `None` if its node does not say (then it is refused).
    pub size: Option<u64>,
    /// What the policy was asked.
    pub claim: Claim,
    /// Where the guest finds it; `None` if its length is not known, or if there is no place (a [`Trouble`] says so).
    pub ipa: Option<Region<Ipa>>,
    /// What the policy answered.
    pub outcome: Result<Decision, Denied<'a>>,
    /// The proof that it was told.
    pub proof: Proof,
    /// What is behind it.
    pub backing: Backing<'a>,
}

impl<'a> Row<'a> {
    /// Returns what may be mapped, if the claim is granted.
    pub fn granted(&self) -> Option<Mapping<'a>> {
        Some(Mapping {
            name: Cow::Borrowed(self.region),
            ipa: self.ipa?,
            use_: self.claim.use_,
            decision: self.outcome.ok()?,
            proof: self.proof,
            backing: self.backing.clone(),
        })
    }

    /// Returns what is to be said beside the answer.
    pub fn notices(&self) -> Notices {
        match &self.outcome {
            Ok(decision) => decision.notices,
            Err(denied) => denied.notices,
        }
    }

    /// Returns the refusal of `vm`, if the policy refuses.
    pub fn refusal(&self, vm: &str) -> Option<Refusal> {
        Some(Refusal::of_region(vm, self.region, &self.outcome.err()?))
    }
}

/// The claims of one VM.
#[derive(Debug)]
pub struct VmClaims<'a> {
    /// The VM's index in [`World::vms`].
    pub vm: usize,
    /// The VM.
    pub config: &'a VmConfig,
    /// Its RAM, the claims of regions that exist, its flashes, the regions that it
    /// shares with other VMs, and the RAM of those whose backend it is, in the manifest's order.
    pub rows: Vec<Row<'a>>,
    /// What is wrong with claims beside the policy's answer.
    pub troubles: Vec<Trouble<'a>>,
}

impl<'a> VmClaims<'a> {
    /// Tells whether the VM gets all that it claims. If not, it does not start.
    pub fn starts(&self) -> bool {
        self.troubles.is_empty() && self.rows.iter().all(|row| row.outcome.is_ok() && row.ipa.is_some())
    }

    /// Returns the address space that it gets, as far as it is granted.
    pub fn space(&self) -> Vec<Mapping<'a>> {
        self.rows.iter().filter_map(Row::granted).collect()
    }

    /// Returns all refusals.
    pub fn refusals(&self) -> Vec<Refusal> {
        let vm = &self.config.name;
        let rows = self.rows.iter().filter_map(|row| row.refusal(vm));
        rows.chain(self.troubles.iter().map(|trouble| Refusal::of(vm, trouble))).collect()
    }

    /// Gives every row but the VM's RAM its place, and says of which there is none.
    fn place(&mut self, world: &World<'a>, wanted: &[place::Wanted<'a>]) {
        let places = place::all(world, self.config, wanted);
        self.troubles.extend(place::ram(world, self.config));
        self.troubles.extend(identity::check(world, self.config));
        for (row, place) in self.rows.iter_mut().skip(1).zip(places) {
            match place {
                Ok(ipa) => row.ipa = ipa,
                Err(trouble) => self.troubles.push(trouble),
            }
        }
    }
}

/// Resolves the claims of all VMs; one element for each, in their order.
pub fn resolve<'a>(world: &World<'a>) -> Vec<VmClaims<'a>> {
    let mut regions = coherent::Regions::of(world);
    let resolve = |(vm, config): (usize, &'a VmConfig)| {
        let mut claims = VmClaims { vm, config, rows: [ram::row(world, config)].into(), troubles: Vec::new() };
        let mut wanted = regions.claim(&mut claims);
        wanted.extend(flash::claim(world, &mut claims));
        wanted.extend(shared::claim(world, &mut claims));
        wanted.extend(virtio::claim(world, &mut claims));
        claims.place(world, &wanted);
        devices::check(world, &mut claims);
        devices::check_places(world.machine, &mut claims);
        platform::check(world, &mut claims);
        claims
    };
    world.vms.iter().enumerate().map(resolve).collect()
}

/// Returns the regions without `no-map` of which something else is wrong too, and said.
pub fn without_no_map<'a>(world: &World<'a>) -> impl Iterator<Item = &'a CoherentNode> {
    let only = Some(Fault::Node(NodeFault::NoMap));
    let faults = ground::faults(world).into_iter().zip(&world.machine.coherent);
    faults.filter(move |(fault, node)| !node.no_map && *fault != only).map(|(_, node)| node)
}
