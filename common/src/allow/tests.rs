use super::*;
use proptest::prelude::*;

fn list(patterns: &[&str]) -> AllowList {
    AllowList::of(patterns.iter().map(|pattern| pattern.parse().unwrap()).collect())
}

fn allows(patterns: &[&str], host: &str, port: u16, addresses: &[&str]) -> bool {
    let addresses: Vec<SocketAddr> =
        addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), port)).collect();
    list(patterns).check_addresses(host, port, &addresses).is_ok()
}

#[test]
fn nothing_said_allows_loopback_and_nothing_else() {
    for (host, address) in
        [("localhost", "127.0.0.1"), ("localhost", "::1"), ("127.9.9.9", "127.9.9.9"), ("::1", "::1")]
    {
        assert!(allows(&[], host, 80, &[address]), "{host}");
    }
    for (host, address) in
        [("example.com", "203.0.113.1"), ("10.0.0.1", "10.0.0.1"), ("::2", "::2"), ("localhost", "10.0.0.1")]
    {
        assert!(!allows(&[], host, 80, &[address]), "{host}");
    }
    // By its address, whatever it is called.
    assert!(allows(&[], "dev.test", 80, &["127.0.0.1"]));
}

#[test]
fn names_wildcards_addresses_networks_and_ports_are_what_they_say() {
    let public = "203.0.113.1";
    for (pattern, host, address) in [
        ("api.example.com", "API.example.com.", public),
        ("api.example.com:8080", "api.example.com", public),
        ("*.example.com", "a.b.example.com", public),
        ("10.0.0.0/8", "10.1.2.3", "10.1.2.3"),
        ("10.0.0.0/8", "gateway.internal", "10.1.2.3"),
        ("10.1.2.3:8080", "10.1.2.3", "10.1.2.3"),
        ("[fd00::/8]:8080", "fd00::7", "fd00::7"),
        ("fd00::7", "fd00::7", "fd00::7"),
        ("10.1.2.3", "::ffff:10.1.2.3", "::ffff:10.1.2.3"),
        ("*", "anything.test", "169.254.169.254"),
    ] {
        assert!(allows(&[pattern], host, 8080, &[address]), "{pattern} {host}");
    }
    for (pattern, host, address) in [
        ("api.example.com", "example.com", public),
        ("api.example.com:81", "api.example.com", public),
        ("*.example.com", "example.com", public),
        ("*.example.com", "badexample.com", public),
        ("10.0.0.0/8", "11.0.0.1", "11.0.0.1"),
        ("api.example.com", "127.0.0.1", "127.0.0.1"),
        ("fd00::/8", "fe00::1", "fe00::1"),
    ] {
        assert!(!allows(&[pattern], host, 8080, &[address]), "{pattern} {host}");
    }
}

#[test]
fn an_allowed_name_that_leads_into_a_private_network_is_refused_until_that_is_allowed_too() {
    let inside = [
        "127.0.0.1",
        "10.0.0.7",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "0.0.0.0",
        "::1",
        "fe80::1",
        "fd00:ec2::254",
        "::ffff:10.0.0.7",
        "64:ff9b::a00:7",
        "2002:a00:7::",
    ];
    for address in inside {
        assert!(!allows(&["api.example.com"], "api.example.com", 443, &["203.0.113.1", address]), "{address}");
        assert!(allows(&["api.example.com", address], "api.example.com", 443, &["203.0.113.1", address]), "{address}");
    }
    assert!(allows(&["api.example.com"], "api.example.com", 443, &["203.0.113.1", "2001:db8::1"]));
}

#[test]
fn a_refusal_tells_the_flag_that_would_allow_it() {
    let told = AllowList::default().check_host("api.example.com", 443).unwrap_err().to_string();
    assert_eq!(
        told,
        "`api.example.com:443` is not allowed here (allowed: loopback only); to allow it, add `--allow-target \
         api.example.com`"
    );
    let leads_inside = "10.0.0.7:443".parse().unwrap();
    let told = list(&["*.example.com"]).check_addresses("api.example.com", 443, &[leads_inside]).unwrap_err();
    assert!(told.to_string().contains("resolves to 10.0.0.7"), "{told}");
    assert_eq!((told.pattern.as_str(), told.allowed.as_str()), ("10.0.0.7", "*.example.com"));
}

#[test]
fn what_is_no_pattern_is_told_what_to_write() {
    for (text, advice) in [
        ("https://api.example.com/", "only the host"),
        ("api.example.com:0", "port"),
        ("api.example.com:http", "port"),
        ("10.0.0.0/33", "from 0 to 32"),
        ("api.example.com/v1", "without a path"),
        ("a*.example.com", "write a host"),
        ("", "write a host"),
    ] {
        let told = text.parse::<Pattern>().unwrap_err().to_string();
        assert!(told.contains(advice), "{text}: {told}");
    }
}

proptest! {
    /// What a refusal advises to add is what allows the target.
    #[test]
    fn following_a_refusals_advice_allows_the_target(bits in any::<u32>(), port in 1u16.., is_name in any::<bool>()) {
        let address = IpAddr::V4(Ipv4Addr::from_bits(bits));
        let host = if is_name { "some.name.test".to_owned() } else { address.to_string() };
        let mut patterns: Vec<Pattern> = Vec::new();
        // A name may need two: its own, and where it leads.
        for _ in 0..3 {
            let refused = AllowList::of(patterns.clone()).check_addresses(&host, port, &[SocketAddr::new(address, port)]);
            let Err(refusal) = refused else { return Ok(()) };
            patterns.push(refusal.pattern.parse().unwrap());
        }
        prop_assert!(false, "{host} ({address}) stays refused with {patterns:?}");
    }

    #[test]
    fn a_pattern_reads_back_as_it_is_shown(text in "(\\*\\.)?[a-z]{1,9}\\.[a-z]{2,5}(:[1-9][0-9]{0,3})?|[1-9][0-9]?\\.0\\.0\\.0/(8|16)|\\[fd00::/8\\]:80|::1") {
        let pattern: Pattern = text.parse().unwrap();
        prop_assert_eq!(pattern.to_string().parse::<Pattern>(), Ok(pattern));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,40}") {
        let _ = text.parse::<Pattern>();
    }
}
