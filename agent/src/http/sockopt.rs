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

/// The kernel's smoothed round-trip time of a connection, in microseconds.
#[allow(unsafe_code)]
pub(super) fn rtt_us(stream: &TcpStream) -> Option<u64> {
    use nix::libc;
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut info_bytes = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: no crate at hand (rustix, socket2, nix) reads TCP_INFO. The kernel
    // writes at most `info_bytes` bytes into `info`, which is that large and lives
    // across the call; the descriptor is open while `stream` is borrowed.
    // `tcp_info` is plain integers, so the zeroed value that a shorter answer of
    // an older kernel leaves is valid.
    let info = unsafe {
        let status = libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut info_bytes,
        );
        (status == 0).then(|| info.assume_init())
    }?;
    (info.tcpi_rtt > 0).then_some(u64::from(info.tcpi_rtt))
}
