//! Streams between agents and the controller. Each keeps its order, as TCP
//! does; streams overtake each other, stand still while a link is cut, and lose
//! everything under way when they break.

use squall_common::random::Random;
use squall_proto::{agent_message, controller_message};
use std::collections::VecDeque;

pub type StreamId = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

#[derive(Clone, Debug)]
pub enum Packet {
    Up(Box<agent_message::Message>),
    Down(Box<controller_message::Message>),
    /// The sender closed the stream.
    End,
}

#[derive(Default)]
struct Pipe {
    queue: VecDeque<Packet>,
    /// When the last packet is due: none overtakes it.
    last_ns: u64,
    is_closed: bool,
}

pub struct Stream {
    /// The process that dialled.
    pub agent: usize,
    /// The controller process behind it.
    pub generation: u64,
    pub slot: usize,
    pipes: [Pipe; 2],
}

/// The way between one slot and the controller.
#[derive(Clone, Copy, Default)]
pub struct Link {
    /// Until when each way is cut.
    cut_until: [u64; 2],
    delay_ns: u64,
    jitter_ns: u64,
}

impl Link {
    pub fn new(delay_ns: u64, jitter_ns: u64) -> Self {
        Self { delay_ns, jitter_ns, ..Self::default() }
    }

    pub fn cut(&mut self, way: Way, until_ns: u64) {
        self.cut_until[way as usize] = self.cut_until[way as usize].max(until_ns);
    }

    pub fn cut_until(&self, way: Way) -> u64 {
        self.cut_until[way as usize]
    }

    pub fn heal(&mut self) {
        self.cut_until = [0; 2];
    }
}

pub struct Network {
    pub streams: Vec<Stream>,
    pub links: Vec<Link>,
    /// One packet in so many is delivered twice; 0: none.
    pub duplicates: u64,
}

impl Network {
    pub fn open(&mut self, agent: usize, slot: usize, generation: u64) -> StreamId {
        self.streams.push(Stream { agent, generation, slot, pipes: [Pipe::default(), Pipe::default()] });
        self.streams.len() - 1
    }

    /// Queues a packet; when it arrives if nothing holds it up, once or twice.
    pub fn send(&mut self, now: u64, stream: StreamId, way: Way, packet: Packet, random: &mut Random) -> Vec<u64> {
        let link = self.links[self.streams[stream].slot];
        let pipe = &mut self.streams[stream].pipes[way as usize];
        if pipe.is_closed {
            return Vec::new();
        }
        pipe.is_closed = matches!(packet, Packet::End);
        let twice = self.duplicates > 0 && may_come_twice(&packet) && random.below(self.duplicates) == 0;
        let mut arrivals = Vec::new();
        for _ in 0..1 + usize::from(twice) {
            let at = now + link.delay_ns + random.below(link.jitter_ns + 1);
            pipe.last_ns = pipe.last_ns.max(at);
            pipe.queue.push_back(packet.clone());
            arrivals.push(pipe.last_ns);
        }
        arrivals
    }

    /// Takes the next packet; `None`: it was lost.
    pub fn take(&mut self, stream: StreamId, way: Way) -> Option<Packet> {
        self.streams[stream].pipes[way as usize].queue.pop_front()
    }

    /// Loses everything under way in one direction; nothing more goes in.
    pub fn lose(&mut self, stream: StreamId, way: Way) {
        let pipe = &mut self.streams[stream].pipes[way as usize];
        pipe.queue.clear();
        pipe.is_closed = true;
    }
}

/// What sets up a session or a run does so once a stream; all else must bear being heard twice.
fn may_come_twice(packet: &Packet) -> bool {
    match packet {
        Packet::Up(message) => {
            !matches!(**message, agent_message::Message::Hello(_) | agent_message::Message::Leaving(_))
        }
        Packet::Down(message) => {
            use controller_message::Message;
            matches!(**message, Message::HeartbeatAnswer(_) | Message::Go(_) | Message::Ack(_) | Message::Stop(_))
        }
        Packet::End => false,
    }
}
