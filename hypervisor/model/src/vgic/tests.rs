//! Tests of the interrupt controller: its registers, its rules one by one, and random sequences
//! against an independent model.

mod at;
mod fake;
mod linked;
mod random;
mod reference;
mod registers;
mod remote;
mod rules;
mod shared;
