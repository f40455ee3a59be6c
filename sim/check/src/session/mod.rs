//! Sequential consistency, session guarantees, causal consistency, staleness, convergence, lost and phantom writes.
