//! A federation of three clusters on this machine.

fn main() {}
