//! A real nginx as a shared cache before the service: it does what the answers' headers allow.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{eventually, haproxy::free_port};

/// Killed when dropped.
pub struct Nginx {
    child: Child,
    pub port: u16,
    _folder: TempDir,
}

impl Nginx {
    pub async fn start(upstream: u16) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let path = folder.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("    {kind}_temp_path {path}/{kind};\n"))
            .concat();
        let config = format!(
            "worker_processes 1; daemon off; master_process off; pid {path}/pid; error_log {path}/error;\n\
             events {{ worker_connections 256; }}\nhttp {{\n    access_log off;\n{temporary}    \
             proxy_cache_path {path}/cache keys_zone=shared:1m;\n    server {{\n        listen 127.0.0.1:{port};\n        \
             location / {{\n            proxy_pass http://127.0.0.1:{upstream};\n            proxy_cache shared;\n            \
             proxy_cache_key $uri$is_args$args;\n            proxy_http_version 1.1;\n            \
             add_header X-Shared-Cache $upstream_cache_status always;\n        }}\n    }}\n}}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).unwrap();
        let program = if fs::exists("/usr/sbin/nginx").unwrap() {
            "/usr/sbin/nginx"
        } else {
            "nginx"
        };
        let child = Command::new(program)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("nginx's start", || async move {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Self {
            child,
            port,
            _folder: folder,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
