//! Our own bug, the third kind of failure, and memory that nobody can trust any more. An epitaph in memory, then the console, then every CPU stops.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use heapless_line::Text;
use spin::Mutex;

use crate::console;

/// What went wrong, for whoever reads memory because the console said nothing: symbol `ASSAY_EPITAPH`.
static ASSAY_EPITAPH: Mutex<Text> = Mutex::new(Text::new());
static DYING: AtomicBool = AtomicBool::new(false);

/// Tells whether some CPU has panicked: the others stop when they are next in EL2.
pub(crate) fn is_dying() -> bool {
    DYING.load(Ordering::Relaxed)
}

/// Says what happened and stops the machine.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    die(format_args!("error panic cpu={} {info}", assay_el2::percpu::index()))
}

/// Stops the machine after an SError that cannot be contained: nobody knows what it has changed.
pub(crate) fn uncontainable(vm: &str) -> ! {
    let (cpu, esr) = (assay_el2::percpu::index(), assay_el2::switch::raw_syndrome());
    die(format_args!(
        "error cpu={cpu} vm={vm} reason=\"uncontainable SError while the VM ran: the hardware has failed\" esr_el2={esr:#x}"
    ))
}

fn die(words: fmt::Arguments<'_>) -> ! {
    if !DYING.swap(true, Ordering::SeqCst) {
        if let Some(mut epitaph) = ASSAY_EPITAPH.try_lock() {
            let _ = write!(epitaph, "{words}");
        }
        console::last_words(words);
        crate::cpus::kick_all();
        assay_el2::firmware::system_off();
    }
    assay_el2::cpu::park()
}

mod heapless_line {
    //! A line of fixed length that drops what does not fit.

    /// At most 256 bytes of text.
    pub(super) struct Text {
        bytes: [u8; 256],
        length: usize,
    }

    impl Text {
        pub(super) const fn new() -> Self {
            Self { bytes: [0; 256], length: 0 }
        }
    }

    impl core::fmt::Write for Text {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            for byte in text.bytes() {
                if let Some(place) = self.bytes.get_mut(self.length) {
                    *place = byte;
                    self.length += 1;
                }
            }
            Ok(())
        }
    }
}
