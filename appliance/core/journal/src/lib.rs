//! Folding operations into points.
