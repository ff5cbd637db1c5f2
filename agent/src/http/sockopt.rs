//! Socket options that tokio does not have.

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use squall_common::plan::ConnectionPolicy;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use tokio::net::{TcpSocket, TcpStream};

/// Sets what the plan asks for on a socket not yet connected.
pub(super) fn prepare(socket: &TcpSocket, policy: &ConnectionPolicy, source: Option<IpAddr>) -> io::Result<()> {
    socket.set_nodelay(policy.tcp_nodelay)?;
    if let Some(idle) = policy.keepalive_probes {
        let probes = socket2::TcpKeepalive::new().with_time(idle).with_interval(idle);
        socket2::SockRef::from(socket).set_tcp_keepalive(&probes)?;
    }
    if let Some(source) = source {
        // The port is then chosen at connect, by the whole four-tuple: many more
        // connections per address than the ephemeral range holds ports.
        setsockopt(&socket.as_fd(), IpBindAddressNoPort, &true)?;
        socket.bind((source, 0).into())?;
    }
    Ok(())
}

/// Where `tcpi_min_rtt` stands in the kernel's `struct tcp_info` (include/uapi/linux/tcp.h;
/// fields are only ever appended). libc's declaration of it ends before.
const MIN_RTT_AT: std::ops::Range<usize> = 148..152;

/// The kernel's smallest recent round-trip time of a connection, in microseconds.
///
/// Not the smoothed one: where an answer carries the acknowledgement of its
/// request, that includes the server's own time (5 ms of work on loopback read as
/// a round trip of 5 ms). The minimum is that of the handshake or of a plain
/// acknowledgement, which is the network's.
#[allow(unsafe_code)]
pub(super) fn rtt_us(stream: &TcpStream) -> Option<u64> {
    use nix::libc;
    let mut info = [0u8; 256];
    let mut info_bytes = info.len() as libc::socklen_t;
    // SAFETY: no crate at hand (rustix, socket2, nix) reads TCP_INFO. The kernel
    // writes at most `info_bytes` bytes into `info`, which is that large and lives
    // across the call; the descriptor is open while `stream` is borrowed.
    let status = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut info_bytes,
        )
    };
    if status != 0 || (info_bytes as usize) < MIN_RTT_AT.end {
        return None;
    }
    let min_rtt_us = u32::from_ne_bytes(info[MIN_RTT_AT].try_into().ok()?);
    // The kernel says "none yet" with the largest number.
    (min_rtt_us > 0 && min_rtt_us != u32::MAX).then_some(min_rtt_us.into())
}
