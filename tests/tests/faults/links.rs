//! The links themselves: a fault that a link does not cause proves nothing.

use libtest_mimic::Trial;
use squall_tests::netns::{Conditions, HUB, Way, World};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const DELAY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(20);

pub fn trials() -> Vec<Trial> {
    let claims: [(&str, fn()); 5] = [
        ("a_round_trip_takes_the_delay_of_both_ways", a_round_trip_takes_the_delay_of_both_ways),
        ("a_link_cut_one_way_carries_the_other_way", a_link_cut_one_way_carries_the_other_way),
        ("a_healed_link_delivers_what_tcp_held_back", a_healed_link_delivers_what_tcp_held_back),
        ("a_slow_link_lets_through_no_more_than_its_rate", a_slow_link_lets_through_no_more_than_its_rate),
        ("regions_reach_each_other_through_the_hub", regions_reach_each_other_through_the_hub),
    ];
    let trial = |(name, claim): (&str, fn())| {
        Trial::test(format!("links::{name}"), move || {
            claim();
            Ok(())
        })
    };
    claims.into_iter().map(trial).collect()
}

fn delayed() -> Conditions {
    Conditions { delay: DELAY, ..Conditions::default() }
}

/// Sends back what it gets, for as long as somebody sends.
fn echo(socket: UdpSocket) {
    let mut buffer = [0; 2_000];
    std::thread::spawn(move || {
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
}

fn udp(address: (std::net::Ipv4Addr, u16)) -> UdpSocket {
    let socket = UdpSocket::bind(address).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

fn a_round_trip_takes_the_delay_of_both_ways() {
    let world = World::new(1, delayed());
    world.hub.run(|| echo(udp((HUB, 7))));
    let round_trips: Vec<Duration> = world.region(0).run(|| {
        let socket = udp((World::address_of(0), 0));
        socket.connect((HUB, 7)).expect("a route");
        let mut buffer = [0; 100];
        let round_trip = |number: u8| {
            let began = Instant::now();
            socket.send(&[number]).expect("sent");
            let length = socket.recv(&mut buffer).expect("an answer");
            assert_eq!(&buffer[..length], [number]);
            began.elapsed()
        };
        (0..20).map(round_trip).collect()
    });
    let least = *round_trips.iter().min().expect("some");
    assert!(least >= 2 * DELAY, "faster than the delay: {least:?}");
    // The fastest of twenty: a busy machine slows some down, not all.
    assert!(least < 2 * DELAY + Duration::from_millis(40), "slower than the delay: {round_trips:?}");
}

fn a_link_cut_one_way_carries_the_other_way() {
    let world = World::new(1, Conditions::default());
    let (hub, region) = (world.hub.run(|| udp((HUB, 7))), world.region(0).run(|| udp((World::address_of(0), 7))));
    let mut buffer = [0; 100];
    let mut heard = |at: &UdpSocket| at.recv(&mut buffer).map(|length| buffer[..length].to_vec());
    // Once through, so that both ends know each other's hardware address.
    region.send_to(b"hello", (HUB, 7)).expect("sent");
    assert_eq!(heard(&hub).expect("heard"), b"hello");

    world.link(0).cut(Way::Up);
    region.send_to(b"lost", (HUB, 7)).expect("sent");
    hub.send_to(b"down", (World::address_of(0), 7)).expect("sent");
    assert_eq!(heard(&region).expect("heard"), b"down");

    // Healed too soon, it would carry what has not reached it yet.
    wait_for_loss(&world, Way::Up);
    world.link(0).heal();
    world.link(0).cut(Way::Down);
    hub.send_to(b"lost", (World::address_of(0), 7)).expect("sent");
    region.send_to(b"up", (HUB, 7)).expect("sent");
    assert_eq!(heard(&hub).expect("heard"), b"up");
    wait_for_loss(&world, Way::Down);

    world.link(0).heal();
    hub.send_to(b"healed", (World::address_of(0), 7)).expect("sent");
    assert_eq!(heard(&region).expect("heard"), b"healed");
}

fn wait_for_loss(world: &World, way: Way) {
    let has_lost = || (world.link(0).counts(way).lost > 0).then_some(());
    squall_tests::wait::until("the cut to lose something", PATIENCE, has_lost);
}

fn a_healed_link_delivers_what_tcp_held_back() {
    let world = World::new(1, delayed());
    let listener = world.hub.run(|| TcpListener::bind((HUB, 7_000)).expect("a listener"));
    let mut sender = world.region(0).run(|| TcpStream::connect((HUB, 7_000)).expect("connected"));
    let (mut receiver, _) = listener.accept().expect("accepted");
    receiver.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    world.link(0).cut_both_ways();
    // More than one segment and less than a socket's buffer.
    let message: Vec<u8> = (0..20_000u32).map(|number| number as u8).collect();
    sender.write_all(&message).expect("written");
    wait_for_loss(&world, Way::Up);
    world.link(0).heal();
    let mut received = vec![0; message.len()];
    receiver.read_exact(&mut received).expect("all of it");
    assert!(received == message, "what arrived is not what was sent");
}

fn a_slow_link_lets_through_no_more_than_its_rate() {
    const RATE_BITS: u64 = 400_000;
    let world = World::new(1, Conditions { rate_bits: Some(RATE_BITS), ..Conditions::default() });
    let listener = world.hub.run(|| TcpListener::bind((HUB, 7_000)).expect("a listener"));
    let mut sender = world.region(0).run(|| TcpStream::connect((HUB, 7_000)).expect("connected"));
    let (mut receiver, _) = listener.accept().expect("accepted");
    receiver.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let began = Instant::now();
    let message = vec![7; 100_000];
    std::thread::scope(|scope| {
        scope.spawn(|| sender.write_all(&message).expect("written"));
        receiver.read_exact(&mut vec![0; 100_000]).expect("all of it");
    });
    let took = began.elapsed();
    let counts = world.link(0).counts(Way::Up);
    // 100 kB at 50 kB/s; the first frame is there without one before it.
    assert!(took >= Duration::from_secs(2), "{took:?}");
    let at_most = took.as_secs_f64() * RATE_BITS as f64 / 8.0 + 3_000.0;
    assert!(counts.delivered_bytes as f64 <= at_most, "{counts:?} in {took:?}");
    assert!(counts.delivered_bytes >= 100_000, "{counts:?}");
}

fn regions_reach_each_other_through_the_hub() {
    let world = World::new(2, delayed());
    world.region(1).run(|| echo(udp((World::address_of(1), 7))));
    let took = world.region(0).run(|| {
        let socket = udp((World::address_of(0), 0));
        let began = Instant::now();
        socket.send_to(b"there", (World::address_of(1), 7)).expect("a route");
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).expect("an answer");
        assert_eq!(&buffer[..length], b"there");
        began.elapsed()
    });
    assert!(took >= 4 * DELAY, "{took:?}");
}
