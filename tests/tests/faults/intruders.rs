//! Somebody who reaches a port and is not one of us.

use crate::stage::{CONTROLLER_PORT, STRUCK, Stage, TARGET_PORT};
use squall_tests::netns::{HUB, Namespace, World};
use squall_tests::wait;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Where the struck agent's connection is listened in on, in its region.
const TAPPED_PORT: u16 = 7_701;
/// More than an agent says before it has a run to report on.
const KEPT: usize = 64 << 10;

/// Everything that listens in the hub, from inside and from a region; in the
/// regions everything but the target, whose count is what we hold against.
pub fn send_garbage_everywhere(stage: &mut Stage) {
    let in_hub = listening(&stage.world.hub);
    assert!(in_hub.iter().any(|address| address.port() == CONTROLLER_PORT), "{in_hub:?}");
    stage.world.hub.run(|| in_hub.iter().for_each(|address| annoy(*address)));
    stage.world.region(STRUCK).run(|| annoy(SocketAddrV4::new(HUB, CONTROLLER_PORT)));
    let in_region = listening(stage.world.region(STRUCK));
    let others = || in_region.iter().filter(|address| address.port() != TARGET_PORT);
    stage.world.region(STRUCK).run(|| others().for_each(|address| annoy(*address)));
}

/// From the kernel's own list; loopback and every address alike.
fn listening(namespace: &Namespace) -> BTreeSet<SocketAddrV4> {
    const LISTENS: &str = "0A";
    let table = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp")).expect("the sockets");
    let address = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let (host, port) = local.split_once(':')?;
        let host = Ipv4Addr::from(u32::from_str_radix(host, 16).ok()?.to_be());
        let port = u16::from_str_radix(port, 16).ok()?;
        (state == LISTENS).then(|| SocketAddrV4::new(host, port))
    };
    table.lines().filter_map(address).collect()
}

/// What scanners, wrong clients and attackers say first, and silence.
fn annoy(address: SocketAddrV4) {
    let mut noise: Vec<Vec<u8>> = (1..=8).map(|seed| random(seed, 4_096)).collect();
    noise.push(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec());
    noise.push(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec());
    noise.push([PREFACE, &random(9, 4_096)].concat());
    // A frame of 16 MiB that never comes; then settings, and headers that are no headers.
    noise.push([PREFACE, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat());
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    noise.push([PREFACE, &settings, &[0, 0, 64, 1, 4, 0, 0, 0, 1], &random(10, 64)].concat());
    noise.push(Vec::new());
    let held: Vec<TcpStream> = noise.iter().filter_map(|bytes| say(address, bytes)).collect();
    // A scan: many connections that say nothing and hang up.
    (0..200).for_each(|_| drop(TcpStream::connect_timeout(&address.into(), PATIENCE)));
    drop(held);
}

fn say(address: SocketAddrV4, bytes: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(address), PATIENCE).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(300))).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    // Refused in the middle is as good as heard.
    stream.write_all(bytes).ok()?;
    let _ = stream.read(&mut [0; 1_024]);
    Some(stream)
}

fn random(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Bytes that the struck agent sent first, for whoever listened in.
static RECORDED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// The struck agent joins through somebody who listens in.
pub fn with_recorded_join(length: Duration) -> Stage {
    Stage::with_run_through(length, |world: &World, _| {
        world.region(STRUCK).run(|| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, TAPPED_PORT)).expect("a free port");
            std::thread::spawn(move || listener.incoming().for_each(|agent| tap(agent.expect("a connection"))));
        });
        format!("http://127.0.0.1:{TAPPED_PORT}")
    })
}

/// Passes everything on, both ways, and keeps what the agent says first.
fn tap(agent: TcpStream) {
    let controller = TcpStream::connect((HUB, CONTROLLER_PORT)).expect("the controller listens");
    for stream in [&agent, &controller] {
        stream.set_nodelay(true).expect("a socket option");
    }
    let (agent, controller) = (Arc::new(agent), Arc::new(controller));
    let (back_from, back_to) = (controller.clone(), agent.clone());
    std::thread::spawn(move || pass(&back_from, &back_to, |_| ()));
    std::thread::spawn(move || {
        pass(&agent, &controller, |bytes| {
            let mut kept = recorded();
            let wanted = KEPT.saturating_sub(kept.len()).min(bytes.len());
            kept.extend_from_slice(&bytes[..wanted]);
        });
    });
}

fn recorded() -> std::sync::MutexGuard<'static, Vec<u8>> {
    RECORDED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, mut seen: impl FnMut(&[u8])) {
    let mut buffer = [0; 4_096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        seen(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // The other end has hung up, or this one: both shall know.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// Says to the controller, from another region, what the agent said when it joined.
pub fn replay_the_join(stage: &mut Stage) {
    let words = recorded().clone();
    assert!(words.starts_with(PREFACE), "what an agent says first is no HTTP/2");
    let answer = stage.world.region(STRUCK + 1).run(|| {
        let mut stream = TcpStream::connect((HUB, CONTROLLER_PORT)).expect("the controller listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // It may be refused before the last word.
        let _ = stream.write_all(&words);
        wait::until("an answer to the replay", PATIENCE, || stream.read(&mut [0; 1_024]).ok())
    });
    assert!(answer > 0, "the controller hung up without a word");
}
