//! Bounds on what others say, checked before it costs memory or a sum.

use super::Malformed;
use crate::generation::Tokens;
use crate::histogram::check_shape;
use crate::interval::{Flow, IntervalSnapshot, Series};
use crate::plan::Metric;
use std::borrow::Cow;
use std::io::Read;

/// Cookies of HdrHistogram's second format, with its word size: bare, and deflated as a whole.
const V2: u32 = 0x1c84_9303 | 0x10;
const V2_DEFLATE: u32 = 0x1c84_9304 | 0x10;
const HEADER: usize = 40;
/// Every bucket of the cluster's shape, each with the longest count.
const LONGEST: usize = 256 << 10;

/// More than any fleet sends in the seconds that one snapshot may span. Sums of
/// such snapshots stay far from the end of 64 bits.
const MAX_COUNTS: u64 = 1 << 40;
/// Bytes, microseconds and gauges.
const MAX_MEASURE: u64 = 1 << 50;
const MAX_WORKERS: u32 = 1 << 16;

/// A histogram's bytes, inflated, once its head is known to be the cluster's
/// shape and no longer than what follows it: the reader makes room for whatever
/// a head declares, gigabytes from a few bytes.
pub(super) fn bounded_histogram(bytes: &[u8], metric: Metric) -> Result<Cow<'_, [u8]>, Malformed> {
    let cut = || Malformed::Histogram { metric: metric.name(), reason: "it is cut short".to_owned() };
    let bare = match number(bytes, 0).ok_or_else(cut)? {
        V2_DEFLATE => Cow::Owned(inflated(bytes.get(8..).ok_or_else(cut)?, metric)?),
        _ => Cow::Borrowed(bytes),
    };
    if number(&bare, 0) != Some(V2) {
        return Err(Malformed::Histogram { metric: metric.name(), reason: "it is not in format V2".to_owned() });
    }
    let head = |at| number(&bare, at).ok_or_else(cut);
    let wide = |at| Ok::<_, Malformed>(u64::from(head(at)?) << 32 | u64::from(head(at + 4)?));
    let (payload, digits) = (head(4)?, u8::try_from(head(12)?).unwrap_or(u8::MAX));
    check_shape(wide(16)?, wide(24)?, digits).map_err(|source| Malformed::Shape { metric: metric.name(), source })?;
    if payload as usize > bare.len().saturating_sub(HEADER) {
        return Err(cut());
    }
    Ok(bare)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn inflated(bytes: &[u8], metric: Metric) -> Result<Vec<u8>, Malformed> {
    let refused = |reason: String| Malformed::Histogram { metric: metric.name(), reason };
    let mut bare = Vec::new();
    let mut reader = flate2::read::ZlibDecoder::new(bytes).take(LONGEST as u64 + 1);
    reader.read_to_end(&mut bare).map_err(|error| refused(error.to_string()))?;
    if bare.len() > LONGEST {
        return Err(refused(format!("it inflates to more than {LONGEST} bytes")));
    }
    Ok(bare)
}

/// Refuses counts that no agent can have: added up they would wrap around, and a
/// result that is wrong is worse than a snapshot that is refused.
pub(super) fn check_counts(snapshot: &IntervalSnapshot) -> Result<(), Malformed> {
    let counts = snapshot.flows.values().flat_map(counts_of_flow).chain(snapshot.series.values().flat_map(counts_of));
    within("count", sum(counts), MAX_COUNTS)?;
    let bytes =
        |series: &Series| [series.bytes_sent, series.bytes_received, series.body_bytes, series.decoded_body_bytes];
    within("byte count", sum(snapshot.series.values().flat_map(bytes)), MAX_MEASURE)?;
    within("token count", sum(snapshot.series.values().flat_map(tokens_of)), MAX_MEASURE)?;
    let health = &snapshot.health;
    within("workers", health.workers.into(), MAX_WORKERS.into())?;
    let measures = [
        ("wall_us", health.wall_us),
        ("worker_cpu_us", health.worker_cpu_us),
        ("cgroup_throttled_us", health.cgroup_throttled_us),
        ("in_flight", health.in_flight),
        ("users", health.users),
        ("connections", health.connections),
        ("connections_opened", health.connections_opened),
        ("tokens_fetched", health.tokens_fetched),
        ("tokens_failed", health.tokens_failed),
        ("token_fetch_us", health.token_fetch_us),
    ];
    measures.into_iter().try_for_each(|(field, value)| within(field, value, MAX_MEASURE))
}

fn counts_of_flow(flow: &Flow) -> impl Iterator<Item = u64> {
    let alone = [flow.planned, flow.sent, flow.cut_off, flow.iterations_started, flow.iterations_completed];
    alone.into_iter().chain(flow.skipped)
}

fn counts_of(series: &Series) -> impl Iterator<Item = u64> {
    let latencies = series.metrics().flat_map(|(_, latencies)| [latencies.histogram().len(), latencies.overflow()]);
    series.outcomes.into_iter().chain(series.statuses.values().copied()).chain(latencies)
}

fn tokens_of(series: &Series) -> impl Iterator<Item = u64> {
    let Tokens { generations, with_usage, input, output, cached, reasoning, .. } = series.tokens;
    let Tokens { chunks, stalls, good, prompts_filtered, finish, .. } = series.tokens;
    let alone = [generations, with_usage, input, output, cached, reasoning, chunks, stalls, good, prompts_filtered];
    alone.into_iter().chain(finish)
}

fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

fn within(field: &'static str, value: u64, most: u64) -> Result<(), Malformed> {
    if value > most { Err(Malformed::OutOfRange { field, value }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use crate::interval::IntervalSnapshot;
    use crate::plan::Metric;
    use crate::wire::{SnapshotWriter, read_histogram, read_snapshot};

    #[test]
    fn a_histogram_that_declares_gigabytes_is_refused_before_room_is_made() {
        let mut bytes = Vec::new();
        for number in [super::V2, u32::MAX, 0, 3] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(1u64.to_be_bytes());
        bytes.extend(crate::histogram::MAX_US.to_be_bytes());
        bytes.extend(1f64.to_be_bytes());
        let refused = read_histogram(&bytes, Metric::ResponseTime, 0, 0).unwrap_err();
        assert!(refused.to_string().contains("cut short"), "{refused}");
    }

    #[test]
    fn a_histogram_that_inflates_without_end_is_refused() {
        use std::io::Write;
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        zlib.write_all(&vec![0; 1 << 20]).unwrap();
        let mut bytes = super::V2_DEFLATE.to_be_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(zlib.finish().unwrap());
        let refused = read_histogram(&bytes, Metric::ResponseTime, 0, 0).unwrap_err();
        assert!(refused.to_string().contains("inflates to more than"), "{refused}");
    }

    #[test]
    fn counts_that_would_wrap_a_sum_around_are_refused_by_name() {
        let mut wire = SnapshotWriter::default().snapshot("run", "slot", 1, 1, &IntervalSnapshot::of(0));
        wire.flows.push(squall_proto::Flow { planned: u64::MAX, sent: 2, ..Default::default() });
        assert!(read_snapshot(&wire).unwrap_err().to_string().starts_with("count "));
        wire.flows.clear();
        wire.health = Some(squall_proto::Health { workers: u32::MAX, ..Default::default() });
        assert!(read_snapshot(&wire).unwrap_err().to_string().starts_with("workers "));
    }
}
