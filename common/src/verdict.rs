//! May this result be trusted, and what does it say?

use crate::slo::Judgement;

/// The four ends of a run, worst last: a worse one hides no better one, it replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Passed,
    /// An SLO does not hold.
    Failed,
    /// The figures can't be trusted: incomplete, unbalanced, or the generator was the limit.
    Invalid,
    /// Ended before its time by an operator, or never begun.
    Aborted,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Aborted => "aborted",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Passed, Self::Failed, Self::Invalid, Self::Aborted].into_iter().find(|verdict| verdict.name() == name)
    }

    /// The documented exit code of the CLI.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 10,
            Self::Invalid => 11,
            Self::Aborted => 12,
        }
    }
}

/// A stretch of one agent's time that is not in the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Hole {
    pub agent: String,
    pub region: String,
    pub first_interval: u32,
    /// `None`: to the end of the run.
    pub last_interval: Option<u32>,
    pub reason: String,
    /// When the controller noticed, in seconds from the common start.
    pub noticed_s: Option<f64>,
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "agent `{}` ({}), from second {}", self.agent, self.region, self.first_interval)?;
        match self.last_interval {
            Some(last) => write!(f, " to {last}")?,
            None => write!(f, " to the end")?,
        }
        write!(f, ": {}", self.reason)
    }
}

/// Everything a verdict rests on.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Why an operator or the start ended the run.
    pub aborted: Option<String>,
    pub holes: Vec<Hole>,
    /// The plan lets a run go on without agents it loses: then a hole is told, and SLOs
    /// must hold with and without its seconds, but it does not make the result invalid.
    pub holes_accepted: bool,
    /// Laws of the ledger that do not hold, each naming agent and interval.
    pub imbalances: Vec<String>,
    /// Why the generator was the limit, and when.
    pub generator_limited: Vec<String>,
    pub judgements: Vec<Judgement>,
}

impl Evidence {
    /// The verdict, and every reason that led to it or to a worse one.
    pub fn verdict(&self) -> (Verdict, Vec<String>) {
        let mut reasons = Vec::new();
        let mut verdict = Verdict::Passed;
        let mut find = |found: Verdict, reason: String| {
            verdict = verdict.max(found);
            reasons.push(reason);
        };
        for judgement in self.judgements.iter().filter(|judgement| !judgement.holds()) {
            let why = match judgement {
                Judgement { passed: true, .. } => "does not hold without the seconds in which an agent was missing:",
                Judgement { value: None, .. } => "nothing was measured for",
                _ => "does not hold:",
            };
            find(Verdict::Failed, format!("SLO {why} {}", judgement.text));
        }
        self.generator_limited.iter().for_each(|why| find(Verdict::Invalid, format!("generator limited: {why}")));
        self.imbalances.iter().for_each(|law| find(Verdict::Invalid, format!("the ledger does not balance: {law}")));
        if self.holes_accepted {
            self.holes.iter().for_each(|hole| find(Verdict::Passed, format!("goes on without: {hole}")));
        } else {
            self.holes.iter().for_each(|hole| find(Verdict::Invalid, format!("incomplete: {hole}")));
        }
        if let Some(why) = &self.aborted {
            find(Verdict::Aborted, why.clone());
        }
        (verdict, reasons)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::Apart;

    fn failed_slo() -> Judgement {
        Judgement { text: "error_rate < 1%".into(), value: Some(0.5), limit: 0.01, passed: false, apart: None }
    }

    #[test]
    fn a_hole_outweighs_a_failed_slo_and_both_are_told() {
        let hole = Hole {
            agent: "a".into(),
            region: "azure/eastus".into(),
            first_interval: 4,
            last_interval: None,
            reason: "lost".into(),
            noticed_s: None,
        };
        let evidence = Evidence { holes: vec![hole], judgements: vec![failed_slo()], ..Evidence::default() };
        let (verdict, reasons) = evidence.verdict();
        assert_eq!(verdict, Verdict::Invalid);
        assert_eq!(verdict.exit_code(), 11);
        assert_eq!(reasons.len(), 2);
        assert!(reasons[1].contains("agent `a` (azure/eastus), from second 4 to the end: lost"));
    }

    #[test]
    fn an_accepted_hole_is_told_and_slos_must_hold_without_its_seconds_too() {
        let hole = Hole {
            agent: "a".into(),
            region: "azure/eastus".into(),
            first_interval: 4,
            last_interval: None,
            reason: "lost".into(),
            noticed_s: Some(14.0),
        };
        let held = |apart| Judgement { passed: true, value: Some(0.0), apart, ..failed_slo() };
        let judge = |judgement| {
            let holes = vec![hole.clone()];
            Evidence { holes, holes_accepted: true, judgements: vec![judgement], ..Evidence::default() }.verdict()
        };
        let (verdict, reasons) = judge(held(Some(Apart { value: Some(0.0), passed: true })));
        assert_eq!((verdict, reasons.len()), (Verdict::Passed, 1));
        let (verdict, reasons) = judge(held(Some(Apart { value: Some(0.5), passed: false })));
        assert_eq!(verdict, Verdict::Failed);
        assert!(reasons[0].contains("without the seconds"), "{reasons:?}");
    }

    #[test]
    fn nothing_wrong_is_passed() {
        assert_eq!(Evidence::default().verdict(), (Verdict::Passed, vec![]));
    }
}
