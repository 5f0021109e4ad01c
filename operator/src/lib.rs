//! All IO of Hanse, in modules in the order in which data flows. `run` wires them on one page; nothing here decides.

pub mod identity;
pub mod peer;
