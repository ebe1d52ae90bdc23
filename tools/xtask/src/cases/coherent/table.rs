//! The policy's table as rows: machine, facts and choices on one side, decision and sight on the other.

use super::facts::{Facts, MARKED, UNMARKED};
use super::{BEYOND, Look, Wanted};

/// The mark on memory that has no tags.
const LIE: Facts = Facts { start: BEYOND, ..MARKED };
const UNIFORM: Facts = Facts { root: "assay,uniform-memory;", ..UNMARKED };

/// `max` with tags, a marked slice, no MTE for the VM: what the rows change.
pub(super) const BASE: Look = Look {
    name: "",
    cpu: "max",
    tags: true,
    facts: MARKED,
    use_: "ram",
    claim: "",
    mte: false,
    wanted: refused(""),
    qemu_next: false,
};
/// The same for a VM with MTE.
pub(super) const MTE: Look = Look { mte: true, ..BASE };
/// No FWB and no tags.
const N1: Look = Look { cpu: "neoverse-n1", tags: false, ..BASE };

pub(super) const fn refused(rule: &'static str) -> Wanted {
    Wanted::Refused { rule }
}

/// A VM without MTE gets it.
pub(super) const fn gets(
    attr: &'static str,
    rule: &'static str,
    proof: &'static str,
    sees: &'static str,
    exec: bool,
) -> Wanted {
    Wanted::Gets { attr, rule, proof, sees, exec, exposed: false }
}

/// A VM with MTE gets it.
pub(super) const fn exposed(
    attr: &'static str,
    rule: &'static str,
    proof: &'static str,
    sees: &'static str,
    exec: bool,
) -> Wanted {
    Wanted::Gets { attr, rule, proof, sees, exec, exposed: true }
}

const TAGGED_DATA: Wanted = exposed("normal-wb", "C1", "passed", "wb-tagged", false);
const TAGGED_CODE: Wanted = exposed("normal-wb", "C1", "passed", "wb-tagged", true);
const PLAIN_DATA: Wanted = gets("normal-wb", "C1", "passed", "wb-untagged", false);
const PLAIN_CODE: Wanted = gets("normal-wb", "C1", "passed", "wb-untagged", true);

#[rustfmt::skip]
pub(super) const ROWS: &[Look] = &[
    // C1: marked, FWB.
    Look { name: "c1-ram-with-mte", wanted: TAGGED_CODE, ..MTE },
    Look { name: "c1-ram-without-mte", wanted: PLAIN_CODE, ..BASE },
    Look { name: "c1-ram-proved-at-the-start", claim: "proof = \"at-start\"",
        wanted: exposed("normal-wb", "C1", "at-start", "wb-tagged", true), ..MTE },
    Look { name: "c1-dax-with-mte", use_: "dax", wanted: TAGGED_DATA, ..MTE },
    Look { name: "c1-dax-without-mte", use_: "dax", wanted: PLAIN_DATA, ..BASE },
    Look { name: "c1-dax-exec", use_: "dax", claim: "exec = true", wanted: TAGGED_CODE, ..MTE },
    Look { name: "c1-aperture-with-mte", use_: "aperture", wanted: TAGGED_DATA, ..MTE },
    Look { name: "c1-aperture-without-mte", use_: "aperture", wanted: PLAIN_DATA, ..BASE },
    Look { name: "c1-aperture-exec", use_: "aperture", claim: "exec = true", wanted: PLAIN_CODE, ..BASE },
    Look { name: "c1-at-an-address-of-the-manifests", claim: "ipa = 0x4000000000", wanted: TAGGED_CODE, ..MTE },
    Look { name: "c1-ram-on-neoverse-n2", cpu: "neoverse-n2", wanted: TAGGED_CODE, ..MTE },
    Look { name: "c1-ram-on-cortex-a710", cpu: "cortex-a710", wanted: TAGGED_CODE, ..MTE },
    Look { name: "c1-dax-on-neoverse-v1-without-tags", cpu: "neoverse-v1", tags: false, use_: "dax", wanted: PLAIN_DATA, ..BASE },
    Look { name: "c1-ram-on-a-machine-without-tags", tags: false, wanted: PLAIN_CODE, ..BASE },
    // C2: marked, and the proof says otherwise.
    Look { name: "c2-ram-becomes-c5", facts: LIE, wanted: refused("C5"), ..MTE },
    Look { name: "c2-dax-becomes-c5", facts: LIE, use_: "dax", wanted: refused("C5"), ..BASE },
    Look { name: "c2-aperture-becomes-c4", facts: LIE, use_: "aperture",
        wanted: exposed("device-ngnre", "C4", "failed-tags", "device", false), ..MTE },
    Look { name: "c2-ram-becomes-r1", facts: LIE, claim: "allow = [\"mte-hidden\"]",
        wanted: gets("normal-wb", "R1", "failed-tags", "wb-untagged", true), ..BASE },
    // C3: marked, no FWB.
    Look { name: "c3-ram-without-fwb", wanted: refused("C3"), ..N1 },
    Look { name: "c3-dax-without-fwb", use_: "dax", wanted: refused("C3"), ..N1 },
    Look { name: "c3-aperture-without-fwb-is-c4", use_: "aperture",
        wanted: gets("device-ngnre", "C4", "not-run", "device", false), ..N1 },
    // C4 and C5: unmarked.
    Look { name: "c4-aperture-with-mte", facts: UNMARKED, use_: "aperture",
        wanted: exposed("device-ngnre", "C4", "not-run", "device", false), ..MTE },
    Look { name: "c4-aperture-without-mte", facts: UNMARKED, use_: "aperture",
        wanted: gets("device-ngnre", "C4", "not-run", "device", false), ..BASE },
    Look { name: "c5-ram-with-mte", facts: UNMARKED, wanted: refused("C5"), ..MTE },
    Look { name: "c5-ram-without-mte", facts: UNMARKED, wanted: refused("C5"), ..BASE },
    Look { name: "c5-dax", facts: UNMARKED, use_: "dax", wanted: refused("C5"), ..BASE },
    Look { name: "c5-ram-on-a-machine-without-tags", facts: UNMARKED, tags: false, wanted: refused("C5"), ..BASE },
    Look { name: "c5-ram-said-incapable", facts: Facts { node: "arm,no-mte;", ..UNMARKED }, wanted: refused("C5"), ..BASE },
    // R1: hidden is enough.
    Look { name: "r1-ram", facts: UNMARKED, claim: "allow = [\"mte-hidden\"]",
        wanted: gets("normal-wb", "R1", "passed", "wb-untagged", true), ..BASE },
    Look { name: "r1-dax", facts: UNMARKED, use_: "dax", claim: "allow = [\"mte-hidden\"]",
        wanted: gets("normal-wb", "R1", "passed", "wb-untagged", false), ..BASE },
    Look { name: "r1-aperture", facts: UNMARKED, use_: "aperture", claim: "allow = [\"mte-hidden\"]",
        wanted: gets("normal-wb", "R1", "passed", "wb-untagged", false), ..BASE },
    Look { name: "r1-with-mte-is-refused", facts: UNMARKED, claim: "allow = [\"mte-hidden\"]", wanted: refused("R1"), ..MTE },
    // R2: non-cacheable.
    Look { name: "r2-ram-without-mte", facts: UNMARKED, claim: "allow = [\"non-cacheable\"]",
        wanted: gets("normal-nc", "R2", "passed", "nc", false), ..BASE },
    Look { name: "r2-dax-with-mte", facts: UNMARKED, use_: "dax", claim: "allow = [\"non-cacheable\"]",
        wanted: exposed("normal-nc", "R2", "passed", "nc", false), ..MTE },
    Look { name: "r2-aperture-with-mte", facts: UNMARKED, use_: "aperture", claim: "allow = [\"non-cacheable\"]",
        wanted: exposed("normal-nc", "R2", "passed", "nc", false), ..MTE },
    Look { name: "r2-never-for-ram-with-mte", facts: UNMARKED, claim: "allow = [\"non-cacheable\"]", wanted: refused("C5"), ..MTE },
    Look { name: "r2-lifts-c3", use_: "dax", claim: "allow = [\"non-cacheable\"]",
        wanted: gets("normal-nc", "R2", "passed", "nc", false), ..N1 },
    // R3: no tag access, which needs MTE_PERM.
    Look { name: "r3-without-mte-perm-is-refused", facts: UNMARKED, use_: "dax", claim: "allow = [\"no-tag-access\"]",
        wanted: refused("R3"), ..MTE },
    Look { name: "r3-never-for-ram-with-mte", facts: UNMARKED, claim: "allow = [\"no-tag-access\"]", wanted: refused("C5"), ..MTE },
    Look { name: "r3-dax-with-mte-perm", facts: UNMARKED, use_: "dax", claim: "allow = [\"no-tag-access\"]",
        wanted: exposed("normal-wb-notag", "R3", "passed", "wb-notag", false), qemu_next: true, ..MTE },
    Look { name: "r3-aperture-with-mte-perm", facts: UNMARKED, use_: "aperture", claim: "allow = [\"no-tag-access\"]",
        wanted: exposed("normal-wb-notag", "R3", "passed", "wb-notag", false), qemu_next: true, ..MTE },
    // R4: the platform's word that all is alike; the proof still decides.
    Look { name: "r4-ram-with-mte", facts: UNIFORM, wanted: exposed("normal-wb", "R4", "passed", "wb-tagged", true), ..MTE },
    Look { name: "r4-dax-without-mte", facts: UNIFORM, use_: "dax",
        wanted: gets("normal-wb", "R4", "passed", "wb-untagged", false), ..BASE },
    Look { name: "r4-not-for-what-is-said-incapable", facts: Facts { node: "arm,no-mte;", ..UNIFORM }, wanted: refused("C5"), ..MTE },
    Look { name: "r4-disproved-is-c5", facts: Facts { start: BEYOND, ..UNIFORM }, wanted: refused("C5"), ..MTE },
    // R5: EL2 cleans and invalidates.
    Look { name: "r5-ram", claim: "allow = [\"el2-cache-maintenance\"]",
        wanted: gets("normal-wb", "R5", "passed", "wb-untagged", true), ..N1 },
    Look { name: "r5-dax", use_: "dax", claim: "allow = [\"el2-cache-maintenance\"]",
        wanted: gets("normal-wb", "R5", "passed", "wb-untagged", false), ..N1 },
];
