//! Builds the stages, starts and joins threads.
