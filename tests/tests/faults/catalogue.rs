//! All faults: what happens, for how long, and what it may cost.

use crate::account::Cost;
use crate::stage::{REGIONS, STRUCK, Stage};
use crate::{impostors, intruders};
use rustix::process::Signal;
use squall_tests::netns::Way;
use squall_tests::wait::secs;
use std::thread::sleep;
use std::time::Duration;

/// One fault.
pub struct Fault {
    /// As a file or a filter would call it.
    pub name: &'static str,
    pub fault: &'static str,
    pub lasted: &'static str,
    /// How long the load is meant to last, from its start.
    pub run: Duration,
    pub stage: fn(Duration) -> Stage,
    pub inflict: fn(&mut Stage),
    pub most: Cost,
}

const ORDINARY: Fault = Fault {
    name: "none",
    fault: "none",
    lasted: "–",
    run: secs_const(12),
    stage: Stage::with_run_of,
    inflict: |_| (),
    most: Cost::Nothing,
};

const fn secs_const(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Shorter than the load lease, which is 10 s.
const SHORT: Duration = secs_const(4);
/// Longer than the load lease.
const LONG: Duration = secs_const(14);

pub const FAULTS: &[Fault] = &[
    ORDINARY,
    Fault {
        name: "cut_up_short",
        fault: "link cut, agent → controller",
        lasted: "4 s",
        inflict: |stage| cut(stage, &[Way::Up], SHORT),
        ..ORDINARY
    },
    Fault {
        name: "cut_down_short",
        fault: "link cut, controller → agent",
        lasted: "4 s",
        inflict: |stage| cut(stage, &[Way::Down], SHORT),
        ..ORDINARY
    },
    Fault {
        name: "cut_both_short",
        fault: "link cut, both ways",
        lasted: "4 s",
        inflict: |stage| cut(stage, &[Way::Up, Way::Down], SHORT),
        ..ORDINARY
    },
    Fault {
        name: "cut_up_long",
        fault: "link cut, agent → controller",
        lasted: "14 s",
        run: secs_const(20),
        inflict: |stage| cut(stage, &[Way::Up], LONG),
        most: Cost::ANamedHole,
        ..ORDINARY
    },
    Fault {
        name: "cut_down_long",
        fault: "link cut, controller → agent",
        lasted: "14 s",
        run: secs_const(20),
        inflict: |stage| cut(stage, &[Way::Down], LONG),
        most: Cost::ANamedHole,
        ..ORDINARY
    },
    Fault {
        name: "cut_both_long",
        fault: "link cut, both ways",
        lasted: "14 s",
        run: secs_const(20),
        inflict: |stage| cut(stage, &[Way::Up, Way::Down], LONG),
        most: Cost::ANamedHole,
        ..ORDINARY
    },
    Fault {
        name: "cut_for_good",
        fault: "link cut, both ways",
        lasted: "for good",
        inflict: |stage| stage.link().cut_both_ways(),
        most: Cost::ANamedHole,
        ..ORDINARY
    },
    Fault {
        name: "slow_link",
        fault: "link of 64 kbit/s",
        lasted: "to the end",
        inflict: |stage| {
            for way in [Way::Up, Way::Down] {
                stage.link().change(way, |conditions| conditions.rate_bits = Some(64_000));
            }
        },
        ..ORDINARY
    },
    Fault {
        name: "far_and_lossy_link",
        fault: "link of 150 ms that loses 5 % of its packets",
        lasted: "to the end",
        inflict: |stage| {
            for way in [Way::Up, Way::Down] {
                stage.link().change(way, |conditions| {
                    conditions.delay = Duration::from_millis(150);
                    conditions.loss = 0.05;
                });
            }
        },
        // A heartbeat may be lost five times in a row, which looks like a cut.
        most: Cost::ANamedHole,
        ..ORDINARY
    },
    Fault {
        name: "agent_stopped_short",
        fault: "agent stands still (SIGSTOP)",
        lasted: "2 s",
        inflict: |stage| stand_still(stage, secs(2)),
        ..ORDINARY
    },
    Fault {
        name: "agent_stopped_long",
        fault: "agent stands still (SIGSTOP)",
        lasted: "14 s",
        run: secs_const(20),
        inflict: |stage| stand_still(stage, LONG),
        most: Cost::ANamedHole,
        ..ORDINARY
    },
    Fault {
        name: "agent_killed",
        fault: "agent killed (kill -9)",
        lasted: "for good",
        inflict: |stage| stage.agents[STRUCK].process.kill(),
        most: Cost::ANamedHole,
        ..ORDINARY
    },
    Fault {
        name: "controller_stopped_short",
        fault: "controller stands still (SIGSTOP)",
        lasted: "2 s",
        inflict: |stage| stage.controller_stands_still(secs(2)),
        ..ORDINARY
    },
    Fault {
        name: "controller_killed",
        fault: "controller killed (kill -9), started again on the same store",
        lasted: "2 s",
        inflict: |stage| stage.restart_controller_after(secs(2)),
        ..ORDINARY
    },
    Fault {
        name: "etcd_leader_killed",
        fault: "leader of three etcd members killed (kill -9) under two controllers",
        lasted: "for good",
        stage: Stage::on_etcd,
        inflict: Stage::kill_etcd_leader,
        ..ORDINARY
    },
    Fault {
        name: "etcd_leader_stopped",
        fault: "leader of three etcd members stands still (SIGSTOP) under two controllers",
        lasted: "14 s",
        run: secs_const(20),
        stage: Stage::on_etcd,
        inflict: |stage| stage.etcd_leader_stands_still(LONG),
        ..ORDINARY
    },
    Fault {
        name: "wrong_ca",
        fault: "an agent and an operator with certificates of another CA, and some that trust another CA",
        lasted: "once each",
        stage: Stage::with_certificates,
        inflict: impostors::of_another_ca,
        ..ORDINARY
    },
    Fault {
        name: "expired_certificate",
        fault: "an agent and an operator come with expired certificates",
        lasted: "once each",
        stage: Stage::with_certificates,
        inflict: impostors::with_expired_certificates,
        ..ORDINARY
    },
    Fault {
        name: "wrong_role",
        fault: "an agent's certificate does what operators do, an operator's joins as an agent",
        lasted: "once each",
        stage: Stage::with_certificates,
        inflict: impostors::in_the_wrong_role,
        ..ORDINARY
    },
    Fault {
        name: "garbage_on_every_port",
        fault: "port scan and garbage on every listening port, from the hub and from a region",
        lasted: "to the end",
        inflict: intruders::send_garbage_everywhere,
        ..ORDINARY
    },
    Fault {
        name: "replayed_join",
        fault: "an agent's join recorded and replayed",
        lasted: "once",
        stage: intruders::with_recorded_join,
        inflict: intruders::replay_the_join,
        ..ORDINARY
    },
    Fault {
        name: "zombie",
        fault: "agent stands still, a newer process takes its slot, the older one wakes up",
        lasted: "3 s",
        inflict: awaken_a_zombie,
        most: Cost::ANamedHole,
        ..ORDINARY
    },
];

fn cut(stage: &mut Stage, ways: &[Way], lasting: Duration) {
    ways.iter().for_each(|way| stage.link().cut(*way));
    sleep(lasting);
    stage.link().heal();
}

fn stand_still(stage: &mut Stage, lasting: Duration) {
    stage.signal_agent(Signal::STOP);
    sleep(lasting);
    stage.signal_agent(Signal::CONT);
}

fn awaken_a_zombie(stage: &mut Stage) {
    stage.signal_agent(Signal::STOP);
    let older = &stage.agents[STRUCK];
    let urls = stage.head.urls();
    let start = || older.join_again("newer", &urls, REGIONS[STRUCK], stage.dir.path());
    let newer = stage.world.region(STRUCK).run(start);
    sleep(secs(3));
    stage.signal_agent(Signal::CONT);
    // The one that was there first leaves, and says why with its exit code.
    let mut older = std::mem::replace(&mut stage.agents[STRUCK], newer);
    assert_eq!(older.process.exit_code_within(secs(20)), 77, "{}", older.process.stderr());
}
