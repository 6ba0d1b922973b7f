//! A point as a filesystem; knows no FUSE.
