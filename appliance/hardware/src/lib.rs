//! The machine that the appliance runs on: its disks, what is on them, and how one becomes a drive.
