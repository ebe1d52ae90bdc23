//! The same program under another hypervisor of the same QEMU, to compare with.

use anyhow::{Context as _, Result};
use assay_harness::cache::Cache;
use assay_harness::qemu::Gic;
use assay_harness::{Machine, image, programs};
use clap::ValueEnum;

use super::{Figures, programs as measured};
use crate::setup::{self, Extra};

/// A hypervisor beside which Assay is measured.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub(super) enum Peer {
    /// Debian's Xen 4.20, with the program as its dom0
    Xen,
}

impl Peer {
    /// What its column is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Xen => "Xen",
        }
    }

    /// Measures what the program's exits cost under it, on GICv3. (Xen gives a dom0 on GICv2 an abort for a store to
    /// GICD_CPENDSGIRn, with which the program begins.)
    ///
    /// # Errors
    /// It can't be fetched, or the program doesn't get through.
    pub(super) fn measure(self) -> Result<Figures> {
        let Self::Xen = self;
        setup::fetch(Extra::Xen)?;
        super::with_folder("xen", |folder| {
            let program = folder.join("bench.img");
            std::fs::write(&program, image::flatten(&std::fs::read(programs::path("bench")?)?)?)?;
            let mut figures = Figures::new();
            for cpus in [1, 2] {
                figures.extend(under_xen(&program, cpus).with_context(|| format!("Xen with {cpus} CPUs"))?);
            }
            Ok(figures.into_iter().filter(|(name, _)| is_its(name)).collect())
        })
    }
}

/// The program as dom0: it has the machine's interrupt controller and timers as Xen has them for a domain, and a vCPU on each
/// CPU. Xen keeps no console, so the UART is dom0's, and does not wait for other timers before it serves one.
fn under_xen(program: &std::path::Path, cpus: u32) -> Result<Figures> {
    let xen = Cache::locate()?.xen();
    let words = format!("console=none timer_slop=0 dom0_mem=256M dom0_max_vcpus={cpus} dom0_vcpus_pin");
    let guest = format!("guest-loader,addr=0x49000000,kernel={},bootargs=xen", program.display());
    let kernel = xen.display().to_string();
    let arguments = ["-M", "virtualization=on", "-kernel", &kernel, "-append", &words, "-device", &guest];
    let builder = Machine::builder().bare("xen").gic(Gic::V3).physical_cpus(cpus).physical_memory(1 << 30);
    Ok(measured::run(builder.arguments(arguments), "xen")?.0)
}

/// Whether a figure is the hypervisor's: the UART is the machine's own there, and the time to the program that of dom0's loading.
fn is_its(name: &str) -> bool {
    !["console_", "mmio_uart_", "reset_"].iter().any(|other| name.starts_with(other))
}

#[cfg(test)]
mod tests {
    use super::is_its;

    #[test]
    fn what_the_machine_answers_itself_is_no_figure_of_the_peer() {
        assert!(is_its("sgi_self") && is_its("mmio_gicd_typer_read"));
        assert!(!is_its("mmio_uart_status_read") && !is_its("console_character") && !is_its("reset_to_guest_entry"));
    }
}
