//! What Squall decides, without a clock, a socket or a task.
//!
//! Data flows one way, and a module may use only what stands left of it:
//!
//! plan → split → schedule → request → sample → snapshot → wire → merge → report
//!
//! - [`plan`]: what runs, and how what the user typed becomes it
//! - [`split`]: plan × agents → shares; [`schedule`]: a share → intended instants
//! - [`units`], [`random`], [`dynamic`]: quantities, seeded numbers and the values made from them
//! - [`sample`]: one finished request; [`histogram`]: the one shape of all latencies
//! - [`interval`]: samples → snapshots; [`wire`]: snapshots ↔ bytes
//! - [`merge`]: snapshots → the run, and who is missing; [`ledger`]: the proof of it
//! - [`slo`], [`verdict`]: what it says, and whether it may be trusted
//! - [`allow`]: where load may go
//! - [`clock`]: another machine's clock against ours; [`random`]: seeded numbers

pub mod allow;
pub mod clock;
pub mod dynamic;
pub mod feeding;
pub mod generation;
pub mod histogram;
pub mod interval;
pub mod kept;
pub mod ledger;
pub mod merge;
pub mod mixing;
pub mod plan;
pub mod random;
pub mod run_id;
pub mod sample;
pub mod schedule;
pub mod slo;
pub mod slot;
pub mod split;
pub mod units;
pub mod verdict;
pub mod wire;
