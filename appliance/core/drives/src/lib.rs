//! Several drives as one: where segments lie, how many copies there are of them, and what happens when a drive is lost.
