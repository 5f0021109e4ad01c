//! The Hanse operator.

fn main() {}
