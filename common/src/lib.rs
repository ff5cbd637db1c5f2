//! What Squall decides, without a clock, a socket or a task.
//!
//! Data flows one way, and a module may use only what stands left of it:
//!
//! plan → split → schedule → request → sample → snapshot → wire → merge → report
//!
//! - [`plan`]: what runs, and how what the user typed becomes it
//! - [`units`], [`random`], [`dynamic`]: quantities, seeded numbers and the values made from them
//! - [`sample`]: one finished request; [`histogram`]: the one shape of all latencies

pub mod dynamic;
pub mod histogram;
pub mod plan;
pub mod random;
pub mod sample;
pub mod units;
