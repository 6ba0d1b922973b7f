//! The FUSE adapter over a view.
