//! Whole histograms are merged: the fleet's is that of all samples.

use squall_tests::cluster::Cluster;
use squall_tests::nginx::Nginx;
use squall_tests::samples::Sample;
use squall_tests::squall::run;
use squall_tests::{hlog, machine};

#[test]
fn the_histogram_of_four_agents_is_that_of_all_samples_bucket_by_bucket() {
    let _place = machine::shared();
    let nginx = Nginx::start();
    let cluster = Cluster::with_workers(&["azure/eastus", "azure/eastus", "aws/us-west-2", "gcp/europe-west4"], 2);
    let plan = "name: merged\nurl: /\nrate: 800/s\narrivals: poisson\nhold_for: 4s\nsample_log: true\n";
    let ended = cluster.run(run(plan).target(&nginx.url())).ends();
    let (summary, samples, log) = (ended.summary(), cluster.samples(), ended.file("intervals.hlog"));
    summary.expect_whole().expect_all_ok(samples.len() as u64);
    assert_eq!(nginx.stop().len(), samples.len());

    type Time = fn(&Sample) -> Option<u64>;
    let metrics: [(&str, Time); 3] = [
        ("response_time", |sample| Some(sample.response_time_us)),
        ("service_time", |sample| sample.service_time_us),
        ("dispatch_lag", |sample| sample.dispatch_lag_us),
    ];
    for (metric, time) in metrics {
        let (merged, of_samples) = (hlog::sum_of(&log, metric), hlog::of(samples.iter().filter_map(time)));
        hlog::assert_same_buckets(&merged, &of_samples);
        for (figure, quantile) in [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)] {
            let told = summary.count(&format!("latency.{metric}.{figure}_us"));
            assert_eq!(told, of_samples.value_at_quantile(quantile), "{figure} of {metric}");
        }
        assert_eq!(summary.count(&format!("latency.{metric}.max_us")), of_samples.max());
    }
}
