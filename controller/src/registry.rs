//! Who is in the fleet: agents by slot, and which incarnation of a slot counts.
//!
//! Pure: instants come in, decisions come out. A slot is a stable place; the
//! newest incarnation fills it, and its epoch fences the older ones out.

use squall_common::plan::Region;
use squall_common::slot;
use std::collections::BTreeMap;

/// Agents beyond this are refused: a bound on what one controller remembers.
pub const MAX_AGENTS: usize = 4_096;
/// How long a slot or a version may be.
const MAX_NAME: usize = 128;

/// One connection of one agent: no two sessions ever share a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What an agent says of itself when it joins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Introduction {
    pub region: String,
    /// Empty: the registry names one.
    pub slot: String,
    pub incarnation: String,
    pub version: String,
    pub workers: u32,
}

/// One agent, as the controller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub slot: String,
    pub region: Region,
    pub incarnation: String,
    pub version: String,
    pub workers: u32,
    pub epoch: u64,
    /// `None`: the connection is down, the agent may come back.
    pub session: Option<SessionId>,
    pub joined_ns: u64,
    pub last_heard_ns: u64,
    /// Controller's clock minus agent's clock, and its bound, once measured.
    pub clock: Option<(i64, u64)>,
    /// The run it works for.
    pub run: Option<String>,
    /// Silent for so long that its run was told.
    pub is_lost: bool,
}

impl Agent {
    /// One word for lists.
    pub fn state(&self) -> &'static str {
        match (&self.session, &self.run) {
            (None, _) => "disconnected",
            (Some(_), None) => "idle",
            (Some(_), Some(_)) => "busy",
        }
    }
}

/// An agent was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub slot: String,
    pub epoch: u64,
    /// The session it takes the slot from, which must be closed.
    pub replaces: Option<SessionId>,
    /// The very incarnation that filled the slot before: what it replaces is a session of its own.
    pub is_back: bool,
    /// The run that an older incarnation of this slot was working for, and has now left, with its epoch.
    pub bereaved_run: Option<(String, u64)>,
    /// The run this very incarnation works for.
    pub run: Option<String>,
}

impl Joined {
    /// Whether the run and epoch that its hello names are what it is still wanted for.
    pub fn carries(&self, run_id: &str, run_epoch: u64) -> bool {
        self.run.as_deref() == Some(run_id) && self.epoch == run_epoch
    }
}

/// Why an agent was not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJoined {
    #[error("slot `{slot}` is filled by incarnation `{newer}`, which is newer than `{offered}`")]
    Superseded { slot: String, newer: String, offered: String },
    #[error("{0}")]
    Invalid(String),
    #[error("this controller has its limit of {MAX_AGENTS} agents")]
    Full,
}

/// All agents.
#[derive(Debug)]
pub struct Registry {
    agents: BTreeMap<String, Agent>,
    next_epoch: u64,
    next_session: u64,
}

impl Registry {
    /// Epochs begin above `first_epoch`; give the wall clock, so that they grow over restarts.
    pub fn new(first_epoch: u64) -> Self {
        Self { agents: BTreeMap::new(), next_epoch: first_epoch.max(1), next_session: 1 }
    }

    /// Lets an agent in, or says why not. The same incarnation coming back keeps
    /// its epoch: what it has not had acknowledged yet is still its own.
    pub fn join(&mut self, hello: &Introduction, now_ns: u64) -> Result<(Joined, SessionId), NotJoined> {
        let region = Region::new(&hello.region).map_err(|invalid| NotJoined::Invalid(invalid.to_string()))?;
        let too_long = |text: &str| text.len() > MAX_NAME || text.chars().any(char::is_control);
        if hello.incarnation.is_empty() || too_long(&hello.incarnation) || too_long(&hello.version) {
            return Err(NotJoined::Invalid("the incarnation or version is empty, too long or not printable".into()));
        }
        if !hello.slot.is_empty() && !slot::is_name(&hello.slot) {
            return Err(NotJoined::Invalid(format!("slot `{}`: {}", hello.slot.escape_debug(), slot::RULE)));
        }
        let slot = if hello.slot.is_empty() { self.name_slot(&region, &hello.incarnation) } else { hello.slot.clone() };
        let before = self.agents.get(&slot);
        if before.is_none() && self.agents.len() >= MAX_AGENTS {
            return Err(NotJoined::Full);
        }
        if let Some(newer) = before.filter(|before| before.incarnation > hello.incarnation) {
            let newer = newer.incarnation.clone();
            return Err(NotJoined::Superseded { slot, newer, offered: hello.incarnation.clone() });
        }
        let replaces = before.and_then(|before| before.session);
        let same = before.filter(|before| before.incarnation == hello.incarnation);
        let (epoch, run, clock) = match same {
            Some(same) => (same.epoch, same.run.clone(), same.clock),
            None => (self.next_epoch, None, None),
        };
        let is_back = same.is_some();
        let bereaved_run =
            if same.is_some() { None } else { before.and_then(|before| Some((before.run.clone()?, before.epoch))) };
        self.next_epoch = self.next_epoch.max(epoch + 1);
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let agent = Agent {
            slot: slot.clone(),
            region,
            incarnation: hello.incarnation.clone(),
            version: hello.version.clone(),
            workers: hello.workers,
            epoch,
            session: Some(session),
            joined_ns: now_ns,
            last_heard_ns: now_ns,
            clock,
            run: run.clone(),
            is_lost: false,
        };
        self.agents.insert(slot.clone(), agent);
        Ok((Joined { slot, epoch, replaces, is_back, bereaved_run, run }, session))
    }

    /// `azure-eastus-1`: the region and the first number that is free, or the
    /// slot this very incarnation was given before.
    fn name_slot(&self, region: &Region, incarnation: &str) -> String {
        if let Some(known) = self.agents.values().find(|agent| agent.incarnation == incarnation) {
            return known.slot.clone();
        }
        let stem = region.as_str().replace('/', "-");
        (1u64..)
            .map(|number| format!("{stem}-{number}"))
            .find(|slot| !self.agents.contains_key(slot))
            .unwrap_or_else(|| format!("{stem}-{incarnation}"))
    }

    pub fn get(&self, slot: &str) -> Option<&Agent> {
        self.agents.get(slot)
    }

    /// The agent behind a session, while that session is the slot's own.
    pub fn current(&mut self, slot: &str, session: SessionId) -> Option<&mut Agent> {
        self.agents.get_mut(slot).filter(|agent| agent.session == Some(session))
    }

    /// A sign of life. `false`: the session was superseded.
    pub fn hear(&mut self, slot: &str, session: SessionId, now_ns: u64) -> bool {
        self.current(slot, session).map(|agent| agent.last_heard_ns = now_ns).is_some()
    }

    /// The connection ended. The agent stays known until [`Registry::drop_silent`].
    pub fn disconnect(&mut self, slot: &str, session: SessionId) {
        if let Some(agent) = self.current(slot, session) {
            agent.session = None;
        }
    }

    /// The agent said goodbye.
    pub fn leave(&mut self, slot: &str, session: SessionId) -> Option<Agent> {
        self.current(slot, session)?;
        self.agents.remove(slot)
    }

    /// Agents newly silent for `limit_ns`. Those without a run are forgotten; the
    /// others keep their place and epoch, since what they measured is still theirs to tell.
    pub fn drop_silent(&mut self, now_ns: u64, limit_ns: u64) -> Vec<Agent> {
        let is_silent = |agent: &Agent| now_ns.saturating_sub(agent.last_heard_ns) > limit_ns;
        let mut silent = Vec::new();
        for agent in self.agents.values_mut().filter(|agent| is_silent(agent) && !agent.is_lost) {
            silent.push(agent.clone());
            (agent.is_lost, agent.session) = (true, None);
        }
        self.agents.retain(|_, agent| !agent.is_lost || agent.run.is_some());
        silent
    }

    /// An agent that worked for a run before this controller came: it has its
    /// epoch and a place to come back to, and is as silent as if it was just heard.
    pub fn expect(&mut self, expected: Agent) {
        self.next_epoch = self.next_epoch.max(expected.epoch + 1);
        self.agents.insert(expected.slot.clone(), expected);
    }

    /// Binds agents to a run, or frees them.
    pub fn assign(&mut self, slot: &str, epoch: u64, run: Option<&str>) {
        if let Some(agent) = self.agents.get_mut(slot).filter(|agent| agent.epoch == epoch) {
            agent.run = run.map(str::to_owned);
        }
    }

    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(slot: &str, incarnation: &str) -> Introduction {
        Introduction {
            region: "azure/eastus".into(),
            slot: slot.into(),
            incarnation: incarnation.into(),
            version: "0.1.0".into(),
            workers: 2,
        }
    }

    #[test]
    fn an_agent_without_a_slot_is_given_one_after_its_region() {
        let mut registry = Registry::new(10);
        assert_eq!(registry.join(&hello("", "a"), 0).unwrap().0.slot, "azure-eastus-1");
        assert_eq!(registry.join(&hello("", "b"), 0).unwrap().0.slot, "azure-eastus-2");
        assert_eq!(registry.join(&hello("", "a"), 0).unwrap().0.slot, "azure-eastus-1", "it keeps its own");
    }

    #[test]
    fn a_newer_incarnation_takes_the_slot_and_the_older_is_fenced_out() {
        let mut registry = Registry::new(10);
        let (old, old_session) = registry.join(&hello("s", "01"), 0).unwrap();
        registry.assign("s", old.epoch, Some("run"));
        let (new, new_session) = registry.join(&hello("s", "02"), 1).unwrap();
        assert!(new.epoch > old.epoch);
        assert_eq!((new.replaces, new.bereaved_run), (Some(old_session), Some(("run".into(), old.epoch))));
        assert!(!registry.hear("s", old_session, 2) && registry.hear("s", new_session, 2));
        assert!(matches!(registry.join(&hello("s", "01"), 3), Err(NotJoined::Superseded { .. })));
        registry.assign("s", old.epoch, Some("run"));
        assert_eq!(registry.get("s").unwrap().run, None, "an old epoch binds nothing");
    }

    #[test]
    fn the_same_incarnation_coming_back_keeps_its_epoch_and_its_run() {
        let mut registry = Registry::new(10);
        let (first, session) = registry.join(&hello("s", "01"), 0).unwrap();
        registry.assign("s", first.epoch, Some("run"));
        registry.disconnect("s", session);
        assert_eq!(registry.get("s").unwrap().state(), "disconnected");
        let (again, _) = registry.join(&hello("s", "01"), 1).unwrap();
        assert!(again.is_back && !first.is_back);
        assert_eq!((again.epoch, again.bereaved_run), (first.epoch, None));
        assert_eq!(registry.get("s").unwrap().run.as_deref(), Some("run"));
    }

    #[test]
    fn silence_beyond_the_limit_is_told_once_and_forgotten_only_without_a_run() {
        let mut registry = Registry::new(1);
        registry.join(&hello("a", "01"), 0).unwrap();
        let (b, _) = registry.join(&hello("b", "01"), 0).unwrap();
        registry.assign("b", b.epoch, Some("run"));
        registry.join(&hello("c", "01"), 900).unwrap();
        let gone: Vec<String> = registry.drop_silent(1_000, 500).into_iter().map(|agent| agent.slot).collect();
        assert_eq!(gone, ["a", "b"]);
        assert!(registry.drop_silent(1_100, 500).is_empty());
        let left: Vec<&str> = registry.agents().map(|agent| agent.slot.as_str()).collect();
        assert_eq!(left, ["b", "c"]);
        let (back, _) = registry.join(&hello("b", "01"), 1_200).unwrap();
        assert_eq!((back.epoch, back.run.as_deref()), (b.epoch, Some("run")), "what it measured is still its own");
    }

    #[test]
    fn an_expected_agent_comes_back_to_its_epoch_and_newer_ones_get_higher() {
        let mut registry = Registry::new(1);
        let mut other = Registry::new(70);
        other.join(&hello("s", "01"), 0).unwrap();
        other.assign("s", 70, Some("run"));
        let mut expected = other.get("s").unwrap().clone();
        expected.session = None;
        registry.expect(expected);
        assert_eq!(registry.join(&hello("t", "01"), 1).unwrap().0.epoch, 71);
        let (back, _) = registry.join(&hello("s", "01"), 1).unwrap();
        assert_eq!((back.epoch, back.run.as_deref()), (70, Some("run")));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let mut registry = Registry::new(1);
        let bad = Introduction { region: "Not A Region".into(), ..hello("", "a") };
        let text = registry.join(&bad, 0).unwrap_err().to_string();
        assert!(text.contains("cloud/region"), "{text}");
        assert!(registry.join(&hello("", ""), 0).is_err());
        assert!(registry.join(&hello(&"x".repeat(500), "a"), 0).is_err());
    }
}
