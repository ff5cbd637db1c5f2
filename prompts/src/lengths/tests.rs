use super::*;
use proptest::prelude::*;

const DRAWS: u64 = 100_000;

fn drawn(length: Length) -> Vec<u32> {
    let lengths = Lengths::new(&length).unwrap();
    let mut drawn: Vec<u32> = (0..DRAWS).map(|number| lengths.draw(&mut Random::at(11, &[number]))).collect();
    drawn.sort_unstable();
    drawn
}

fn mean(drawn: &[u32]) -> f64 {
    drawn.iter().map(|&n| f64::from(n)).sum::<f64>() / drawn.len() as f64
}

fn stddev(drawn: &[u32]) -> f64 {
    let mean = mean(drawn);
    (drawn.iter().map(|&n| (f64::from(n) - mean).powi(2)).sum::<f64>() / drawn.len() as f64).sqrt()
}

fn assert_near(what: &str, is: f64, wanted: f64, by: f64) {
    assert!((is / wanted - 1.0).abs() < by, "{what}: {is}, wanted {wanted}");
}

#[test]
fn the_quantile_undoes_the_distribution() {
    for step in -80..=80 {
        let z = f64::from(step) / 10.0;
        // Above 0 a part near 1 has few digits left for the distance from 1.
        let by = if z > 5.0 { 0.05 } else { 1e-6 };
        assert!((normal_quantile(normal_below(z)) - z).abs() < by, "at {z}: {}", normal_quantile(normal_below(z)));
    }
    assert!((normal_quantile(0.99) - Z99).abs() < 1e-14);
    assert!((normal_quantile(1e-20) + 9.262_340_089_798_408).abs() < 1e-9);
}

#[test]
fn a_normal_length_has_its_mean_and_spread() {
    let drawn = drawn(Length::Normal { mean: 800.0, stddev: 100.0, min: 1, max: 100_000 });
    assert_near("mean", mean(&drawn), 800.0, 0.005);
    assert_near("stddev", stddev(&drawn), 100.0, 0.01);
}

#[test]
fn a_bound_cuts_a_bell_off_and_does_not_pile_it_up() {
    let drawn = drawn(Length::Normal { mean: 100.0, stddev: 50.0, min: 100, max: 10_000 });
    let at_bound = drawn.iter().filter(|&&n| n == 100).count() as f64 / drawn.len() as f64;
    // The density at the mean, over the half that is left (and half a step below the bound).
    assert_near("share at the bound", at_bound, 2.0 * 0.3989 / 50.0, 0.1);
    assert_near("mean of a half normal", mean(&drawn), 100.0 + 50.0 * (2.0 / std::f64::consts::PI).sqrt(), 0.01);
}

#[test]
fn a_lognormal_length_has_the_percentiles_it_was_given() {
    let by = LogNormalBy::Percentiles { p50: 1_000.0, p99: 20_000.0 };
    let drawn = drawn(Length::LogNormal { by, min: 1, max: 4_000_000 });
    assert_near("p50", f64::from(drawn[drawn.len() / 2]), 1_000.0, 0.02);
    assert_near("p99", f64::from(drawn[drawn.len() * 99 / 100]), 20_000.0, 0.05);
}

#[test]
fn a_lognormal_length_has_the_moments_it_was_given() {
    let by = LogNormalBy::Moments { mean: 1_000.0, stddev: 500.0 };
    let drawn = drawn(Length::LogNormal { by, min: 1, max: 4_000_000 });
    assert_near("mean", mean(&drawn), 1_000.0, 0.01);
    assert_near("stddev", stddev(&drawn), 500.0, 0.03);
}

#[test]
fn a_histogram_is_drawn_by_its_weights() {
    let drawn = drawn(Length::Histogram(vec![(10, 1.0), (20, 0.0), (30, 3.0)]));
    let share = |tokens| drawn.iter().filter(|&&n| n == tokens).count() as f64 / DRAWS as f64;
    assert_near("10", share(10), 0.25, 0.03);
    assert_near("20", 1.0 + share(20), 1.0, 1e-9);
    assert_near("30", share(30), 0.75, 0.03);
}

#[test]
fn popularity_follows_zipf() {
    let weights = Weights::zipf(100, 1.2);
    let mut counts = vec![0.0; 100];
    for number in 0..DRAWS {
        counts[weights.draw(&mut Random::at(5, &[number]))] += 1.0;
    }
    let sum: f64 = (1..=100).map(|k| f64::from(k).powf(-1.2)).sum();
    // Pearson's statistic over 100 positions; 99 degrees of freedom, 0.1 % above 148.
    let chi_squared: f64 = (1..=100)
        .map(|k| DRAWS as f64 * f64::from(k).powf(-1.2) / sum)
        .zip(&counts)
        .map(|(wanted, is)| (is - wanted).powi(2) / wanted)
        .sum();
    assert!(chi_squared < 148.0, "{chi_squared}");
}

fn any_length() -> impl Strategy<Value = (Length, u32, u32)> {
    let bounds = (1u32..1_000, 0u32..5_000).prop_map(|(min, more)| (min, min + more));
    bounds.prop_flat_map(|(min, max)| {
        let middle = f64::from(min)..=f64::from(max);
        prop_oneof![
            Just((Length::Fixed(min), min, min)),
            Just((Length::Uniform { min, max }, min, max)),
            (middle.clone(), 0.1f64..10_000.0).prop_map(move |(mean, stddev)| (
                Length::Normal { mean, stddev, min, max },
                min,
                max
            )),
            (middle.clone(), 0.1f64..10_000.0).prop_map(move |(mean, stddev)| {
                (Length::LogNormal { by: LogNormalBy::Moments { mean, stddev }, min, max }, min, max)
            }),
            (middle, 1.01f64..100.0).prop_map(move |(p50, times)| {
                (Length::LogNormal { by: LogNormalBy::Percentiles { p50, p99: p50 * times }, min, max }, min, max)
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_draw_leaves_its_bounds((length, min, max) in any_length(), seed in any::<u64>()) {
        let lengths = Lengths::new(&length).unwrap();
        for number in 0..200 {
            let tokens = lengths.draw(&mut Random::at(seed, &[number]));
            prop_assert!((min..=max).contains(&tokens), "{tokens} of {min} to {max}");
        }
    }
}
