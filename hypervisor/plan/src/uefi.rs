//! What is decided where UEFI firmware starts the image: what of its memory is free afterwards, what the tree says
//! that the ordinary entry gets, and where files lie. No heap is there yet.

mod arguments;
mod handover;
mod map;
mod path;
#[cfg(test)]
mod tests;

pub use arguments::Arguments;
pub use handover::{Handover, HandoverError};
pub use map::MemoryMap;
pub use path::beside;
