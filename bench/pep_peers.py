# SPDX-License-Identifier: Apache-2.0
"""The proxies that bench/pep compares, and the origin behind them. Each is started with what makes it fast: no
access log, no cache, connections kept where it can."""
import contextlib
import os
import resource
import shutil
import subprocess

import common

HOST = "origin.test"
PAGE = 1024
LARGE = 1_000_000
GIB = 1 << 30
EVERYWHERE = frozenset(os.sched_getaffinity(0))


@contextlib.contextmanager
def processors(chosen):
    """What is started inside runs there."""
    os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, EVERYWHERE)


def openssl(*words):
    subprocess.run([common.tool("openssl", "openssl"), *map(str, words)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def make_certificates(folder):
    """An authority, and a certificate of the origin by it: P-256, as the PEP's own."""
    p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *p256, "-keyout", folder / "ca.key", "-out", folder / "ca.pem", "-days", 2, "-subj", "/CN=bench",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl("req", *p256, "-keyout", folder / "site.key", "-out", folder / "site.csr", "-subj", f"/CN={HOST}")
    (folder / "site.ext").write_text(f"subjectAltName=DNS:{HOST},DNS:localhost\n")
    openssl("x509", "-req", "-in", folder / "site.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
            "-CAcreateserial", "-days", 2, "-extfile", folder / "site.ext", "-out", folder / "site.pem")
    # What squid signs with: it wants RSA or EC, key and certificate in one file.
    (folder / "both.pem").write_text((folder / "ca.pem").read_text() + (folder / "ca.key").read_text())


def nginx(stack, folder, name, http, port):
    config = folder / f"{name}.conf"
    temporary = "".join(f"{kind}_temp_path {folder}/{name}-{kind}; "
                        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config.write_text(f"""
daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.log;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; open_file_cache max=10; sendfile on;
  tcp_nopush on; {temporary}
  ssl_certificate {folder}/site.pem; ssl_certificate_key {folder}/site.key; ssl_protocols TLSv1.2 TLSv1.3;
  {http}
}}
""")
    child = stack.enter_context(common.Child([common.tool("nginx", "nginx"), "-e", folder / f"{name}.log", "-c", config]))
    common.wait_for(name, lambda: common.accepts(port), child=child)
    return child


def start_origin(stack, folder):
    site = folder / "site"
    site.mkdir()
    (site / "page").write_bytes(b"p" * PAGE)
    (site / "large").write_bytes(b"l" * LARGE)
    for name, size in (("1g", GIB), ("10g", 10 * GIB)):
        with open(site / name, "wb") as file:
            file.truncate(size)
    plain, tls = common.free_port(), common.free_port()
    child = nginx(stack, folder, "origin", f"""
  server {{ listen 127.0.0.1:{plain} backlog=1024; listen 127.0.0.1:{tls} ssl backlog=1024; root {site}; }}""", plain)
    return child, plain, tls


class Way:
    """One way to the origin: where the load generator connects, and what it says."""

    def __init__(self, name, where, plain_words, tls_words, child=None):
        self.name = name
        self.where = [str(word) for word in where]
        self.plain_words = plain_words  # with the URL of a page added
        self.tls_words = tls_words
        self.child = child


def direct(folder, plain, tls):
    trust = ["--tls", HOST, "--ca", folder / "ca.pem"]
    return Way("direct", [], lambda page: ["--port", plain, "--url", page],
               lambda page: ["--port", tls, *trust, "--url", page])


def forward(name, where, plain, tls, ca, host=HOST, tls_name=None, child=None):
    """A proxy that takes absolute URLs and CONNECT."""
    return Way(name, where, lambda page: ["--url", f"http://{host}:{plain}{page}"],
               lambda page: ["--connect", f"{host}:{tls}", "--tls", tls_name or host, "--ca", ca, "--url", page], child)


def start_nginx_proxy(stack, folder, plain, tls):
    """On unix sockets, as the PEP is; one worker. It forwards to one origin whatever it is asked."""
    p, t = folder / "nginx-plain.sock", folder / "nginx-tls.sock"
    port = common.free_port()
    upstream = """proxy_http_version 1.1; proxy_set_header Connection ""; proxy_max_temp_file_size 0;"""
    child = nginx(stack, folder, "proxy", f"""
  upstream plain {{ server 127.0.0.1:{plain}; keepalive 64; keepalive_requests 100000000; }}
  upstream tls {{ server 127.0.0.1:{tls}; keepalive 64; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port}; listen unix:{p} backlog=1024; location / {{ proxy_pass http://plain; {upstream} }} }}
  server {{ listen unix:{t} ssl backlog=1024; location / {{ proxy_pass https://tls; {upstream}
    proxy_ssl_verify on; proxy_ssl_trusted_certificate {folder}/ca.pem; proxy_ssl_name {HOST};
    proxy_ssl_server_name on; }} }}""", port)
    trust = ["--tls", HOST, "--ca", folder / "ca.pem"]
    return Way("nginx", [], lambda page: ["--unix", p, "--url", page],
               lambda page: ["--unix", t, *trust, "--url", page], child)


def start_tinyproxy(stack, folder, plain):
    port = common.free_port()
    config = folder / "tinyproxy.conf"
    config.write_text(f"""
Port {port}
Listen 127.0.0.1
Timeout 600
LogLevel Critical
LogFile "{folder}/tinyproxy.log"
MaxClients 100
DisableViaHeader Yes
""")
    child = stack.enter_context(common.Child([common.tool("tinyproxy", "tinyproxy-bin"), "-d", "-c", config],
                                             stdout=subprocess.DEVNULL))
    common.wait_for("tinyproxy", lambda: common.accepts(port), child=child)
    # 1.11 closes after each answer without saying so; a request on a connection that it is about to
    # close would only waste its time.
    return forward("tinyproxy", ["--port", port, "--fresh", "yes"], plain, 0, "", host="127.0.0.1", child=child)


def start_squid(stack, folder, plain, tls):
    port = common.free_port()
    hosts, store, config = folder / "hosts", folder / "squid-certs", folder / "squid.conf"
    hosts.write_text(f"127.0.0.1 {HOST}\n")
    helper = "/usr/lib/squid/security_file_certgen"
    if not os.path.exists(helper):
        common.die(f"{helper} is missing: sudo apt-get install squid-openssl")
    subprocess.run([helper, "-c", "-s", store, "-M", "4MB"], check=True, stdout=subprocess.DEVNULL)
    config.write_text(f"""
http_port 127.0.0.1:{port} ssl-bump tls-cert={folder}/both.pem generate-host-certificates=on dynamic_cert_mem_cache_size=4MB
sslcrtd_program {helper} -s {store} -M 4MB
sslcrtd_children 1 startup=1
acl step1 at_step SslBump1
ssl_bump peek step1
ssl_bump bump all
tls_outgoing_options cafile={folder}/ca.pem
hosts_file {hosts}
http_access allow all
cache deny all
cache_mem 0
access_log none
cache_log {folder}/squid.log
coredump_dir {folder}
pid_filename none
netdb_filename none
pinger_enable off
via off
client_persistent_connections on
server_persistent_connections on
shutdown_lifetime 0 seconds
max_filedescriptors 4096
""")
    child = stack.enter_context(common.Child([common.tool("squid", "squid-openssl"), "-N", "-f", config],
                                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    common.wait_for("squid", lambda: common.accepts(port), child=child, seconds=30)
    return forward("squid", ["--port", port], plain, tls, folder / "ca.pem", child=child)


def start_mitmproxy(stack, folder, tls):
    port = common.free_port()
    settings = folder / "mitmproxy"
    child = stack.enter_context(common.Child(
        [common.tool("mitmdump", "mitmproxy"), "-q", "--listen-host", "127.0.0.1", "-p", port, "--set", f"confdir={settings}",
         "--set", f"ssl_verify_upstream_trusted_ca={folder}/ca.pem"], stdout=subprocess.DEVNULL))
    common.wait_for("mitmproxy", lambda: common.accepts(port), child=child, seconds=60)
    return forward("mitmproxy", ["--port", port], 0, tls, settings / "mitmproxy-ca-cert.pem", host="localhost", child=child)


def few_descriptors():
    """What programs usually start with."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


class Pep:
    """pinhole-pep with an audit of its own for the time of the block; records are counted at its end."""

    def __init__(self, folder, plain, tls):
        self.folder = folder
        self.plain, self.tls = plain, tls
        self.door, self.logs, self.authority = folder / "door.sock", folder / "audit", folder / "authority"
        if not self.authority.exists():
            self.authority.mkdir(mode=0o700)
            subprocess.run([common.program("pinhole-pep"), "--create-authority", self.authority, "--vm", "bench"], check=True)
            (folder / "policy.yaml").write_text(f"""version: 1
egress:
  allow: ["GET http://{HOST}:{plain}/*", "GET https://{HOST}:{tls}/*"]
internal:
  - {HOST}:{plain} -> 127.0.0.1:{plain}
  - {HOST}:{tls} -> 127.0.0.1:{tls}
ca: {{{HOST}: {folder}/ca.pem}}
limits: {{connections: 6000, response_body: 16GiB, idle: 600s}}
audit: {{bodies: size}}
""")

    def __enter__(self):
        self.door.unlink(missing_ok=True)
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir(mode=0o700)
        self.child = common.Child([common.program("pinhole-pep"), "--policy", self.folder / "policy.yaml", "--listen",
                                   f"unix:{self.door}", "--audit", self.logs / "audit.jsonl", "--authority", self.authority,
                                   "--log-level", "error"], preexec_fn=few_descriptors)
        common.wait_for("pinhole-pep", self.door.exists, child=self.child)
        return forward("pinhole-pep", ["--unix", self.door], self.plain, self.tls, self.authority / "ca.pem", child=self.child)

    def captured_words(self, page):
        """A CONNECT, and plain HTTP in it."""
        return ["--connect", f"{HOST}:{self.plain}", "--url", page]

    def records(self):
        """Each answer must have left a decision and an end."""
        count = 0
        for path in self.logs.iterdir():
            with open(path, "rb") as file:
                count += sum(1 for _ in file)
        return count

    def __exit__(self, *_):
        self.child.__exit__()
        shutil.rmtree(self.logs, ignore_errors=True)


def cpu_seconds(child):
    """Of a process, with threads; helpers of a proxy do nothing once certificates are there."""
    fields = open(f"/proc/{child.process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kb(child):
    for line in open(f"/proc/{child.process.pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0
