//! Segments, commits, the catalog and the key slots.
