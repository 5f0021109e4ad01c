//! Hanse seen from outside.
