//! The tables themselves. A docstring here is what `docs/manifest.md` and the JSON schema say of the field.

use super::{Default, Field, Kind, Table};

/// Makes a module of the fields, and the table of them.
macro_rules! table {
    ($(#[$about:meta])* $module:ident, $path:literal, $title:literal; $($(#[doc = $meaning:literal])+ $id:ident = $field:expr;)+) => {
        $(#[$about])*
        pub mod $module {
            use super::*;

            $($(#[doc = $meaning])+ pub const $id: Field = $field;)+

            /// All of them.
            pub const TABLE: Table = Table {
                path: $path,
                title: $title,
                fields: &[$($id),+],
                properties: &[$($id.property),+],
                meanings: &[$(concat!($($meaning),+)),+],
            };
        }
    };
}

/// All tables, the manifest's own first.
pub static TABLES: [Table; 7] =
    [top::TABLE, vm::TABLE, coherent::TABLE, flash::TABLE, shared::TABLE, sharing::TABLE, virtio::TABLE];

table! {
    /// The manifest itself.
    top, "", "manifest";
    /// `"prefix"`: every guest's line begins with `[NAME] `, which with more than one VM it does anyway, and the monitor
    /// answers with keys, for scripts. `"keys"`: only that
    CONSOLE = Field::optional("console", "assay,console", Kind::Word(&["prefix", "keys"]), Default::None("absent"));
    /// files with facts about the platform that its device tree lacks, see below
    PLATFORM = Field::optional("platform", "", Kind::Texts, Default::Empty);
    /// the VMs, at least one
    VM = Field::required("vm", "", Kind::Tables("vm"));
    /// regions of RAM that several VMs see, see below
    SHARED = Field::optional("shared", "", Kind::Tables("shared"), Default::Empty);
}

table! {
    /// `[[vm]]`: one VM, a `xen,domain` node of the VM tree.
    vm, "vm", "vm";
    /// unique
    NAME = Field::required("name", "", Kind::Name { region: false });
    /// how many CPUs, or which: indices into `/cpus` in the device tree's order.
    /// Each is the VM's alone unless `sched = "shared"`
    CPUS = Field::optional("cpus", "cpus", Kind::Cpus, Default::Number(1));
    /// the VM's RAM
    MEMORY = Field::required("memory", "memory", Kind::Size);
    /// where the guest sees its RAM; clear of the devices (0x08000000 to 0x10000000) and of what else the VM claims
    MEMORY_IPA = Field::optional("memory-ipa", "assay,memory-ipa", Kind::Address, Default::None("`0x40000000`"));
    /// the guest gets memory tagging. Refused where RAM has no tags
    MTE = Field::optional("mte", "assay,mte", Kind::Flag, Default::Off);
    /// the guest gets an SBSA watchdog (`arm,sbsa-gwdt`)
    WATCHDOG = Field::optional("watchdog", "assay,watchdog", Kind::Flag, Default::Off);
    /// the guest gets performance monitors (PMUv3): all of its CPUs' counters, which do not count EL2. Refused where the
    /// CPUs or the platform tree have none
    PMU = Field::optional("pmu", "assay,pmu", Kind::Flag, Default::Off).with(&SCHED, &["dedicated"]);
    /// what happens after a crash: an SError, exception vectors that are nowhere, a watchdog that ran out.
    /// Restarts in a row wait longer and longer ([monitor.md](monitor.md#crashes-in-a-row))
    ON_CRASH = Field::optional("on-crash", "assay,on-crash", Kind::Word(&["stop", "restart"]), Default::Word("stop"));
    /// after so many restarts in a row, a crash is the end
    MAX_RESTARTS = Field::optional(
        "max-restarts", "assay,max-restarts", Kind::Number { least: 0, most: u32::MAX }, Default::None("no limit"),
    ).with(&ON_CRASH, &["restart"]);
    /// see below
    KERNEL = Field::required("kernel", "", Kind::Text);
    /// for a kernel that is neither an arm64 `Image` (plain or gzip) nor ELF: it is loaded at the start of the VM's
    /// RAM and entered at its first byte, with the device tree's address in x0
    FORMAT = Field::optional("format", "assay,format", Kind::Word(&["raw"]), Default::None("recognised"));
    /// where the file goes, in the VM's RAM or in one of its flashes
    LOAD = Field::optional("load", "assay,load", Kind::Address, Default::None("RAM's start")).with(&FORMAT, &["raw"]);
    /// where the VM starts, in the file
    ENTRY = Field::optional("entry", "assay,entry", Kind::Code, Default::None("the first byte"))
        .with(&FORMAT, &["raw"]);
    /// where the guest's device tree goes: to the start of RAM, where firmware looks for it (the file then goes 2 MiB
    /// above, unless `load` says otherwise), or to its end
    TREE = Field::optional("tree", "assay,tree", Kind::Word(&["start", "end"]), Default::None("`\"end\"`"))
        .with(&FORMAT, &["raw"]);
    /// see below
    INITRD = Field::optional("initrd", "", Kind::Text, Default::None("absent"));
    /// the guest's `bootargs`
    CMDLINE = Field::optional("cmdline", "bootargs", Kind::Text, Default::Empty);
    /// coherent accelerator memory
    COHERENT = Field::optional("coherent", "", Kind::Tables("vm.coherent"), Default::Empty);
    /// memory that is filled from a file at each start, where firmware has its flash ([firmware.md](firmware.md))
    FLASH = Field::optional("flash", "", Kind::Tables("vm.flash"), Default::Empty);
    /// its parts in regions that several VMs see
    SHARED = Field::optional("shared", "", Kind::Tables("vm.shared"), Default::Empty);
    /// virtio devices whose backends are other VMs ([virtio.md](virtio.md)); 4 at most
    VIRTIO = Field::optional("virtio", "", Kind::Tables("vm.virtio"), Default::Empty);
    /// devices that the VM gets: PCI functions, each `SEGMENT:BB:DD.F` in hexadecimal (`"0000:00:02.0"`) or the path of its
    /// node ([pci.md](pci.md)), and devices of the platform tree by path or alias
    /// ([platform-devices.md](platform-devices.md)); 8 at most, those of `[[vm.coherent]]` included
    DEVICES = Field::optional("devices", "assay,devices", Kind::Texts, Default::Empty);
    /// `unchecked-dma`: its devices of the platform tree that no SMMU checks get DMA, **to all memory of the machine, EL2's
    /// and other VMs' too**; its RAM is then at `memory-ipa` in the machine as well
    /// ([platform-devices.md](platform-devices.md#dma-without-an-smmu))
    ALLOW = Field::optional("allow", "assay,allow", Kind::Words(&["unchecked-dma"]), Default::Empty);
    /// a disk image, which QEMU gives the machine as an NVMe disk and Assay this VM: for `run` and tests only, see below
    DISK = Field::optional("disk", "", Kind::Text, Default::None("absent"));
    /// `user`: QEMU's network for users, which it gives the machine as a virtio function and Assay this VM: for `run` and
    /// tests only, see below
    NET = Field::optional("net", "", Kind::Word(&["user"]), Default::None("absent"));
    /// whether the VM shares CPUs with others, see below
    SCHED = Field::optional("sched", "assay,sched", Kind::Word(&["dedicated", "shared"]), Default::Word("dedicated"));
    /// the VM's weight against the others that share
    WEIGHT = Field::optional("weight", "assay,weight", Kind::Number { least: 1, most: 65535 }, Default::Number(100))
        .with(&SCHED, &["shared"]);
    /// in each `period`, the VM's vCPUs run so long at most, all together: at most the period for each vCPU
    BUDGET = Field::optional(
        "budget", "assay,budget-us", Kind::Duration { least: 100, most: u32::MAX }, Default::None("absent"),
    ).with(&SCHED, &["shared"]);
    /// the time that `budget` is for; both or neither
    PERIOD = Field::optional(
        "period", "assay,period-us", Kind::Duration { least: 1000, most: 10_000_000 }, Default::None("absent"),
    ).with(&SCHED, &["shared"]);
}

table! {
    /// `[[vm.coherent]]`: a claim on coherent accelerator memory, an `assay,coherent-claim` node.
    coherent, "vm.coherent", "coherent region";
    /// the region's node name without unit address, or its full path
    REGION = Field::required("region", "assay,region", Kind::Text);
    /// a NUMA memory node; a pmem region; reserved memory for a driver
    USE = Field::required("use", "assay,use", Kind::Word(&["ram", "dax", "aperture"]));
    /// relaxations of the policy
    ALLOW = Field::optional(
        "allow", "assay,allow",
        Kind::Words(&["mte-hidden", "non-cacheable", "no-tag-access", "el2-cache-maintenance"]), Default::Empty,
    );
    /// the guest may execute from it; from `ram` it may without
    EXEC = Field::optional("exec", "assay,exec", Kind::Flag, Default::Off).with(&USE, &["dax", "aperture"]);
    /// when the region is proved: once, at the boot, or at each start of the VM, after its device was reset, for memory that
    /// answers only then ([policy.md](policy.md#proof-at-the-start))
    PROOF = Field::optional("proof", "assay,proof", Kind::Word(&["at-boot", "at-start"]), Default::Word("at-boot"));
    /// where the guest sees it (with `device`: a multiple of the region's size, rounded up to a power of two); by
    /// default above the VM's RAM and devices
    IPA = Field::optional("ipa", "assay,ipa", Kind::Address, Default::None("chosen"));
    /// the PCI function that goes with it: `SEGMENT:BB:DD.F` in hexadecimal (`"0000:00:02.0"`), or the path
    /// of its node; one for each VM, beside `devices` ([pci.md](pci.md))
    DEVICE = Field::optional("device", "assay,device", Kind::Text, Default::None("absent")).with(&USE, &["aperture"]);
}

table! {
    /// `[[vm.flash]]`: memory that is filled from a file, an `assay,flash` node.
    flash, "vm.flash", "flash";
    /// unique in the VM
    NAME = Field::required("name", "assay,region", Kind::Name { region: true });
    /// where the guest sees it
    IPA = Field::required("ipa", "assay,ipa", Kind::Address);
    /// its length
    SIZE = Field::required("size", "assay,size", Kind::Size);
    /// what it is filled with at each start, from its first byte on; what is left is zeros. A relative path starts at
    /// the manifest's folder
    FILE = Field::optional("file", "", Kind::Text, Default::None("zeros"));
    /// whether the guest may write: not at all (`ro`), as RAM (`rw`), or by a flash's commands, with a size that is a
    /// multiple of 256 KiB. What it writes is kept until its next start
    ACCESS = Field::optional("access", "assay,access", Kind::Word(&["ro", "rw", "commands"]), Default::Word("ro"));
    /// the guest's device tree has it as `cfi-flash`
    CFI = Field::optional("cfi", "assay,cfi", Kind::Flag, Default::Off);
}

table! {
    /// `[[shared]]`: a region of RAM that several VMs see.
    shared, "shared", "shared region";
    /// unique
    NAME = Field::required("name", "", Kind::Name { region: true });
    /// its length
    SIZE = Field::required("size", "assay,size", Kind::Size);
}

table! {
    /// `[[vm.shared]]`: a VM's part in such a region, a `xen,domain-shared-memory-v1` node.
    sharing, "vm.shared", "shared region";
    /// the region's `name`; each VM has at most one part in a region
    REGION = Field::required("region", "xen,shm-id", Kind::Text);
    /// whether the VM may write. None may execute
    ACCESS = Field::required("access", "", Kind::Word(&["rw", "ro"]));
    /// where the guest sees it; by default placed like coherent regions, after them
    IPA = Field::optional("ipa", "", Kind::Address, Default::None("chosen"));
    /// the VM can ring the others with a doorbell for the region, and be rung
    DOORBELL = Field::optional("doorbell", "assay,doorbell", Kind::Flag, Default::Off);
}

table! {
    /// `[[vm.virtio]]`: a virtio device whose backend is another VM, an `assay,virtio` node.
    virtio, "vm.virtio", "virtio device";
    /// unique in the VM
    NAME = Field::required("name", "assay,name", Kind::Name { region: true });
    /// what it is
    TYPE = Field::required("type", "assay,type", Kind::Word(&["block", "net", "console"]));
    /// the VM that is its backend, **and sees and writes all of this VM's RAM**, which is of whole 2 MiB
    BACKEND = Field::required("backend", "assay,backend", Kind::Text);
}
