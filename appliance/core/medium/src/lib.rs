//! The only door out of the storage core: disk, clock, entropy; and a simulated world.
