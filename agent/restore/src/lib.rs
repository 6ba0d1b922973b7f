//! Writing a point back to a filesystem, safely.
