//! What MapleAI's figures are held against in the same run, since no machine's speed stays: plain nginx as a proxy, and the least
//! that a gateway made of MapleAI's libraries does.

use std::{
    fs,
    io::{Write, stderr},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    cases::Caching,
    error::{BenchError, During},
    gateway::{free_port, stop},
    network::Network,
    options::Options,
};

/// The one key that the reference proxy knows.
const REFERENCE_KEY: &str = "mk_reference_0123456789abcdefghijklmnopqrstuvwxyz";

const START_LIMIT: Duration = Duration::from_secs(10);
/// Where distributions put it, which is not on everybody's PATH.
const NGINX: [&str; 3] = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"];

/// A running yardstick; dropping it ends the process.
pub(crate) struct Yardstick {
    child: Child,
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) key: Option<String>,
    pub(crate) only: Option<Caching>,
    /// nginx's own files, which go when it does.
    folder: Option<TempDir>,
}

impl Yardstick {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that can be had here, unless none are wanted.
    pub(crate) fn all(options: &Options, network: &Network, upstream: SocketAddr) -> Result<Vec<Self>, BenchError> {
        if options.no_yardsticks || options.profile {
            return Ok(Vec::new());
        }
        // Progress is a courtesy, as everywhere here.
        let missing = |text: &str| drop(writeln!(stderr(), "{text}"));
        let nginx = match NGINX.into_iter().find(|path| Path::new(path).exists()) {
            // Two of its workers would be processes of their own, whose figures the kernel keeps apart.
            Some(_) if options.workers() > 1 => None,
            Some(program) => Some(Self::nginx(program, options, network, upstream)?),
            None => {
                missing("nginx is not installed, so nothing is held against it (apt-get install nginx-light)");
                None
            }
        };
        let reference = if let Some(program) = &options.reference_bin {
            Some(Self::reference(program, options, network, upstream)?)
        } else {
            missing("no --reference-bin is given, so nothing is held against the reference proxy");
            None
        };
        Ok(nginx.into_iter().chain(reference).collect())
    }

    fn reference(
        program: &Path,
        options: &Options,
        network: &Network,
        upstream: SocketAddr,
    ) -> Result<Self, BenchError> {
        let address = free_address(network)?;
        let mut command = network.command(&options.measured_cores());
        command
            .arg(program)
            .args([&address.to_string(), &upstream.to_string(), REFERENCE_KEY])
            .env("TOKIO_WORKER_THREADS", options.workers.to_string());
        // It has no cache.
        let only = Some(Caching::Bypass);
        Self::start("reference", command, address, (Some(REFERENCE_KEY.to_owned()), only))
    }

    /// nginx as a proxy with one process and kept connections.
    fn nginx(program: &str, options: &Options, network: &Network, upstream: SocketAddr) -> Result<Self, BenchError> {
        let address = free_address(network)?;
        let folder = tempfile::tempdir().during("a folder for nginx")?;
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration(folder.path(), address, upstream)).during("configuring nginx")?;
        let mut command = network.command(&options.measured_cores());
        command.arg(program).arg("-p").arg(folder.path()).arg("-c").arg(&file);
        let mut nginx = Self::start("nginx", command, address, (None, None))?;
        nginx.folder = Some(folder);
        Ok(nginx)
    }

    /// Starts it, and waits until it listens. What it has to complain about goes where the bench's own complaints go.
    fn start(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        (key, only): (Option<String>, Option<Caching>),
    ) -> Result<Self, BenchError> {
        let child = command.spawn().during(format!("starting {name}"))?;
        let mut started = Self {
            child,
            name,
            address,
            key,
            only,
            folder: None,
        };
        let limit = Instant::now() + START_LIMIT;
        while TcpStream::connect(address).is_err() {
            let ended = started.child.try_wait().during(format!("waiting for {name}"))?;
            if ended.is_some() || Instant::now() > limit {
                return Err(BenchError::Usage(format!("{name} does not listen at {address}")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(started)
    }
}

impl Drop for Yardstick {
    fn drop(&mut self) {
        stop(&mut self.child);
        drop(self.folder.take());
    }
}

fn free_address(network: &Network) -> Result<SocketAddr, BenchError> {
    let port = free_port().during("looking for a free port")?;
    Ok(SocketAddr::from((network.gateway(), port)))
}

/// One process, which the kernel's figures are then read of; nothing is gathered before it is passed on.
fn configuration(folder: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off;\nmaster_process off;\nerror_log stderr;\npid {folder}/pid;\nevents {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {folder};\n  proxy_temp_path {folder};\n  \
         fastcgi_temp_path {folder};\n  uwsgi_temp_path {folder};\n  scgi_temp_path {folder};\n  \
         keepalive_requests 100000000;\n  upstream mock {{ server {upstream}; keepalive 256; keepalive_requests 100000000; }}\n  \
         server {{\n    listen {address};\n    location / {{\n      proxy_pass http://mock;\n      proxy_http_version 1.1;\n      \
         proxy_set_header Connection \"\";\n      proxy_buffering off;\n    }}\n  }}\n}}\n"
    )
}
