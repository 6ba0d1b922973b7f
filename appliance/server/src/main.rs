//! The program keepfast.
fn main() {}
