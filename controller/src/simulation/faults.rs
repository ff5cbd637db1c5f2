//! What goes wrong, and when.

use super::network::Way;
use super::world::{Event, MS, SECOND, World};
use crate::fleet::Input;

/// Where order matters, being killed between two effects says more than at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Now,
    /// While it next writes.
    InWrite,
    /// While it writes down that an agent has told all.
    InLastWord,
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    BreakStream {
        slot: usize,
    },
    /// One way or both, of one slot or all.
    Cut {
        slot: Option<usize>,
        up: bool,
        down: bool,
        ns: u64,
    },
    KillController {
        down_ns: u64,
        other_machine: bool,
        /// The machine died with it: nobody is told.
        silently: bool,
        when: When,
    },
    PauseController {
        ns: u64,
    },
    KillAgent {
        slot: usize,
        down_ns: u64,
    },
    /// `replaced`: somebody starts another process for its slot meanwhile.
    PauseAgent {
        slot: usize,
        ns: u64,
        replaced: bool,
    },
    /// It is told to leave.
    Leave {
        slot: usize,
    },
    SlowDisk {
        ns: u64,
    },
    /// Writes fail, and so do all that follow until the controller starts again.
    FullDisk {
        ns: u64,
    },
    Stop {
        now: bool,
    },
    /// Whatever is cut is whole again.
    Heal,
}

/// Draws the faults of this seed.
pub fn draw(world: &mut World) {
    let load_s = world.plan.offered_for().map_or(0, |offered| offered.as_secs());
    let last = (load_s + 6) * SECOND;
    if world.settings.gentle {
        // One at a time, with time to come back from each inside a lease.
        let mut at = world.random.below(10 * SECOND);
        while at < last {
            let fault = gentle(world);
            world.at(at, Event::Fault(fault));
            at += 11 * SECOND + world.random.below(5 * SECOND);
        }
        world.settings.faults_end = last + 3 * SECOND;
    } else {
        let faults = world.random.below(7);
        for _ in 0..faults {
            // Most while there is load.
            let calm = [0, 6 * SECOND, 6 * SECOND, 6 * SECOND][world.random.below(4) as usize];
            let at = calm + world.random.below(last - calm);
            let fault = any(world);
            world.at(at, Event::Fault(fault));
        }
        let heal = last + world.random.below(20 * SECOND);
        world.at(heal, Event::Fault(Fault::Heal));
        world.settings.faults_end = heal + 3 * SECOND;
    }
}

fn slot(world: &mut World) -> usize {
    world.random.below(world.settings.agents as u64) as usize
}

fn cut(world: &mut World, longest: u64) -> Fault {
    let (up, down) = [(true, false), (false, true), (true, true)][world.random.below(3) as usize];
    let one = slot(world);
    let slot = (world.random.below(3) > 0).then_some(one);
    Fault::Cut { slot, up, down, ns: world.random.below(longest) }
}

fn gentle(world: &mut World) -> Fault {
    match world.random.below(5) {
        0 | 1 => Fault::BreakStream { slot: slot(world) },
        2 => cut(world, 2 * SECOND),
        3 => Fault::KillController {
            down_ns: world.random.below(1_500 * MS),
            other_machine: world.random.below(3) == 0,
            silently: false,
            when: [When::Now, When::InWrite, When::InLastWord][world.random.below(3) as usize],
        },
        _ => Fault::SlowDisk { ns: world.random.below(4 * SECOND) },
    }
}

fn any(world: &mut World) -> Fault {
    let slot = slot(world);
    let random = &mut world.random;
    match random.below(17) {
        0 | 1 => Fault::BreakStream { slot },
        2..=5 => cut(world, 25 * SECOND),
        6..=8 => Fault::KillController {
            down_ns: [3 * SECOND, 3 * SECOND, 20 * SECOND][random.below(3) as usize] * random.below(100) / 100,
            other_machine: random.below(3) == 0,
            silently: random.below(2) == 0,
            when: [When::Now, When::InWrite, When::InLastWord][random.below(3) as usize],
        },
        9 => Fault::PauseController { ns: random.below(15 * SECOND) },
        10 => Fault::KillAgent { slot, down_ns: random.below(20 * SECOND) },
        11 | 12 => Fault::PauseAgent { slot, ns: random.below(25 * SECOND), replaced: random.below(2) == 0 },
        13 => Fault::Leave { slot },
        14 => Fault::SlowDisk { ns: random.below(10 * SECOND) },
        15 => Fault::FullDisk { ns: random.below(10 * SECOND) },
        _ => Fault::Stop { now: random.below(2) == 0 },
    }
}

/// It happens.
pub fn strike(world: &mut World, fault: Fault) {
    world.note(|| format!("FAULT {fault:?}"));
    match fault {
        Fault::BreakStream { slot } => {
            if let Some(stream) = world.current(slot).and_then(|agent| world.agents[agent].stream()) {
                let within = if world.settings.gentle { SECOND } else { 8 * SECOND };
                world.break_stream(stream, within);
            }
        }
        Fault::Cut { slot, up, down, ns } => {
            let until = world.now + ns;
            let slots = slot.map_or(0..world.settings.agents, |slot| slot..slot + 1);
            for link in &mut world.net.links[slots] {
                for (way, _) in [(Way::Up, up), (Way::Down, down)].into_iter().filter(|(_, is_cut)| *is_cut) {
                    link.cut(way, until);
                }
            }
        }
        Fault::KillController { down_ns, other_machine, silently, when } if when != When::Now => {
            let kill = Fault::KillController { down_ns, other_machine, silently, when: When::Now };
            world.kill_in_write = Some((when, kill));
        }
        Fault::KillController { down_ns, other_machine, silently, .. } => {
            world.kill_controller(silently);
            world.after(down_ns, Event::StartController { other_machine });
        }
        Fault::PauseController { ns } => {
            let until = world.now + ns;
            if let Some(controller) = &mut world.controller {
                controller.paused_until = until;
            }
        }
        Fault::KillAgent { slot, down_ns } => {
            if let Some(agent) = world.current(slot) {
                world.kill_agent(agent);
                world.after(down_ns, Event::StartAgent(slot));
            }
        }
        Fault::PauseAgent { slot, ns, replaced } => {
            let until = world.now + ns;
            if let Some(agent) = world.current(slot) {
                world.agents[agent].paused_until = until;
                if replaced {
                    let after = world.random.below(ns + 1);
                    world.after(after, Event::StartAgent(slot));
                }
            }
        }
        Fault::Leave { slot } => {
            if let Some(agent) = world.current(slot) {
                world.begin_leaving(agent);
            }
        }
        Fault::SlowDisk { ns } => world.slow_disk_until = world.now + ns,
        Fault::FullDisk { ns } => world.full_disk_until = world.now + ns,
        Fault::Stop { now } => {
            let reason = "stopped by an operator".to_owned();
            world.tell_run(Input::StopRequested { now, reason });
        }
        Fault::Heal => {
            world.net.links.iter_mut().for_each(super::network::Link::heal);
            (world.slow_disk_until, world.full_disk_until, world.kill_in_write) = (0, 0, None);
        }
    }
}
