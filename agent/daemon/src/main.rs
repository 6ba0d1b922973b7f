//! The program keepfast-agent.
fn main() {}
