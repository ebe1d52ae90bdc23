//! Each exit does to the guest's registers and the VM's devices what it should, and nothing can make it panic.

mod accesses;
mod agreement;
mod between;
mod calls;
mod devices;
mod faults;
mod fixture;
mod interrupts;
mod loads;
mod pci;
mod registers;
mod totality;
