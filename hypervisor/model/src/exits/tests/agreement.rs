//! The fast path does what the long one does, for every syndrome that it takes; and a data abort has one answer.

use assay_spec::cpu_id::VcpuId;
use assay_spec::esr::{self, ec};
use assay_spec::exit::Exit;
use assay_spec::psci;
use assay_spec::smccc;
use assay_spec::sysreg::SysReg;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::fixture::{Vm, config};
use crate::exits::Next;
use crate::layout;
use crate::vgic::Version;

/// Function identifiers as guests have them in x0, and any other number.
pub(super) fn function() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(u64::from(psci::VERSION)),
        Just(u64::from(smccc::VERSION)),
        (0..0x60_u64).prop_map(|n| 0x8400_0000 + n),
        (0..0x60_u64).prop_map(|n| 0xc400_0000 + n),
        any::<u32>().prop_map(u64::from),
        any::<u64>(),
    ]
}

/// Syndromes of the classes that the short ways take, of the others, and nonsense.
pub(super) fn syndrome() -> impl Strategy<Value = u64> {
    let class = prop_oneof![
        Just(ec::HVC64),
        Just(ec::SMC64),
        Just(ec::SYSREG),
        Just(ec::DABT_LOWER),
        Just(ec::IABT_LOWER),
        Just(ec::WFX),
        Just(ec::FP),
        0..64_u8,
    ];
    let iss = prop_oneof![
        any::<u64>(),
        // HVC #0, and small immediates.
        0..2_u64,
        // A read of the ID space: CRm 4:1, Rt 9:5, Op2 19:17.
        (0..16_u64, 0..32_u64, 0..8_u64).prop_map(|(crm, rt, op2)| 3 << 20 | op2 << 17 | rt << 5 | crm << 1 | 1),
        // A described load or store that met a Translation fault: SAS to SF, WnR.
        (0..1024_u64, any::<bool>(), 4..8_u64)
            .prop_map(|(fields, write, status)| 1 << 24 | fields << 14 | u64::from(write) << 6 | status),
    ];
    (class, iss).prop_map(|(class, iss)| u64::from(class) << 26 | esr::IL | iss & !(0x3f << 26))
}

/// Guest addresses: devices' for the most part.
pub(super) fn address() -> impl Strategy<Value = u64> {
    let near = |base: u64, size: u64| (0..size).prop_map(move |offset| base + offset);
    prop_oneof![
        near(layout::GICD_V3.start.0, 0x1000),
        near(layout::GICD_V3.start.0 + 0x6000, 0x2000),
        near(layout::GICR.0, 0x6_0000),
        (0..0x14_u64).prop_map(|register| layout::UART.start.0 + 4 * register),
        near(layout::UART.start.0, 0x1010),
        near(layout::WATCHDOG_REFRESH.start.0, 0x10),
        near(layout::WATCHDOG_CONTROL.start.0, 0x20),
        any::<u64>(),
    ]
}

/// FAR_EL2 and HPFAR_EL2 after a fault at this guest address.
pub(super) fn fault_registers(ipa: u64) -> (u64, u64) {
    (0xffff_0000_0000_0000 | ipa, ipa >> 12 << 4)
}

/// A VM in which something is going on.
fn busy(gic: Version, function: u64) -> Vm {
    let mut vm = Vm::new(gic, 2);
    vm.enable_interrupts();
    for byte in *b"input" {
        vm.devices.lock().receive(byte);
    }
    vm.general.x[0] = function;
    vm
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V2), Just(Version::V3)]
}

/// ICC_SGI1R_EL1 (Op0 3, Op1 0, CRn 12, CRm 11, Op2 5), its neighbours, and whatever else.
fn sgi_syndrome() -> impl Strategy<Value = u64> {
    let near = (3..4_u64, 4..8_u64, 0..2_u64, 12..13_u64, 0..32_u64, 10..13_u64, 0..2_u64);
    let near = near.prop_map(|(op0, op2, op1, crn, rt, crm, read)| {
        esr::encode(ec::SYSREG, op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | rt << 5 | crm << 1 | read)
    });
    let own = (0..32_u64).prop_map(|rt| esr::encode(ec::SYSREG, 3 << 20 | 5 << 17 | 12 << 10 | rt << 5 | 11 << 1));
    prop_oneof![near, own, syndrome()]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_sgi_is_sent_by_its_own_way_as_by_the_long_one(
        gic in version(), esr in sgi_syndrome(), value in prop_oneof![any::<u64>(), 0..8_u64],
    ) {
        let (mut short, mut long) = (busy(gic, value), busy(gic, value));
        let register = esr::named_register(esr);
        short.general.set(register, value);
        long.general.set(register, value);
        if short.send_sgi(esr) {
            prop_assert_eq!(long.handle(esr::decode(esr, 0, 0)), Next::Advance);
            long.cpu.at.advance();
            prop_assert_eq!(short.frame(), long.frame());
            prop_assert_eq!(&short.cpu, &long.cpu);
            prop_assert_eq!(short.visible(), long.visible());
        } else {
            prop_assert_eq!(short.frame(), long.frame(), "left to the long way untouched");
            let is_sgi = matches!(esr::decode(esr, 0, 0), Exit::SysReg(access)
                if access.register == SysReg::ICC_SGI1R_EL1 && !access.read);
            prop_assert!(!is_sgi || gic == Version::V2);
        }
    }

    #[test]
    fn the_exits_without_a_lock_are_handled_as_the_others(
        gic in version(), esr in syndrome(), function in function(),
    ) {
        let (mut short, mut long) = (busy(gic, function), busy(gic, function));
        let before = short.frame();
        if short.fast_path(esr) {
            let next = long.handle(esr::decode(esr, 0, 0));
            match next {
                Next::Advance => long.cpu.at.advance(),
                other => prop_assert_eq!(other, Next::Resume),
            }
            prop_assert_eq!(&short.frame(), &long.frame());
            prop_assert_eq!(&short.cpu, &long.cpu);
            prop_assert_eq!(short.visible(), long.visible());
        } else {
            prop_assert_eq!(&short.frame(), &before, "left to the long way untouched");
        }
    }

    #[test]
    fn a_data_abort_is_a_devices_or_a_fault_of_the_guests(
        gic in version(), esr in syndrome(), ipa in address(), seen_from in 0..2_usize,
    ) {
        let (far, hpfar) = fault_registers(ipa);
        let mut vm = busy(gic, 0).seen_from(VcpuId(seen_from));
        let before = (vm.frame(), vm.cpu.clone());
        let exit = esr::decode(esr, far, hpfar);
        if vm.device_access((esr, far, hpfar)) {
            let Exit::DataAbort(abort) = exit else { panic!("{exit:?}") };
            prop_assert!(esr::ipa_is_valid(&abort) && !abort.table_walk);
            prop_assert_eq!(abort.ipa.0, ipa & 0x000f_ffff_ffff_ffff);
            let waits = !abort.write && !vm.cpu.kicked.is_empty() && vm.frame() == before.0;
            prop_assert!(waits || vm.cpu.at.pc == before.0.at.pc + 4);
        } else {
            prop_assert_eq!((&vm.frame(), &vm.cpu), (&before.0, &before.1));
            if esr::class(esr) == ec::DABT_LOWER {
                let Exit::DataAbort(abort) = exit else { panic!("{exit:?}") };
                let is_nothing = abort.maintenance && !abort.table_walk && esr::ipa_is_valid(&abort);
                let next = vm.handle(exit);
                let right = if is_nothing { next == Next::Advance } else { matches!(next, Next::Inject(_)) };
                prop_assert!(right, "{next:?}");
            }
        }
    }
}
