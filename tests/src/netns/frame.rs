//! Frames, as a packet socket hands them out.

const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Writes the TCP or UDP checksum that a real network card would have written.
///
/// A virtual interface claims to compute checksums itself, so the kernel leaves
/// them out. What comes back through a packet socket is checked, and dropped.
pub(super) fn complete_checksum(frame: &mut [u8]) {
    let Some((_, packet)) = frame.split_at_mut_checked(ETHERNET).filter(|(head, _)| head[12..14] == IPV4) else {
        return;
    };
    let Some(&version_and_length) = packet.first() else { return };
    let header = usize::from(version_and_length & 0x0f) * 4;
    if packet.len() < header || header < 20 {
        return;
    }
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let is_fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0;
    let protocol = packet[9];
    let place = match protocol {
        TCP => 16,
        UDP => 6,
        _ => return,
    };
    if is_fragment || total > packet.len() || total < header + place + 2 {
        return;
    }
    let (ip, segment) = packet[..total].split_at_mut(header);
    segment[place..place + 2].fill(0);
    let pseudo_header = sum(&ip[12..20]) + u64::from(protocol) + segment.len() as u64;
    let mut checksum = !folded(pseudo_header + sum(segment));
    if protocol == UDP && checksum == 0 {
        checksum = 0xffff;
    }
    segment[place..place + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn sum(bytes: &[u8]) -> u64 {
    let pairs = bytes.chunks_exact(2);
    let odd = pairs.remainder().first().map_or(0, |&last| u64::from(last) << 8);
    odd + pairs.map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u64>()
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Ethernet frame with a TCP segment of this payload, its checksum left out.
    fn tcp(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(IPV4);
        let length = (20 + 20 + payload.len()) as u16;
        frame.extend([0x45, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x1f, 0x90, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0xab, 0xcd, 0, 0]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_completed_segment_sums_up_to_all_ones() {
        for payload in [&b""[..], b"odd", b"even"] {
            let mut frame = tcp(payload);
            complete_checksum(&mut frame);
            let segment = &frame[ETHERNET + 20..];
            let all = sum(&[10, 0, 0, 1, 10, 0, 0, 2]) + u64::from(TCP) + segment.len() as u64 + sum(segment);
            assert_eq!(folded(all), 0xffff, "{payload:?}");
        }
    }

    #[test]
    fn frames_that_are_cut_short_or_something_else_stay_as_they_are() {
        let whole = tcp(b"payload");
        for length in 0..whole.len() {
            let mut cut = whole[..length].to_vec();
            complete_checksum(&mut cut);
            assert_eq!(cut, whole[..length]);
        }
        let mut arp = vec![0; 42];
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        let before = arp.clone();
        complete_checksum(&mut arp);
        assert_eq!(arp, before);
    }
}
