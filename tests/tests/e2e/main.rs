//! The cluster as users run it: real processes on this machine, held against
//! what the targets counted for themselves.

mod counts;
mod examples;
mod failures;
#[cfg(target_os = "linux")]
mod full_disk;
mod histograms;
mod llama;
mod models;
mod persistence;
mod recovery;
mod regions;
mod requests;
mod results;
mod schedules;
mod stall;
mod tls;
mod tokens;
mod truth;
