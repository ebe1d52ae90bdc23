//! The manifest's fields, in one table: name, type, range, default, and the VM tree's property.
//!
//! The tools' parser, the writer of the VM tree, its reader ([`crate::vm_tree`]), the JSON schema and the tables of
//! `docs/manifest.md` come from it. What a field means is its docstring here. Meanings stand apart from the fields, so
//! that EL2's image holds none.

mod kind;
mod tables;
#[cfg(test)]
mod tests;

pub use kind::{CPUS_MAX, Kind};
pub use tables::{TABLES, coherent, flash, shared, sharing, top, virtio, vm};

/// The VM tree's property that lists the CPUs, beside `cpus`, where the manifest does.
pub const CPU_LIST: &str = "assay,cpu-list";
/// The VM tree's property that names the bundle's member of a module.
pub const MEMBER: &str = "assay,member";
/// The VM tree's property of a part in a region whose `access` is `ro`.
pub const READ_ONLY: &str = "assay,read-only";
/// The VM tree's property of a part in a region that has an `ipa`: the address, and the size.
pub const SHARED_MEM: &str = "xen,shared-mem";

/// A field of the manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// The key in TOML.
    pub name: &'static str,
    /// The VM tree's property; empty where the tree says it in a way of its own.
    pub property: &'static str,
    /// The values.
    pub kind: Kind,
    /// What holds if it is absent.
    pub default: Default,
    /// What another field must say for this one to have a meaning.
    pub with: Option<With>,
}

/// What holds if a field is absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Default {
    /// It must be there.
    Required,
    /// Nothing is given; how that is called.
    None(&'static str),
    /// The flag is off.
    Off,
    /// The string or list without anything in it.
    Empty,
    /// This number.
    Number(u32),
    /// This word.
    Word(&'static str),
}

/// The condition that another field sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct With {
    /// The other field.
    pub field: &'static Field,
    /// One of these is its value.
    pub words: &'static [&'static str],
}

/// The fields of one kind of TOML table.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// The path in TOML; empty for the manifest itself.
    pub path: &'static str,
    /// How a message calls one, before its name: the value of the first field.
    pub title: &'static str,
    /// The fields, in the order of the documentation.
    pub fields: &'static [Field],
    /// Their properties, which is what EL2 keeps of the table.
    pub properties: &'static [&'static str],
    /// What each field means, in Markdown.
    pub meanings: &'static [&'static str],
}

impl Field {
    /// A field that must be there.
    const fn required(name: &'static str, property: &'static str, kind: Kind) -> Self {
        Self { name, property, kind, default: Default::Required, with: None }
    }

    /// A field that need not.
    const fn optional(name: &'static str, property: &'static str, kind: Kind, default: Default) -> Self {
        Self { name, property, kind, default, with: None }
    }

    /// The field, where `field` says one of `words`.
    const fn with(self, field: &'static Self, words: &'static [&'static str]) -> Self {
        Self { with: Some(With { field, words }), ..self }
    }
}

impl Table {
    /// The table at a path.
    pub fn at(path: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| table.path == path)
    }
}
