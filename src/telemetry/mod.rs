//! What the process shows of itself: numbers, health and logs.

pub mod http;
pub mod logs;
pub mod metrics;

pub use metrics::Metrics;
