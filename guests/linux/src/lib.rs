//! What the programs share: KTAP, memory of a NUMA node, faults that are caught, tags.
//!
//! They run as root in a ramdisk that has little else, and each tests one way in which Linux gives coherent
//! memory to programs.

pub mod fault;
pub mod ktap;
pub mod map;
pub mod tags;
