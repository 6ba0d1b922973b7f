//! Scanning a machine: walk, compare, read, cut, compress.
