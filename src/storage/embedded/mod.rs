//! The embedded backend: one fjall database, one committer thread.
