//! The engine's trace against naive lots.
