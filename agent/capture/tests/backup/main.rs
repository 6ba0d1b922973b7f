//! Backups of real directories into an appliance in memory: the point must be what the directory is.

mod changes;
mod exceptions;
mod resume;
mod scan;
mod world;
