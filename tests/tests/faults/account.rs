//! What a run said after a fault, held against what the targets counted.

use crate::stage::{Aftermath, REGIONS, slot};
use squall_tests::summary::Summary;

/// What a fault may cost at most. Never a count that nobody names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Every request the targets answered is in the result.
    Nothing,
    /// The struck agent's requests after some second, which the result names.
    ANamedHole,
    /// The controller that held the run is gone; the operator is told so.
    TheRun,
}

/// One fault's line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    pub fault: &'static str,
    pub lasted: &'static str,
    pub served: u64,
    /// `None`: there is no result.
    pub in_result: Option<u64>,
    pub named: String,
    pub verdict: String,
    pub exit_code: i32,
}

impl Aftermath {
    /// Checks every law and says what happened.
    pub fn account(&self, fault: &'static str, lasted: &'static str, most: Cost) -> Row {
        let served = self.served.iter().map(|lines| lines.len() as u64).sum();
        let exit_code = self.ended.exit_code;
        if self.ended.stdout.is_empty() {
            assert_eq!(most, Cost::TheRun, "there is no result:\n{}", self.ended.stderr);
            assert_eq!(exit_code, 12, "{}", self.ended.stderr);
            let named = last_words(&self.ended.stderr);
            return Row { fault, lasted, served, in_result: None, named, verdict: "none".into(), exit_code };
        }
        let summary = self.ended.summary();
        summary.expect_balanced();
        let holes = holes(&summary);
        for place in 0..REGIONS.len() {
            self.expect_accounted(&summary, place, holes.iter().find(|hole| hole.slot == slot(place)));
        }
        match most {
            Cost::Nothing => assert!(holes.is_empty(), "{holes:?}"),
            Cost::ANamedHole | Cost::TheRun => {
                assert!(holes.iter().all(|hole| hole.slot == slot(crate::stage::STRUCK)), "{holes:?}");
            }
        }
        if !holes.is_empty() {
            assert_eq!((summary.text("verdict"), exit_code), ("invalid", 11), "a hole makes a result invalid");
        }
        assert!([0, 11].contains(&exit_code), "{}", self.ended.stderr);
        Row {
            fault,
            lasted,
            served,
            in_result: Some(summary.count("coverage.sent")),
            named: if holes.is_empty() { summary.texts("reasons") } else { texts(&holes) }.join("; "),
            verdict: summary.text("verdict").to_owned(),
            exit_code,
        }
    }

    /// The target's own count is the result's, and where it is not, the
    /// difference happened in the seconds that the result names.
    fn expect_accounted(&self, summary: &Summary, place: usize, hole: Option<&Hole>) {
        let agents = summary.agents();
        let slot = slot(place);
        let in_result = agents[&slot].count("ledger.sent");
        let served = self.served[place].len() as u64;
        assert!(served >= in_result, "{slot}: the result has {in_result} requests, its target only {served}");
        let missing = served - in_result;
        let Some(hole) = hole else {
            assert_eq!(missing, 0, "{slot}: {missing} requests that its target answered are nowhere, and no hole");
            return;
        };
        let in_hole = self.served[place].iter().filter(|request| request.at_s >= self.start_s() + hole.from_s).count();
        assert!(missing <= in_hole as u64, "{slot}: {missing} are missing, {in_hole} of them in the named {hole:?}");
    }

    /// The common start: when the first request of all was answered.
    fn start_s(&self) -> f64 {
        self.served.iter().flatten().map(|request| request.at_s).fold(f64::INFINITY, f64::min)
    }
}

/// Seconds of an agent that are not in the result.
#[derive(Debug)]
struct Hole {
    slot: String,
    /// A little before the first second named: requests are counted where they
    /// were sent, and the target's clock starts with the first answer.
    from_s: f64,
    text: String,
}

fn holes(summary: &Summary) -> Vec<Hole> {
    let hole = |hole: &serde_json::Value| {
        let slot = hole["agent"].as_str().expect("a hole has an agent").to_owned();
        let first = hole["first_interval"].as_u64().unwrap_or_else(|| panic!("a hole has a beginning: {hole}"));
        let reason = hole["reason"].as_str().expect("a hole has a reason");
        let text = format!("{slot} from second {first}: {reason}");
        Hole { slot, from_s: first as f64 - 0.2, text }
    };
    summary.list("coverage.holes").iter().map(hole).collect()
}

fn texts(holes: &[Hole]) -> Vec<String> {
    holes.iter().map(|hole| hole.text.clone()).collect()
}

/// The error that a command ended with, unfolded.
fn last_words(stderr: &str) -> String {
    let from = stderr.rfind("error: ").unwrap_or(0);
    stderr[from..].split_whitespace().collect::<Vec<_>>().join(" ")
}
