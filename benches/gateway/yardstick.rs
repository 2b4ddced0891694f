//! What MapleAI's figures are held against in the same run, since no machine's speed stays: plain nginx as a proxy, and the least
//! that a gateway made of MapleAI's libraries does.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write, stderr},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    cases::Caching,
    error::{BenchError, During},
    gateway::{free_port, tail},
    options::Options,
    reference,
};

const START_LIMIT: Duration = Duration::from_secs(10);
/// Where Debian puts it, which is not on everybody's PATH.
const NGINX: [&str; 2] = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"];

/// A running yardstick; dropping it ends the process.
pub(crate) struct Yardstick {
    child: Child,
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) key: Option<String>,
    pub(crate) only: Option<Caching>,
    /// nginx's own files.
    _folder: Option<TempDir>,
}

impl Yardstick {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that can be had here, unless none are wanted.
    pub(crate) fn all(options: &Options, upstream: SocketAddr) -> Result<Vec<Self>, BenchError> {
        if options.no_yardsticks || options.profile {
            return Ok(Vec::new());
        }
        let nginx = Self::nginx(upstream, options.gateway_core)?;
        if nginx.is_none() {
            // Progress is a courtesy, as everywhere here.
            let _ = writeln!(
                stderr(),
                "nginx is not installed, so nothing is held against it (apt-get install nginx-light)"
            );
        }
        let reference = Self::reference(upstream, options.gateway_core)?;
        Ok(nginx.into_iter().chain([reference]).collect())
    }

    /// This program, serving `reference` on the gateway's core.
    fn reference(upstream: SocketAddr, core: usize) -> Result<Self, BenchError> {
        let program = std::env::current_exe().during("finding this program")?;
        let mut child = on_core(core)
            .arg(program)
            .args(["--serve-reference", &upstream.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .during("starting the reference proxy")?;
        let mut line = String::new();
        if let Some(said) = child.stdout.take() {
            BufReader::new(said)
                .read_line(&mut line)
                .during("the reference proxy")?;
        }
        let address = line.trim().parse().map_err(|_| {
            let _ = child.kill();
            BenchError::Usage("the reference proxy did not say its address".to_owned())
        })?;
        Ok(Self {
            child,
            name: "reference",
            address,
            key: Some(reference::KEY.to_owned()),
            // It has no cache.
            only: Some(Caching::Bypass),
            _folder: None,
        })
    }

    /// nginx as a proxy with one process and kept connections; none where it is not installed.
    fn nginx(upstream: SocketAddr, core: usize) -> Result<Option<Self>, BenchError> {
        let Some(program) = NGINX.into_iter().find(|path| Path::new(path).exists()) else {
            return Ok(None);
        };
        let folder = tempfile::tempdir().during("a folder for nginx")?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().during("looking for a free port")?));
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration(folder.path(), address, upstream)).during("configuring nginx")?;
        let log = folder.path().join("log");
        let output = File::create(&log).during("nginx's log")?;
        let child = on_core(core)
            .arg(program)
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .stderr(output)
            .spawn()
            .during("starting nginx")?;
        let mut nginx = Self {
            child,
            name: "nginx",
            address,
            key: None,
            only: None,
            _folder: Some(folder),
        };
        let limit = Instant::now() + START_LIMIT;
        while TcpStream::connect(address).is_err() {
            if nginx.child.try_wait().during("waiting for nginx")?.is_some() || Instant::now() > limit {
                return Err(BenchError::Usage(format!("nginx does not listen: {}", tail(&log))));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(nginx))
    }
}

impl Drop for Yardstick {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn on_core(core: usize) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).stdin(Stdio::null());
    command
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
