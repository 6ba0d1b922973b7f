//! The program keepfast-mount.
fn main() {}
