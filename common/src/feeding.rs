//! Which row of a feeder an iteration gets: a pure function of its number in
//! the fleet, so that `unique` holds across agents without a word between them.

use crate::plan::{Feeder, FeederOrder, WhenExhausted};
use crate::random::{mix, permute};

/// The row for the iteration numbered `number` among all that draw from this
/// feeder; `None` when a `unique` feeder is used up.
pub fn row_of(feeder: &Feeder, feeder_seed: u64, number: u64) -> Option<usize> {
    let rows = feeder.rows.len() as u64;
    if rows == 0 {
        return None;
    }
    let (round, place) = (number / rows, number % rows);
    let row = match feeder.order {
        FeederOrder::Sequential => place,
        FeederOrder::Random => mix(feeder_seed, &[number]) % rows,
        FeederOrder::Shuffled => permute(place, rows, mix(feeder_seed, &[round, 1])),
        FeederOrder::Unique if round == 0 || feeder.when_exhausted == WhenExhausted::Recycle => place,
        FeederOrder::Unique => return None,
    };
    Some(row as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feeder(rows: usize, order: FeederOrder) -> Feeder {
        Feeder {
            name: "f".into(),
            columns: vec!["id".into()],
            rows: (0..rows).map(|row| vec![row.to_string()]).collect(),
            order,
            when_exhausted: WhenExhausted::Skip,
        }
    }

    proptest! {
        #[test]
        fn a_shuffled_round_has_every_row_once(rows in 1usize..200, round in 0u64..4, seed in any::<u64>()) {
            let feeder = feeder(rows, FeederOrder::Shuffled);
            let first = round * rows as u64;
            let mut drawn: Vec<usize> = (first..first + rows as u64).filter_map(|number| row_of(&feeder, seed, number)).collect();
            drawn.sort_unstable();
            prop_assert_eq!(drawn, (0..rows).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_unique_feeder_gives_each_row_once_and_then_none() {
        let feeder = feeder(3, FeederOrder::Unique);
        let drawn: Vec<Option<usize>> = (0..5).map(|number| row_of(&feeder, 1, number)).collect();
        assert_eq!(drawn, [Some(0), Some(1), Some(2), None, None]);
    }

    #[test]
    fn rounds_are_shuffled_differently() {
        let feeder = feeder(50, FeederOrder::Shuffled);
        let round = |round: u64| (0..50).map(|n| row_of(&feeder, 9, round * 50 + n)).collect::<Vec<_>>();
        assert_ne!(round(0), round(1));
    }
}
