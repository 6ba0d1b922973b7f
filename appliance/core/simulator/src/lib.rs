//! The whole storage core in one process, from one seed.
