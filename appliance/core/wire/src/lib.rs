//! The agent protocol, without input or output.
