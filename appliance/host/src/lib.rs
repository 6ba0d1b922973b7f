//! Linux behind the medium: files, clock, entropy.
