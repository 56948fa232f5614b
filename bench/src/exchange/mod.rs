//! The whole exchange under the flows that the book is measured with.

pub mod workload;
