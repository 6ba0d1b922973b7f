//! Tests of caches: made, reopened, damaged, lost.
