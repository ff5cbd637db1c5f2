//! A packet socket on one interface: frames in, frames out.

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Longer than any frame on an interface whose segments are not joined.
pub(super) const LONGEST_FRAME: usize = 2_048;

pub(super) struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// On an interface of the namespace that the calling thread is in.
    pub fn on(interface: &str) -> Self {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
            .unwrap_or_else(|error| panic!("cannot open a packet socket (CAP_NET_RAW is needed): {error}"));
        // What a burst may take; the kernel lowers it to what it permits.
        setsockopt(&socket, sockopt::RcvBuf, &(8 << 20)).expect("a receive buffer");
        bind(socket.as_raw_fd(), &address_of(interface)).expect("an interface to bind to");
        Self(socket)
    }

    /// The next frame that waits, if one does.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<usize> {
        rustix::net::recv(&self.0, buffer, rustix::net::RecvFlags::empty()).ok().map(|(length, _)| length)
    }

    /// What does not fit is lost, as everywhere in a network.
    pub fn send(&self, frame: &[u8]) {
        if let Err(error) = rustix::net::send(&self.0, frame, rustix::net::SendFlags::empty()) {
            let error = std::io::Error::from(error);
            let is_full = matches!(error.kind(), ErrorKind::WouldBlock) || error.raw_os_error() == Some(105);
            let is_down = matches!(error.kind(), ErrorKind::NetworkDown);
            assert!(is_full || is_down, "a frame of {} bytes cannot be sent: {error}", frame.len());
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The index and kind of an interface, in the form that a packet socket is bound to.
fn address_of(interface: &str) -> LinkAddr {
    let all = getifaddrs().expect("the list of interfaces");
    let mut links = all.filter(|found| found.interface_name == interface);
    let link = links.find_map(|found| found.address.and_then(|address| address.as_link_addr().copied()));
    link.unwrap_or_else(|| panic!("there is no interface {interface}"))
}
