use super::*;
use squall_common::random::Random;

const SECOND: u64 = 1_000_000_000;

fn begin(agents: usize) -> (Run, Vec<Command>) {
    begin_with(agents, OnAgentLoss::Fail, 1)
}

fn begin_with(agents: usize, on_agent_loss: OnAgentLoss, min_agents: usize) -> (Run, Vec<Command>) {
    let offered = Some(Duration::from_secs(10));
    let terms = Terms { offered, drain: Duration::from_secs(5), on_agent_loss, min_agents };
    Run::begin(0, agents, terms, Limits::default())
}

fn armed(agent: Place) -> Event {
    Event::Armed { agent, worst_rtt_ns: 1_000_000 }
}

fn finished(agent: Place, last_sequence: u64) -> Event {
    Event::Finished { agent, last_sequence, ended_by: "schedule".into() }
}

fn merged(agent: Place, sequence: u64) -> Event {
    Event::Merged { agent, sequence, last_interval: sequence as u32 - 1 }
}

fn silent(agent: Place) -> Event {
    Event::Silent { agent, reason: "silent for 10 s".into() }
}

fn gone(agent: Place) -> Event {
    Event::Gone { agent, reason: "was replaced".into() }
}

fn stop(now: bool) -> Event {
    Event::StopRequested { now, reason: "stopped by an operator".into() }
}

/// Feeds events, each at its instant; returns the commands of the last.
fn feed(mut run: Run, events: impl IntoIterator<Item = (u64, Event)>) -> (Run, Vec<Command>) {
    let mut last = Vec::new();
    for (at, event) in events {
        (run, last) = run.step(at, event);
    }
    (run, last)
}

fn outcome(commands: &[Command]) -> &Outcome {
    let found = commands.iter().find_map(|command| match command {
        Command::Conclude(outcome) => Some(outcome),
        _ => None,
    });
    found.expect("a conclusion")
}

fn running(agents: usize) -> Run {
    running_with(agents, OnAgentLoss::Fail, 1)
}

fn running_with(agents: usize, on_agent_loss: OnAgentLoss, min_agents: usize) -> Run {
    let events = (0..agents).map(|agent| (0, armed(agent))).chain([(2 * SECOND, Event::Tick)]);
    let (run, _) = feed(begin_with(agents, on_agent_loss, min_agents).0, events);
    assert_eq!(run.stage(), Stage::Started);
    run
}

#[test]
fn all_armed_means_go_at_one_instant_written_down_first() {
    let (run, commands) = begin(2);
    assert_eq!(commands[0], Command::Enter(Stage::Preparing));
    assert_eq!(commands.len(), 3);
    let (run, none) = run.step(SECOND, armed(0));
    assert!(none.is_empty());
    let (_, go) = run.step(SECOND, armed(1));
    let at = |agent| Command::Go { agent, start_at_ns: 3 * SECOND };
    assert_eq!(go, [Command::Enter(Stage::Armed), at(0), at(1)]);
}

#[test]
fn a_long_round_trip_puts_the_start_off() {
    let (run, _) = begin(1);
    let (run, _) = run.step(0, Event::Armed { agent: 0, worst_rtt_ns: SECOND });
    assert_eq!(run.start_at_ns(), Some(4 * SECOND));
}

#[test]
fn a_whole_run_ends_with_nothing_missing() {
    let run = running(1);
    let (run, _) = feed(run, [(3 * SECOND, merged(0, 1)), (12 * SECOND, Event::Tick)]);
    assert_eq!(run.stage(), Stage::Draining);
    let (run, commands) = feed(run, [(12 * SECOND, finished(0, 2)), (12 * SECOND, merged(0, 2))]);
    assert_eq!(run.stage(), Stage::Concluding);
    assert_eq!(*outcome(&commands), Outcome { start_at_ns: Some(2 * SECOND), ..Outcome::default() });
    assert_eq!(run.step(13 * SECOND, Event::Concluded).0.stage(), Stage::Done);
}

#[test]
fn finished_waits_for_the_snapshots_it_speaks_of() {
    let (run, commands) = feed(running(1), [(3 * SECOND, merged(0, 1)), (12 * SECOND, finished(0, 3))]);
    assert_eq!((run.stage(), commands.iter().any(|c| matches!(c, Command::Conclude(_)))), (Stage::Draining, false));
    let (_, commands) = feed(run, [(40 * SECOND, Event::Tick)]);
    let missing = &outcome(&commands).missing;
    assert_eq!((missing[0].first_interval, missing[0].reason.as_str()), (1, "2 of its 3 snapshots never came"));
}

#[test]
fn a_refusal_ends_the_run_before_it_starts() {
    let (run, _) = feed(begin(2).0, [(0, armed(0))]);
    let (run, commands) = run.step(0, Event::NotArmed { agent: 1, reason: "secret AOAI_KEY is not set".into() });
    assert_eq!(run.stage(), Stage::Concluding);
    let outcome = outcome(&commands);
    assert_eq!(outcome.start_at_ns, None);
    let aborted = outcome.aborted.as_deref().unwrap_or("");
    assert!(aborted.contains("agent #1") && aborted.contains("AOAI_KEY"), "{aborted}");
    assert!(commands.contains(&Command::Stop { agent: 0, now: true, reason: "the run does not start".into() }));
    assert!(!commands.iter().any(|command| matches!(command, Command::Stop { agent: 1, .. })));
}

#[test]
fn an_agent_that_never_arms_is_named_with_its_deadline() {
    let (run, _) = feed(begin(2).0, [(0, armed(0)), (29 * SECOND, Event::Tick)]);
    assert_eq!(run.stage(), Stage::Preparing);
    let (_, commands) = run.step(30 * SECOND, Event::Tick);
    let aborted = outcome(&commands).aborted.clone().unwrap_or_default();
    assert!(aborted.contains("agent #1: did not arm within 30 s"), "{aborted}");
}

#[test]
fn a_lost_agent_stops_the_others_and_leaves_a_hole() {
    let (run, commands) = feed(running(2), [(5 * SECOND, merged(1, 3)), (7 * SECOND, silent(1))]);
    assert!(commands.iter().any(|command| matches!(command, Command::Stop { agent: 0, now: false, .. })));
    assert!(!commands.iter().any(|command| matches!(command, Command::Stop { agent: 1, .. })));
    let ended = Event::Finished { agent: 0, last_sequence: 0, ended_by: "stopped".into() };
    let (_, commands) = run.step(8 * SECOND, ended);
    let outcome = outcome(&commands);
    let missing = Missing {
        agent: 1,
        first_interval: 3,
        last_interval: None,
        reason: "silent for 10 s".into(),
        noticed_ns: 7 * SECOND,
    };
    assert_eq!(outcome.missing, [missing]);
    assert!(outcome.aborted.is_none() && outcome.stopped_early);
}

#[test]
fn load_that_ends_by_its_lease_is_a_hole() {
    let ended = Event::Finished { agent: 0, last_sequence: 0, ended_by: "lease".into() };
    let (_, commands) = running(1).step(5 * SECOND, ended);
    assert!(outcome(&commands).missing[0].reason.contains("lease"));
}

#[test]
fn the_first_stop_drains_and_the_second_does_not_wait() {
    let (run, first) = running(1).step(4 * SECOND, stop(false));
    assert!(matches!(first[1], Command::Stop { now: false, .. }), "{first:?}");
    let (run, second) = run.step(5 * SECOND, stop(false));
    assert!(matches!(second[0], Command::Stop { now: true, .. }), "{second:?}");
    let (run, third) = run.step(6 * SECOND, stop(true));
    assert!(third.is_empty());
    let (_, commands) = run.step(10 * SECOND, Event::Tick);
    assert_eq!(outcome(&commands).aborted.as_deref(), Some("stopped by an operator"));
}

#[test]
fn a_stop_before_the_start_starts_nothing() {
    let (_, commands) = begin(1).0.step(0, stop(false));
    assert_eq!(outcome(&commands).start_at_ns, None);
    assert!(!commands.iter().any(|command| matches!(command, Command::Go { .. })));
}

#[test]
fn a_silent_agent_that_comes_back_in_time_leaves_nothing_missing() {
    let run = running_with(2, OnAgentLoss::Continue, 1);
    let (run, commands) = feed(run, [(5 * SECOND, silent(1)), (6 * SECOND, Event::Back { agent: 1, carries: true })]);
    assert_eq!(commands, [Command::Go { agent: 1, start_at_ns: 2 * SECOND }], "said again, in case it was not heard");
    let events = [(12 * SECOND, finished(0, 0)), (12 * SECOND, finished(1, 2)), (12 * SECOND, merged(1, 2))];
    let (_, commands) = feed(run, events);
    assert!(outcome(&commands).missing.is_empty());
}

#[test]
fn a_plan_that_continues_goes_on_until_too_few_are_left() {
    let run = running_with(3, OnAgentLoss::Continue, 2);
    let (run, commands) = run.step(5 * SECOND, silent(0));
    assert!(commands.is_empty() && run.stage() == Stage::Started, "{commands:?}");
    let (run, commands) = run.step(6 * SECOND, gone(1));
    assert!(commands.iter().any(|command| matches!(command, Command::Stop { agent: 2, now: false, .. })));
    let (_, commands) = run.step(7 * SECOND, finished(2, 0));
    let outcome = outcome(&commands);
    assert_eq!((outcome.missing.len(), outcome.losses_accepted), (2, false));
}

#[test]
fn a_share_is_taken_over_only_when_the_lost_agent_surely_sends_no_more() {
    let run = running_with(3, OnAgentLoss::Redistribute, 1);
    let (run, commands) = run.step(5 * SECOND, silent(0));
    let margin = 2 * SECOND;
    assert_eq!(commands, [Command::TakeOver { lost: 0, not_before_ns: 5 * SECOND + margin }], "its lease is over");
    let (run, _) = run.step(5 * SECOND, Event::TakenOver { lost: 0, from_ns: 6 * SECOND });
    let (run, commands) = run.step(6 * SECOND, gone(1));
    assert!(
        !commands.iter().any(|command| matches!(command, Command::TakeOver { .. })),
        "the load ends before its lease may"
    );
    let (_, commands) = run.step(13 * SECOND, finished(2, 0));
    let missing = &outcome(&commands).missing;
    assert_eq!((missing[0].last_interval, missing[1].last_interval), (Some(6), None));
}

#[test]
fn what_continues_to_the_end_has_its_losses_accepted() {
    let run = running_with(2, OnAgentLoss::Continue, 1);
    let (_, commands) = feed(run, [(5 * SECOND, silent(0)), (12 * SECOND, finished(1, 0))]);
    let outcome = outcome(&commands);
    assert!(outcome.losses_accepted && !outcome.stopped_early && outcome.missing[0].noticed_ns == 5 * SECOND);
}

#[test]
fn an_agent_that_lost_its_share_before_the_start_prepares_again() {
    let (run, _) = feed(begin(2).0, [(0, armed(0))]);
    let (run, commands) = run.step(SECOND, Event::Back { agent: 0, carries: false });
    assert_eq!(commands, [Command::Prepare { agent: 0 }]);
    let (run, commands) = run.step(SECOND, armed(1));
    assert!(commands.is_empty() && run.stage() == Stage::Preparing, "it is not armed any more");
    assert_eq!(run.step(2 * SECOND, armed(0)).0.stage(), Stage::Armed);
}

#[test]
fn another_controller_gives_the_agents_time_to_come_back() {
    let (run, _) = feed(running(1), [(12 * SECOND, Event::Tick)]);
    // 1 s on the old clock is 101 s on the new; it comes long after the old deadline.
    let run = run.resume(200 * SECOND, 100 * SECOND as i64, Duration::from_secs(15));
    assert_eq!(run.start_at_ns(), Some(102 * SECOND));
    let (run, commands) = run.step(201 * SECOND, Event::Tick);
    assert!(commands.is_empty() && run.is_awaited(0), "{commands:?}");
    let (_, commands) = run.step(215 * SECOND, Event::Tick);
    assert_eq!(outcome(&commands).missing[0].reason, "did not finish in time");
}

#[test]
fn a_controller_that_comes_before_the_result_is_stored_knows_how_the_run_ended() {
    let (run, commands) = feed(running(2), [(5 * SECOND, silent(1)), (6 * SECOND, finished(0, 0))]);
    let run = serde_json::from_slice::<Run>(&serde_json::to_vec(&run).unwrap()).unwrap();
    let run = run.resume(7 * SECOND, 0, Duration::from_secs(15));
    assert_eq!(run.outcome().as_ref(), Some(outcome(&commands)));
    assert_eq!(running(1).outcome(), None);
}

/// Whatever comes in whatever order, a run ends once, and nobody who is gone is spoken to.
#[test]
fn every_run_ends_once_and_no_command_goes_to_a_gone_agent() {
    for seed in 0..2_000u64 {
        let mut random = Random::at(seed, &[]);
        let agents = 1 + random.below(4) as usize;
        let offered = (random.below(4) > 0).then_some(Duration::from_secs(random.below(20)));
        let on_agent_loss =
            [OnAgentLoss::Fail, OnAgentLoss::Continue, OnAgentLoss::Redistribute][random.below(3) as usize];
        let min_agents = 1 + random.below(3) as usize;
        let (mut run, mut commands) = Run::begin(
            0,
            agents,
            Terms { offered, drain: Duration::from_secs(random.below(10)), on_agent_loss, min_agents },
            Limits::default(),
        );
        let (mut now, mut dismissed, mut ends) = (0, vec![false; agents], 0);
        for step in 0..200 {
            for command in &commands {
                match command {
                    Command::Dismiss { agent } => dismissed[*agent] = true,
                    Command::Prepare { agent } | Command::Go { agent, .. } | Command::Stop { agent, .. } => {
                        assert!(!dismissed[*agent], "seed {seed}: {command:?} to a gone agent");
                    }
                    Command::Conclude(outcome) => {
                        ends += 1;
                        let whole = outcome.aborted.is_none() && outcome.missing.is_empty();
                        assert!(!whole || outcome.start_at_ns.is_some(), "seed {seed}: whole without a start");
                        assert!(!whole || !outcome.stopped_early, "seed {seed}: stopped without a reason");
                    }
                    Command::TakeOver { lost, .. } => assert!(*lost < agents, "seed {seed}"),
                    Command::Enter(_) => {}
                }
            }
            now += random.below(3 * SECOND);
            let agent = random.below(agents as u64) as usize;
            let event = match random.below(if step < 20 { 6 } else { 13 }) {
                0..=2 => armed(agent),
                3 => Event::Tick,
                4 => merged(agent, 1 + random.below(10)),
                5 | 6 => finished(agent, random.below(10)),
                7 => [silent(agent), gone(agent)][random.below(2) as usize].clone(),
                8 => stop(random.below(2) == 0),
                9 => Event::NotArmed { agent, reason: "no".into() },
                12 => Event::Back { agent, carries: random.below(3) > 0 },
                10 => Event::Finished { agent, last_sequence: 1, ended_by: "lease".into() },
                _ => Event::Concluded,
            };
            (run, commands) = run.step(now, event);
        }
        // Time alone ends what has an end; an operator ends the rest.
        for event in [stop(false), Event::Tick, Event::Tick] {
            // Another controller takes over, whenever.
            run = serde_json::from_slice::<Run>(&serde_json::to_vec(&run).unwrap()).unwrap();
            run = run.resume(now, 0, Duration::from_secs(15));
            ends += commands.iter().filter(|command| matches!(command, Command::Conclude(_))).count();
            now += 100 * SECOND;
            (run, commands) = run.step(now, event);
        }
        ends += commands.iter().filter(|command| matches!(command, Command::Conclude(_))).count();
        assert!(run.stage() >= Stage::Concluding, "seed {seed}: still {:?}", run.stage());
        assert_eq!(ends, 1, "seed {seed}");
    }
}
