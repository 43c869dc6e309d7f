//! Everything that is tested from outside, over a real port.

mod listener;
