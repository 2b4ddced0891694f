"""The stage of a rehearsal: HAProxy with weights, Prometheus that scrapes both versions, and the versions themselves."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess

import service
from upstream import serve

NAMESPACE = "production"
STABLE, CANDIDATE = "stable", "candidate"
# Prometheus' own, in the PodMonitor.
SCRAPE_SECONDS = 15

HAPROXY = """\
global
    stats socket {folder}/haproxy.sock mode 600 level admin
    maxconn 2000
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout check 2s
    retries 0
frontend callers
    bind 127.0.0.1:{port}
    default_backend versions
backend versions
    balance roundrobin
    option httpchk GET /api/ready
    http-response set-header X-Server %s
    default-server inter 500ms fall 1 rise 1
    server stable 127.0.0.1:{stable} check weight 100
    server candidate 127.0.0.1:{candidate} check weight 0
"""

PROMETHEUS = """\
global:
  scrape_interval: {milliseconds}ms
  scrape_timeout: {milliseconds}ms
scrape_configs:
  - job_name: mapleai-app
    static_configs:
      - targets: ["127.0.0.1:{stable}"]
        labels: {{namespace: {namespace}, rollouts_pod_template_hash: stable}}
      - targets: ["127.0.0.1:{candidate}"]
        labels: {{namespace: {namespace}, rollouts_pod_template_hash: candidate}}
"""


class Version:
    """A build of the service, with an upstream of its own."""

    def __init__(self, name, binary, folder, database):
        self.name, self.binary, self.folder, self.database = name, binary, folder, database
        self.port, self.ops = service.free_port(), service.free_port()
        self.process = self.upstream = None

    def start(self, database=None, **faults):
        self.upstream = serve(service.free_port(), **faults)
        self.variables = service.settings(
            self.port,
            self.ops,
            database or self.database,
            self.upstream.server_address[1],
            MAPLE__USAGE__JOURNAL_DIR=str(self.folder / f"journal-{self.name}"),
            MAPLE__SERVER__DRAIN_DELAY="1s",
            MAPLE__SERVER__DRAIN_TIMEOUT="10s",
            MAPLE__DATABASE__MAX_CONNECTIONS="10",
        )
        self.launch()

    def launch(self):
        log = open(self.folder / f"{self.name}.log", "ab")  # noqa: SIM115 - the process's own
        self.process = service.start(self.binary, self.variables, log)

    def is_ready(self):
        return self.process.poll() is None and service.is_ready(self.port)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
        if self.upstream:
            self.upstream.shutdown()
            self.upstream.server_close()
        self.process = self.upstream = None


class Stage:
    def __init__(self, folder, stable, candidate, database, factor):
        self.folder, self.factor = pathlib.Path(folder), factor
        self.stable = Version(STABLE, stable, self.folder, database)
        self.candidate = Version(CANDIDATE, candidate, self.folder, database)
        self.port, self.prometheus_port = service.free_port(), service.free_port()
        self.processes = []

    def __enter__(self):
        try:
            self.set_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def set_up(self):
        service.run(
            self.candidate.binary,
            "migrate",
            service.settings(0, service.free_port(), self.candidate.database, 1),
        )
        self.stable.start()
        service.wait_until("the stable version", self.stable.is_ready)
        ports = {"stable": self.stable.port, "candidate": self.candidate.port}
        (self.folder / "haproxy.cfg").write_text(HAPROXY.format(folder=self.folder, port=self.port, **ports))
        self.spawn(shutil.which("haproxy") or "/usr/sbin/haproxy", "-db", "-f", str(self.folder / "haproxy.cfg"))
        (self.folder / "prometheus.yml").write_text(
            PROMETHEUS.format(
                milliseconds=int(SCRAPE_SECONDS * 1000 / self.factor),
                namespace=NAMESPACE,
                stable=self.stable.ops,
                candidate=self.candidate.ops,
            )
        )
        self.spawn(
            "prometheus",
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{self.prometheus_port}",
            "--log.level=warn",
        )
        service.wait_until("HAProxy", lambda: service.is_ready(self.port))
        service.wait_until("Prometheus", lambda: self.answers(self.prometheus_port, "/-/ready"))

    def spawn(self, *command):
        log = open(self.folder / f"{os.path.basename(command[0])}.log", "ab")  # noqa: SIM115 - the process's own
        self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def answers(self, port, path):
        try:
            return service.call(port, "GET", path)[0] == 200
        except OSError:
            return False

    def __exit__(self, *_):
        self.candidate.stop()
        self.stable.stop()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def weigh(self, candidate):
        """So many per cent of the traffic to the candidate."""
        # The one that gets more first, so that no moment has nobody.
        weights = [("candidate", candidate), ("stable", 100 - candidate)]
        for server, weight in sorted(weights, key=lambda pair: -pair[1]):
            self.haproxy(f"set server versions/{server} weight {weight}")

    def haproxy(self, command):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(5)
            control.connect(str(self.folder / "haproxy.sock"))
            control.sendall(command.encode() + b"\n")
            answer = control.recv(4096).decode().strip()
        assert not answer, f"{command}: {answer}"

    def balancer_sees(self, name, up):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(5)
            control.connect(str(self.folder / "haproxy.sock"))
            control.sendall(b"show stat\n")
            text = b""
            while part := control.recv(65536):
                text += part
        line = next(line for line in text.decode().splitlines() if line.startswith(f"versions,{name},"))
        return line.split(",")[17].startswith("UP") is up

    def rewrite(self, address):
        """What a cluster's names stand for here."""
        return address.replace(
            "http://prometheus-operated.monitoring.svc.cluster.local:9090", f"http://127.0.0.1:{self.prometheus_port}"
        ).replace(f"http://mapleai-preview.{NAMESPACE}.svc.cluster.local:9464", f"http://127.0.0.1:{self.candidate.ops}")
