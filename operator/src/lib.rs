//! All IO of Hanse.
