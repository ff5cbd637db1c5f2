//! Targets: URLs, trust, connections.

use super::build::Builder;
use super::check::quoted;
use super::node::Node;
use super::problem::{Place, Problem, without_passwords};
use super::suggest::nearest;
use super::template::{Coding, Names};
use crate::plan::{
    ClientCertificate, ConnectionPolicy, ContentCoding, DnsPolicy, HttpVersion, PemSource, Redirects, Region, Scheme,
    Target, TargetId, Template, TlsPolicy,
};

/// A URL, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Url {
    pub(super) scheme: Scheme,
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query as written; empty when there is none.
    pub(super) path: String,
}

/// Takes `http://host:port/path` apart; the error is a message and advice.
pub(super) fn parse_url(text: &str) -> Result<Url, (String, String)> {
    let wrong =
        |message: &str, advice: &str| Err((format!("`{}` {message}", without_passwords(text)), advice.to_owned()));
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong("has no scheme", &format!("write `http://{text}` or `https://{text}`"));
    };
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return wrong("is neither http nor https", "write `http://…` or `https://…`"),
    };
    if text.contains('#') {
        return wrong("has a fragment, which is never sent", "remove `#` and what follows");
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return wrong(
            "holds a user name or password",
            "send an `authorization` header with a secret such as `${env:TOKEN}`",
        );
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, after)) => (host, after.strip_prefix(':').or((!after.is_empty()).then_some("?"))),
            None => return wrong("has an address without `]`", "write e.g. `http://[::1]:8080`"),
        },
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let is_address = authority.starts_with('[');
    let host_is_valid = if is_address {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        !host.is_empty() && host.len() <= 253 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    if !host_is_valid {
        return wrong("has no valid host", "write e.g. `https://shop.example`");
    }
    let default_port = if scheme == Scheme::Http { 80 } else { 443 };
    let port = match port {
        None => default_port,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return wrong("has no valid port", "write a port from 1 to 65535"),
        },
    };
    Ok(Url { scheme, host: host.to_ascii_lowercase(), port, path: path.to_owned() })
}

impl Builder<'_> {
    pub(super) fn build_targets(&mut self, root: &Node) {
        match (root.get("target"), root.get("targets")) {
            (Some(target), Some(_)) => {
                self.problem(target, "`target` and `targets` are both given", "put the target into `targets`");
            }
            (Some(target), None) => self.build_target("target", target, target, root.get("auth")),
            (None, Some(targets)) => {
                if targets.is_map() && targets.entries().is_empty() {
                    self.problem(targets, "`targets` has none", "write `name: https://…` below it");
                }
                for entry in targets.entries() {
                    self.check_name("target", &entry.key, &entry.key_place);
                    let at = Node::plain(&entry.key, &entry.key_place);
                    self.build_target(&entry.key, &entry.node, &at, root.get("auth"));
                }
            }
            (None, None) => self.short_target(root),
        }
        if root.get("target").is_some() || root.get("targets").is_some() {
            for key in ["protocol", "host"] {
                if let Some(node) = root.get(key) {
                    self.problem(node, &format!("`{key}` has no use beside a target"), &format!("remove `{key}`"));
                }
            }
        }
    }

    pub(super) fn check_name(&mut self, what: &str, name: &str, place: &Place) {
        if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
            self.problems.push(
                Problem::new(place, format!("`{}` cannot name a {what}", name.escape_debug()))
                    .advice("use 1 to 64 characters"),
            );
        }
    }

    /// `protocol` and `host`, or a whole URL in `url`.
    fn short_target(&mut self, root: &Node) {
        let url = root.get("url");
        let place = url.map_or_else(Place::top, |node| node.place.clone());
        let whole = url.and_then(Node::scalar).filter(|url| url.contains("://"));
        let protocol = root.text_of("protocol").unwrap_or("http");
        let text = match (whole, root.text_of("host")) {
            (Some(url), None) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
                format!("{scheme}://{}", rest.split(['/', '?']).next().unwrap_or_default())
            }
            (Some(_), Some(_)) => {
                self.problems.push(
                    Problem::new(&place, "`host` and `url` both name a host").advice("write only the path in `url`"),
                );
                return;
            }
            (None, Some(host)) => format!("{protocol}://{host}"),
            (None, None) if self.has_unknown_keys && url.is_none() => return,
            (None, None) => {
                let problem = Problem::new(&place, "nothing says where requests go");
                self.problems.push(problem.advice("add `target: https://…`, or give `--target https://…`"));
                return;
            }
        };
        let node = Node::text(&text, root.get("host").map_or(&place, |host| &host.place));
        self.build_target("target", &node, &node, root.get("auth"));
    }

    fn build_target(&mut self, name: &str, node: &Node, at: &Node, auth: Option<&Node>) {
        let Some(url_node) = (if node.is_map() { node.get("url") } else { Some(node) }) else {
            self.problem(at, &format!("target `{name}` has no `url`"), "add `url: https://…`");
            return;
        };
        let Some(text) = url_node.scalar() else { return };
        let url = match parse_url(text) {
            Ok(url) => url,
            Err((message, advice)) => return self.problem(url_node, &message, &advice),
        };
        if url.path.contains('?') {
            self.problem(
                url_node,
                &format!("`{text}` has a query"),
                "put the query into the request's `url` or `query`",
            );
        }
        let tls = self.tls(node);
        if url.scheme == Scheme::Http
            && let Some(tls) = node.get("tls")
        {
            self.warning(&tls.place, &format!("target `{name}` is http: its `tls` has no effect"), "write `https://…`");
        }
        let mut headers = self.headers(node, &Names { feeders: &[], extracted: &[], later: &[], vars: &[] });
        let endpoint = self.endpoint(node, name);
        if let Some((header, value)) = self.auth_header(node.get("auth").or(auth), &endpoint)
            && !headers.iter().any(|(known, _)| *known == header)
        {
            headers.push((header, value));
        }
        let target = Target {
            name: name.to_owned(),
            scheme: url.scheme,
            host: url.host,
            port: url.port,
            base_path: url.path.trim_end_matches('/').to_owned(),
            region: self.region(node.get("region")),
            weight: node.count_of("weight").unwrap_or(1) as u32,
            headers,
            http: match node.text_of("http") {
                Some("1.1") => HttpVersion::Http1,
                Some("2") => HttpVersion::Http2,
                _ => HttpVersion::Auto,
            },
            tls,
            connections: self.connections(node),
            dns: DnsPolicy {
                refresh: node
                    .get("dns")
                    .and_then(|dns| dns.duration_of("refresh"))
                    .unwrap_or_else(|| DnsPolicy::default().refresh),
            },
            proxy_from_environment: node.text_of("proxy") == Some("environment"),
            redirects: node.count_of("redirects").map_or(Redirects::Off, |n| Redirects::Follow(n.min(20) as u8)),
            accept_encoding: codings(node),
            endpoint,
        };
        self.targets.push(target);
    }

    pub(super) fn region(&mut self, node: Option<&Node>) -> Option<Region> {
        let node = node?;
        Region::new(node.scalar()?)
            .map_err(|error| {
                let text = error.to_string();
                let (message, advice) = text.split_once(": ").unwrap_or((&text, ""));
                self.problem(node, message, advice);
            })
            .ok()
    }

    fn tls(&mut self, target: &Node) -> TlsPolicy {
        let Some(node) = target.get("tls") else { return TlsPolicy::default() };
        let extra_ca = self.certificate(node, "ca");
        let certificate = self.certificate(node, "client_cert");
        let key = node.text_of("client_key").map(|path| {
            let path = path.strip_prefix("${file:").and_then(|rest| rest.strip_suffix('}')).unwrap_or(path);
            PemSource::AgentPath(path.to_owned())
        });
        match (node.get("client_cert"), node.get("client_key")) {
            (Some(one), None) => {
                self.problem(one, "a client certificate needs its key", "add `client_key: /path/on/the/agent.pem`")
            }
            (None, Some(one)) => {
                self.problem(one, "a client key needs its certificate", "add `client_cert: client.pem`")
            }
            _ => {}
        }
        TlsPolicy {
            extra_ca,
            client_certificate: certificate.zip(key).map(|(certificate, key)| ClientCertificate { certificate, key }),
            insecure: node.flag_of("insecure").unwrap_or(false),
            server_name: node.text_of("server_name").map(str::to_owned),
        }
    }

    fn certificate(&mut self, tls: &Node, key: &str) -> Option<PemSource> {
        let node = tls.get(key)?;
        let bytes = self.file(node)?;
        let text = String::from_utf8_lossy(&bytes);
        if text.contains("PRIVATE KEY-----") {
            self.problem(
                node,
                &format!("the file of `{key}` holds a private key"),
                "keep keys on the agent: use `client_key`",
            );
        } else if !text.contains("-----BEGIN CERTIFICATE-----") {
            self.problem(
                node,
                &format!("the file of `{key}` holds no certificate"),
                "it must be PEM: `-----BEGIN CERTIFICATE-----`",
            );
        }
        Some(PemSource::Inline(bytes))
    }

    fn connections(&mut self, target: &Node) -> ConnectionPolicy {
        let default = ConnectionPolicy::default();
        let Some(node) = target.get("connections") else { return default };
        let mut source_addresses = Vec::new();
        for address in node.get("source_addresses").map(Node::items).unwrap_or_default() {
            match address.scalar().map(str::parse) {
                Some(Ok(address)) => source_addresses.push(address),
                Some(Err(_)) => self.problem(address, "this is not an IP address", "write e.g. `10.0.0.5`"),
                None => {}
            }
        }
        ConnectionPolicy {
            max_connections: node.count_of("max").map(|n| n as u32),
            idle_timeout: node.duration_of("idle_timeout").unwrap_or(default.idle_timeout),
            lifetime: node.duration_of("lifetime"),
            max_requests: node.count_of("max_requests"),
            streams_per_connection: node.count_of("streams").map_or(default.streams_per_connection, |n| n as u32),
            source_addresses,
            tcp_nodelay: node.flag_of("nodelay").unwrap_or(default.tcp_nodelay),
            keepalive_probes: node.duration_of("keepalive_probes"),
            connect_timeout: node.duration_of("connect_timeout").unwrap_or(default.connect_timeout),
        }
    }

    /// The target of that name; an unknown one is a problem.
    pub(super) fn target_named(&mut self, name: &str, at: &Place) -> Option<TargetId> {
        if let Some(id) = self.targets.iter().position(|target| target.name == name) {
            return Some(TargetId(id as u16));
        }
        // When no target could be built, that is the problem.
        if !self.targets.is_empty() {
            let names = self.targets.iter().map(|target| target.name.as_str());
            let problem = Problem::new(at, format!("there is no target `{name}`"));
            self.problems.push(match nearest(name, names.clone()) {
                Some(near) => problem.advice(format!("write `{near}`")),
                None => problem.advice(format!("the targets are {}", quoted(names))),
            });
        }
        None
    }

    /// `headers` of a target, scenario or step: lower-case names, checked.
    pub(super) fn headers(&mut self, node: &Node, names: &Names<'_>) -> Vec<(String, Template)> {
        let mut headers: Vec<(String, Template)> = Vec::new();
        for entry in node.get("headers").map(Node::entries).unwrap_or_default() {
            let name = entry.key.to_ascii_lowercase();
            let mut refuse = |message: String, advice: &str| {
                self.problems.push(Problem::new(&entry.key_place, message).advice(advice));
            };
            if !is_token(&name) {
                refuse(format!("`{}` is not a header name", entry.key), "use letters, digits and `-`");
            } else if matches!(name.as_str(), "content-length" | "transfer-encoding") {
                refuse(format!("`{name}` is set from the body"), "remove it");
            } else if headers.iter().any(|(known, _)| *known == name) {
                refuse(format!("header `{name}` is given twice"), "keep one of them; case does not matter");
            }
            let Some(value) = entry.node.scalar() else { continue };
            if value.chars().any(|c| c.is_control() && c != '\t') {
                self.problem(&entry.node, "a header value cannot hold line breaks", "write it on one line");
            }
            let sensitive = ["authorization", "api-key", "x-api-key", "cookie"].contains(&name.as_str());
            if sensitive && !value.contains("${") && !value.contains("{{") {
                let message = format!("`{name}` is written in the plan, and so in every result");
                self.warning(&entry.node.place, &message, "write a reference such as `${env:TOKEN}`");
            }
            headers.push((name, self.templates.parse(value, &entry.node.place, names, Coding::AsIs, true)));
        }
        headers
    }
}

/// A token of RFC 9110: methods and header names.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 256
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn codings(node: &Node) -> Vec<ContentCoding> {
    let items = node.get("accept_encoding").map(Node::items).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| match item.scalar()? {
            "gzip" => Some(ContentCoding::Gzip),
            "br" => Some(ContentCoding::Brotli),
            "deflate" => Some(ContentCoding::Deflate),
            "zstd" => Some(ContentCoding::Zstd),
            _ => None,
        })
        .collect()
}
