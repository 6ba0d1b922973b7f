//! The copy-on-write Merkle tree of one source at one point.
