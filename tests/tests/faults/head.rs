//! What leads a run, in the hub: one controller, one that wants certificates, or
//! two on etcd.

use crate::stage::{CONTROLLER_PORT, REGIONS, Stage};
use rustix::process::Signal;
use squall_tests::cluster::Controller;
use squall_tests::controllers::Controllers;
use squall_tests::etcd::Etcd;
use squall_tests::netns::{HUB, World};
use squall_tests::secured::{Certs, Secured, Shown};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

pub enum Head {
    Alone(Controller),
    WithCertificates { controller: Secured, certs: Certs },
    OnEtcd { controllers: Controllers, etcd: Etcd },
}

fn address(place: u16) -> String {
    format!("{HUB}:{}", CONTROLLER_PORT + place)
}

/// What `squall certs` calls an agent's files.
pub fn certificate_of(place: usize) -> String {
    format!("agent-{}", REGIONS[place].replace('/', "-"))
}

impl Head {
    pub fn alone(world: &World, dir: &Path) -> Self {
        Self::Alone(world.hub.run(|| Controller::listening_on(&address(0), dir)))
    }

    pub fn with_certificates(world: &World, _: &Path) -> Self {
        let certs = Certs::init_with(&["--host", &HUB.to_string()]);
        REGIONS.iter().for_each(|region| drop(certs.make(&["agent", region])));
        let shown = certs.shown_by("controller");
        let controller = world.hub.run(|| Secured::on(&address(0), &shown));
        Self::WithCertificates { controller, certs }
    }

    /// Both controllers dial the member of etcd first that leads the others.
    pub fn on_etcd(world: &World, _: &Path) -> Self {
        world.hub.run(|| {
            let etcd = Etcd::of_three();
            let endpoints = etcd.endpoints_from(etcd.leader());
            let controllers = Controllers::listening_on(&[address(0), address(1)], &endpoints);
            Self::OnEtcd { controllers, etcd }
        })
    }

    /// What agents and operators dial.
    pub fn urls(&self) -> String {
        match self {
            Self::Alone(controller) => controller.url().to_owned(),
            Self::WithCertificates { controller, .. } => controller.url().to_owned(),
            Self::OnEtcd { controllers, .. } => controllers.urls(),
        }
    }

    pub fn shown_by_agent(&self, place: usize) -> Shown {
        self.shown_by(&certificate_of(place))
    }

    pub fn shown_by_operator(&self) -> Shown {
        self.shown_by("operator-admin")
    }

    fn shown_by(&self, stem: &str) -> Shown {
        match self {
            Self::WithCertificates { certs, .. } => certs.shown_by(stem),
            _ => Shown::default(),
        }
    }
}

/// What befalls the head.
impl Stage {
    fn controller(&mut self) -> &mut Controller {
        match &mut self.head {
            Head::Alone(controller) => controller,
            _ => panic!("this run has not one controller alone"),
        }
    }

    fn etcd(&mut self) -> &mut Etcd {
        match &mut self.head {
            Head::OnEtcd { etcd, .. } => etcd,
            _ => panic!("this run has no etcd"),
        }
    }

    pub fn controller_stands_still(&mut self, lasting: Duration) {
        self.controller().signal(Signal::STOP);
        sleep(lasting);
        self.controller().signal(Signal::CONT);
    }

    /// `kill -9`, and another process on the same address and the same data.
    pub fn restart_controller_after(&mut self, pause: Duration) {
        self.controller().kill();
        sleep(pause);
        let dir = self.dir.path().to_owned();
        let Self { world, head: Head::Alone(controller), .. } = self else { unreachable!("it was there before") };
        world.hub.run(|| controller.restart(&dir));
    }

    /// The member that leads the others, which is the controllers' own, too.
    fn etcd_leader(&mut self) -> usize {
        let Self { world, head: Head::OnEtcd { etcd, .. }, .. } = self else { panic!("this run has no etcd") };
        world.hub.run(|| etcd.leader())
    }

    pub fn kill_etcd_leader(&mut self) {
        let leader = self.etcd_leader();
        self.etcd().kill(leader);
    }

    pub fn etcd_leader_stands_still(&mut self, lasting: Duration) {
        let leader = self.etcd_leader();
        self.etcd().freeze(leader);
        sleep(lasting);
        self.etcd().thaw(leader);
    }
}
