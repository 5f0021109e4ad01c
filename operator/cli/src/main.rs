//! The kubectl plugin of Hanse.

fn main() {}
