//! How late a loop is that does nothing but keep time and send: the floor below
//! every generator on this machine at that moment.

use crate::clients::Reported;
use crate::process::pin;
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use std::io::{self, Read, Write};
use std::net::TcpStream;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: floor\r\n\r\n";
const TIMER: u64 = u64::MAX;
const SECOND_NS: u64 = 1_000_000_000;

/// Sends `rate` requests a second for some seconds, spread over keep-alive
/// connections, from one thread on one core: a timerfd, an epoll, a write and a
/// read each. How late each was written, in µs.
pub fn lateness(core: usize, port: u16, rate: u64, connections: u32, seconds: u64) -> io::Result<Reported> {
    let body = move || -> io::Result<Reported> {
        pin(core)?;
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        reported(&run(port, rate, connections, seconds)?)
    };
    std::thread::spawn(body).join().map_err(|_| io::Error::other("the bare loop failed"))?
}

fn reported(late: &Histogram<u64>) -> io::Result<Reported> {
    let us = |percentile: f64| late.value_at_percentile(percentile) as f64 / 1e3;
    Ok(Reported { p50_us: us(50.0), p99_us: us(99.0), p999_us: us(99.9) })
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * SECOND_NS + now.tv_nsec as u64
}

fn instant(at_ns: u64) -> Timespec {
    Timespec { tv_sec: (at_ns / SECOND_NS) as i64, tv_nsec: (at_ns % SECOND_NS) as i64 }
}

fn run(port: u16, rate: u64, connections: u32, seconds: u64) -> io::Result<Histogram<u64>> {
    let mut late = Histogram::new_with_bounds(1, 60 * SECOND_NS, 3).map_err(io::Error::other)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
    let mut streams = Vec::new();
    for number in 0..u64::from(connections) {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(&epoll, &stream, EventData::new_u64(number), EventFlags::IN | EventFlags::ET)?;
        streams.push(stream);
    }
    let start_ns = now_ns() + SECOND_NS / 10;
    let total = rate * seconds;
    let due = |number: u64| start_ns + number * SECOND_NS / rate;
    let (mut events, mut scratch, mut sent) = (Vec::with_capacity(256), vec![0; 16 << 10], 0);
    loop {
        let mut now = now_ns();
        while sent < total && due(sent) <= now {
            // A full connection is the server's lateness; the loop's own is what counts.
            match (&streams[sent as usize % streams.len()]).write(REQUEST) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            late.saturating_record((now - due(sent)).max(1));
            sent += 1;
            now = now_ns();
        }
        if sent == total {
            return Ok(late);
        }
        let setting = Itimerspec { it_interval: instant(0), it_value: instant(due(sent)) };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &setting)?;
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let which = event.data.u64();
            if which != TIMER {
                drain(&streams[which as usize], &mut scratch)?;
            }
        }
    }
}

fn drain(mut stream: &TcpStream, scratch: &mut [u8]) -> io::Result<()> {
    loop {
        match stream.read(scratch) {
            Ok(0) => return Err(io::ErrorKind::ConnectionAborted.into()),
            Ok(read) if read < scratch.len() => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn every_request_of_the_rate_is_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            bytes.len()
        });
        let late = run(port, 100, 1, 1).unwrap();
        assert_eq!((late.len(), server.join().unwrap()), (100, 100 * REQUEST.len()));
    }
}
