//! Cutting, naming, compressing and sealing bytes.
