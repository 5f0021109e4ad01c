//! Every decision Hanse makes.
