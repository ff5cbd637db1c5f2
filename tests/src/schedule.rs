//! What an open plan means: its instants, on one machine, without any agent.

use squall_common::plan::file::{PlanSource, load};
use squall_common::plan::{LoadId, LoadModel};
use squall_common::schedule::ArrivalSchedule;
use squall_common::split::Share;

/// The intended instants of the first load of a plan, in µs after the start.
pub fn of_plan(text: &str) -> Vec<u64> {
    let source = PlanSource { name: "plan.yaml".to_owned(), text: text.to_owned(), ..PlanSource::default() };
    let plan = load(&source).unwrap_or_else(|problems| panic!("{problems}")).plan;
    let LoadModel::Open { arrivals, phases, .. } = &plan.loads[0].model else { panic!("not an open plan") };
    let schedule = ArrivalSchedule::new(phases, *arrivals, plan.seed, LoadId(0), &Share::whole());
    schedule.map(|arrival| arrival.offset_ns / 1_000).collect()
}
