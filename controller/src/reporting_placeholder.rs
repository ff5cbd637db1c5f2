//! PLACEHOLDER for the reports, to be deleted: a summary of counts.

use crate::frames::Frames;
use crate::report::RunRecord;
use crate::reporting::{Made, TERMINAL_SUMMARY};
use serde_json::json;

pub fn make(record: &RunRecord, frames: &mut Frames, events: &[String]) -> Made {
    let ledger = record.merge.ledger();
    let summary = json!({
        "schema": "squall.summary/1", "run_id": record.run_id, "name": record.merge.plan().name,
        "verdict": record.verdict.name(), "reasons": record.reasons, "duration_s": record.duration.as_secs_f64(),
        "coverage": {"planned": ledger.planned, "sent": ledger.sent, "completed": ledger.completed,
                     "holes": record.holes.iter().map(ToString::to_string).collect::<Vec<_>>()},
        "frames": frames.count(),
    });
    let summary_json = format!("{summary:#}");
    let text = format!("{}: {} {:?}\n", record.run_id, record.verdict.name(), record.reasons);
    let files = vec![
        ("summary.json".to_owned(), summary_json.clone().into_bytes()),
        ("events.jsonl".to_owned(), (events.join("\n") + "\n").into_bytes()),
        ("plan.yaml".to_owned(), record.resolved_yaml.clone().into_bytes()),
        (TERMINAL_SUMMARY.to_owned(), text.into_bytes()),
    ];
    Made { summary_json, files }
}
