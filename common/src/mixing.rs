//! Which scenario an iteration runs and which target it meets: decided by its
//! number in the fleet, so that any split of the load makes the same choices.
//!
//! Low-discrepancy sequences (the R2 sequence, M. Roberts 2018: "The
//! unreasonable effectiveness of quasirandom sequences") keep every stretch of
//! iterations close to the weights, and the two choices independent of each other.

use crate::plan::{Load, Scenario, ScenarioId, TargetId};

/// 2⁶⁴ / p and 2⁶⁴ / p², p the plastic number 1.324717957….
const SCENARIO_STEP: u64 = 0xC13F_A9A9_02A6_328F;
const TARGET_STEP: u64 = 0x91E1_0DA5_C79E_7B1D;

/// The scenario of the iteration with this number.
pub fn scenario_of(load: &Load, number: u64) -> ScenarioId {
    pick(number, SCENARIO_STEP, &load.drives)
}

/// The target of the iteration with this number.
pub fn target_of(scenario: &Scenario, number: u64) -> TargetId {
    pick(number, TARGET_STEP, &scenario.targets)
}

fn pick<T: Copy>(number: u64, step: u64, weighted: &[(T, u32)]) -> T {
    if let [(only, _)] = weighted {
        return *only;
    }
    let sum: u64 = weighted.iter().map(|&(_, weight)| u64::from(weight)).sum();
    let place = (u128::from(number.wrapping_mul(step)) * u128::from(sum)) >> 64;
    let mut reach = 0u128;
    for &(choice, weight) in weighted {
        reach += u128::from(weight);
        if place < reach {
            return choice;
        }
    }
    weighted[weighted.len() - 1].0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::LoadModel;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_stretch_of_iterations_keeps_the_weights(weights in prop::collection::vec(1u32..20, 2..5), start in 0u64..1_000_000) {
            let drives: Vec<(ScenarioId, u32)> = weights.iter().enumerate().map(|(id, &weight)| (ScenarioId(id as u16), weight)).collect();
            let load = Load { name: "l".into(), drives, model: LoadModel::Closed { phases: vec![], pacing: None }, from: vec![] };
            let sum: u32 = weights.iter().sum();
            let mut counts = vec![0u32; weights.len()];
            for number in start..start + 1_000 {
                counts[scenario_of(&load, number).0 as usize] += 1;
            }
            for (count, weight) in counts.iter().zip(&weights) {
                let quota = 1_000.0 * f64::from(*weight) / f64::from(sum);
                prop_assert!((f64::from(*count) - quota).abs() < 12.0, "{count} of {quota}");
            }
        }
    }
}
