//! Transactions: dependency graphs and their cycles.
