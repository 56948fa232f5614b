//! The exchange core.
