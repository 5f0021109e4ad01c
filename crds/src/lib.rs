//! What users of Hanse write and read.
