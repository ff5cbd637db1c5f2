//! Real etcd: one member or three, on free ports, stopped and started as tests like.

use crate::process::Process;
use crate::wait::{self, secs};
use crate::{binaries, ports};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// An etcd cluster; dropped, it is gone.
pub struct Etcd {
    members: Vec<Member>,
    dir: TempDir,
    tls: bool,
}

struct Member {
    name: String,
    client_port: u16,
    peer_port: u16,
    process: Option<Process>,
}

/// Files that a client of a cluster with mutual TLS needs.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Etcd {
    pub fn single() -> Self {
        Self::with(1, false)
    }

    pub fn of_three() -> Self {
        Self::with(3, false)
    }

    /// One member that asks its clients for certificates.
    pub fn with_mutual_tls() -> Self {
        Self::with(1, true)
    }

    fn with(members: usize, tls: bool) -> Self {
        let dir = TempDir::with_prefix("squall-etcd-").expect("a temporary directory");
        if tls {
            write_certificates(dir.path());
        }
        let member = |n| Member {
            name: format!("etcd-{n}"),
            client_port: ports::free(),
            peer_port: ports::free(),
            process: None,
        };
        let mut etcd = Self { members: (0..members).map(member).collect(), dir, tls };
        // All of them first: none is ready before most are there.
        (0..members).for_each(|n| etcd.launch(n));
        (0..members).for_each(|n| etcd.await_ready(n));
        etcd
    }

    /// What clients dial.
    pub fn endpoints(&self) -> Vec<String> {
        (0..self.members.len()).map(|n| self.endpoint(n)).collect()
    }

    /// The same, beginning with a member: clients dial the first that answers.
    pub fn endpoints_from(&self, n: usize) -> Vec<String> {
        let mut endpoints = self.endpoints();
        endpoints.rotate_left(n);
        endpoints
    }

    /// The member that leads the others, as they say themselves.
    pub fn leader(&self) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        wait::until("a leader of etcd", secs(20), || {
            (0..self.members.len()).find(|n| runtime.block_on(says_it_leads(self.endpoint(*n))))
        })
    }

    pub fn endpoint(&self, n: usize) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "https" } else { "http" }, self.members[n].client_port)
    }

    pub fn client_files(&self) -> ClientFiles {
        let path = |name: &str| self.dir.path().join(name);
        ClientFiles { ca: path("ca.pem"), cert: path("client.pem"), key: path("client.key") }
    }

    /// Stops answering; connections stay open.
    pub fn freeze(&self, n: usize) {
        self.process(n).signal(Signal::STOP);
    }

    pub fn thaw(&self, n: usize) {
        self.process(n).signal(Signal::CONT);
    }

    pub fn kill(&mut self, n: usize) {
        if let Some(mut process) = self.members[n].process.take() {
            process.kill();
        }
    }

    /// Starts a killed member where it was.
    pub fn restart(&mut self, n: usize) {
        self.launch(n);
        self.await_ready(n);
    }

    fn process(&self, n: usize) -> &Process {
        self.members[n].process.as_ref().expect("the member runs")
    }

    fn await_ready(&mut self, n: usize) {
        let process = self.members[n].process.as_mut().expect("the member was started");
        process.says("ready to serve client requests", secs(20));
    }

    fn launch(&mut self, n: usize) {
        let peer = |member: &Member| format!("http://127.0.0.1:{}", member.peer_port);
        let cluster: Vec<String> =
            self.members.iter().map(|member| format!("{}={}", member.name, peer(member))).collect();
        let member = &self.members[n];
        let mut command = Command::new(binaries::etcd());
        // Faster elections than on real networks, so that tests are short.
        command.args(["--heartbeat-interval", "50", "--election-timeout", "500", "--initial-cluster-state", "new"]);
        command.args(["--name", &member.name, "--initial-cluster", &cluster.join(",")]);
        command.arg("--data-dir").arg(self.dir.path().join(format!("{}.data", member.name)));
        for flag in ["--listen-peer-urls", "--initial-advertise-peer-urls"] {
            command.args([flag, &peer(member)]);
        }
        for flag in ["--listen-client-urls", "--advertise-client-urls"] {
            command.args([flag, &self.endpoint(n)]);
        }
        if self.tls {
            let path = |name: &str| self.dir.path().join(name);
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(path("ca.pem"));
            command.arg("--cert-file").arg(path("server.pem")).arg("--key-file").arg(path("server.key"));
        }
        let process = Process::start(&member.name, command, self.dir.path());
        self.members[n].process = Some(process);
    }
}

async fn says_it_leads(endpoint: String) -> bool {
    let mut client = etcd_client::Client::connect([endpoint], None).await.expect("a client");
    let Ok(status) = client.status().await else { return false };
    status.header().is_some_and(|header| header.member_id() == status.leader())
}

/// An authority, and a certificate each for the server and for its clients.
fn write_certificates(dir: &Path) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of these tests");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let write = |name: &str, text: String| fs::write(dir.join(name), text).expect("a certificate's file");
    for (name, host) in [("server", "127.0.0.1"), ("client", "controller.test")] {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        write(&format!("{name}.pem"), certificate.pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
    write("ca.pem", authority.pem());
}
