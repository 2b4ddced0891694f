//! Where the load side and what is measured meet: on loopback, or over a veth pair between two network namespaces. Loopback hands a
//! packet to its receiver within the sender's system call, and so rewards whoever wakes its neighbour seldom; a network card does not.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd,
    path::Path,
    process::Command,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{BenchError, During};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Loopback,
    Veth,
}

/// Of documentation (RFC 5737): no network has them, and only the two namespaces here see them.
const LOAD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Dropping it takes the namespaces away, and the pair with them.
pub(crate) enum Network {
    Loopback,
    Veth { load: String, gateway: String },
}

impl Network {
    /// Moves this thread, and what it starts, to where the load side is. `name` is the beginning of the namespaces' names.
    pub(crate) fn enter(kind: Kind, name: &str) -> Result<Self, BenchError> {
        if kind == Kind::Loopback {
            return Ok(Self::Loopback);
        }
        let (load, gateway) = (format!("{name}-load"), format!("{name}-gateway"));
        ip(&format!("netns add {load}"))?;
        ip(&format!("netns add {gateway}")).inspect_err(|_| remove(&load))?;
        let network = Self::Veth {
            load: load.clone(),
            gateway: gateway.clone(),
        };
        ip(&format!(
            "-n {load} link add bench type veth peer name bench netns {gateway}"
        ))?;
        for (namespace, address) in [(&load, LOAD), (&gateway, GATEWAY)] {
            ip(&format!("-n {namespace} address add {address}/30 dev bench"))?;
            ip(&format!("-n {namespace} link set bench up"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
        }
        let entrance = Path::new("/run/netns").join(&load);
        let entrance = File::open(&entrance).during(format!("opening {}", entrance.display()))?;
        move_into_link_name_space(entrance.as_fd(), Some(LinkNameSpaceType::Network))
            .during(format!("entering the network namespace {load}"))?;
        Ok(network)
    }

    /// Of the load side, where the mock upstream listens.
    pub(crate) fn load(&self) -> IpAddr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST.into(),
            Self::Veth { .. } => LOAD.into(),
        }
    }

    /// Of what is measured.
    pub(crate) fn gateway(&self) -> IpAddr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST.into(),
            Self::Veth { .. } => GATEWAY.into(),
        }
    }

    /// Starts what is measured in its place, on these cores; what comes behind is the program. The process keeps its id.
    pub(crate) fn command(&self, cores: &str) -> Command {
        let mut command = match self {
            Self::Loopback => Command::new("taskset"),
            Self::Veth { gateway, .. } => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", gateway, "taskset"]);
                command
            }
        };
        command.args(["-c", cores]).stdin(std::process::Stdio::null());
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Self::Veth { load, gateway } = self {
            remove(gateway);
            remove(load);
        }
    }
}

fn ip(arguments: &str) -> Result<(), BenchError> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.during("running ip, for --network veth (apt-get install iproute2)")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(BenchError::Usage(format!(
        "--network veth needs root and network namespaces, but `ip {arguments}` says: {}",
        said.trim()
    )))
}

fn remove(namespace: &str) {
    // What is left over hurts nobody, and has this run's name.
    let _ = ip(&format!("netns delete {namespace}"));
}
