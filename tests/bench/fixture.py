"""What the bench measures: a gateway's own binary before a backend, with an identity provider that says yes."""

import base64
import hashlib
import http.client
import http.server
import itertools
import json
import os
import platform
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REDIRECT = "http://127.0.0.1:9/callback"


class Provider(http.server.BaseHTTPRequestHandler):
    """An identity provider that says yes, each time about another user."""

    protocol_version = "HTTP/1.1"
    # It writes head and body apart: else each answer waits 40 ms for the acknowledgement of its head.
    disable_nagle_algorithm = True
    users = itertools.count(1)

    def log_message(self, *_):
        pass

    def answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer({"id": next(self.users), "login": "bench"})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer({"access_token": "upstream", "token_type": "bearer"})


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")


def build(profile):
    """Builds everything as the images are built: static, with musl, whose allocator and memcpy cost more than glibc's."""
    if not shutil.which("musl-gcc"):
        sys.exit("musl-gcc is missing: apt-get install musl-tools")
    target = f"{platform.machine()}-unknown-linux-musl"
    command = ["cargo", "build", "--quiet", "--locked", "--profile", profile, "--target", target, "--bins"]
    subprocess.run(command + ["-p", "gatehouse-gateway", "-p", "bench"], cwd=ROOT, check=True)
    built = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    return os.path.join(built, target, "debug" if profile == "dev" else profile)


def key():
    return base64.b64encode(secrets.token_bytes(32)).decode()


def write_gateway_files(directory, port, backend, provider, redis):
    ring = lambda: [{"id": 1, "key": key()}]
    keyring = {"instance": "bench" + secrets.token_hex(4), "user": key()}
    keyring |= {name: ring() for name in ("credential", "client", "record", "session")}
    identity = {
        "provider": "GitHub",
        "authorizationUrl": f"{provider}/authorize",
        "tokenUrl": f"{provider}/token",
        "userInfo": {"url": f"{provider}/user", "subject": "/id", "name": "/login"},
        "clientId": "bench",
        "clientSecret": {"name": "idp", "key": "secret"},
    }
    server = {
        "namespace": "bench",
        "name": "bench",
        "url": f"http://127.0.0.1:{port}/mcp",
        "issuer": f"http://127.0.0.1:{port}",
        "identity": {"oauth2": identity},
        "access": {"allow": "everyone"},
        "credentials": [{"name": "me", "kind": "fromIdentity"}],
        "backends": [
            {
                "name": "bench",
                "target": {"url": f"http://{backend}/mcp"},
                "inject": [{"credential": "me", "header": "Authorization", "format": "Bearer {token}"}],
            }
        ],
    }
    config = {"egress": {"allow": ["127.0.0.0/8"]}, "trustedProxies": ["127.0.0.0/8"], "servers": [server]}
    config["redis"] = {"url": redis}
    os.makedirs(f"{directory}/refs/secret/idp")
    for name, text in (
        ("config.json", json.dumps(config)),
        ("keyring.json", json.dumps(keyring)),
        ("refs/secret/idp/secret", "secret"),
    ):
        with open(f"{directory}/{name}", "w") as file:
            file.write(text)


class Redis:
    """A redis-server of the bench's own, spoken to in the few words that it needs."""

    def __init__(self, directory):
        if not shutil.which("redis-server"):
            sys.exit("redis-server is missing: tests/run --install redis")
        self.port = free_port()
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir", directory]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for(self.port)
        self.file = socket.create_connection(("127.0.0.1", self.port)).makefile("rwb")

    def run(self, command):
        """Answers of one line, and bulk strings."""
        self.file.write(command.encode() + b"\r\n")
        self.file.flush()
        line = self.file.readline().decode().strip()
        if line.startswith("$"):
            return self.file.read(int(line[1:]) + 2).decode()
        return line[1:]

    def info(self, section, field):
        return int(re.search(rf"^{field}:(\d+)", self.run(f"INFO {section}"), re.MULTILINE).group(1))

    def scripts(self):
        """How many scripts it has run."""
        found = re.findall(r"^cmdstat_eval(?:sha)?:calls=(\d+)", self.run("INFO commandstats"), re.MULTILINE)
        return sum(map(int, found))


class SignIn:
    """One client and one user's browser, from an address of their own, through a whole sign-in."""

    addresses = itertools.count(1)

    def __init__(self, port):
        self.issuer = f"http://127.0.0.1:{port}"
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        n = next(self.addresses)
        # Its network, too, is its own.
        self.address = f"10.{n >> 8 & 255}.{n & 255}.{1 + (n >> 16)}"
        self.cookies = {}
        self.seconds = 0.0

    def ask(self, method, url, body=None, kind=None, expect=200):
        parts = urllib.parse.urlsplit(url)
        headers = {"X-Forwarded-For": self.address}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if kind:
            headers["Content-Type"] = kind
        started = time.perf_counter()
        self.http.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, headers)
        answer = self.http.getresponse()
        text = answer.read().decode()
        self.seconds += time.perf_counter() - started
        if answer.status != expect:
            sys.exit(f"{method} {parts.path}: {answer.status} {text}")
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                cookie, _, content = value.split(";")[0].partition("=")
                self.cookies[cookie] = content
        return text, answer.headers

    def register(self):
        metadata = {"redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none", "client_name": "bench"}
        body = json.dumps(metadata)
        self.client = json.loads(self.ask("POST", "/oauth/register", body, "application/json", 201)[0])["client_id"]

    def authorize(self):
        """Up to the code."""
        self.verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.client,
            "redirect_uri": REDIRECT,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "state": "s",
        }
        page, _ = self.ask("GET", f"/oauth/authorize?{urllib.parse.urlencode(query)}")
        links = re.findall(r'href="([^"]*/oauth/authorize/approve[^"]*)"', page)
        link = next(link for link in links if "deny" not in link).replace("&amp;", "&").replace("&#38;", "&")
        _, headers = self.ask("GET", urllib.parse.urljoin(self.issuer, link), expect=303)
        state = urllib.parse.parse_qs(urllib.parse.urlsplit(headers["Location"]).query)["state"][0]
        back = urllib.parse.urlencode({"code": "c", "state": state})
        _, headers = self.ask("GET", f"/oauth/callback?{back}", expect=303)
        self.code = urllib.parse.parse_qs(urllib.parse.urlsplit(headers["Location"]).query)["code"][0]

    def token(self, **grant):
        form = urllib.parse.urlencode({"client_id": self.client} | grant)
        self.tokens = json.loads(self.ask("POST", "/oauth/token", form, "application/x-www-form-urlencoded")[0])

    def redeem(self):
        self.token(grant_type="authorization_code", code=self.code, redirect_uri=REDIRECT, code_verifier=self.verifier)

    def refresh(self):
        self.token(grant_type="refresh_token", refresh_token=self.tokens["refresh_token"])

    def whole(self):
        self.ask("GET", "/.well-known/oauth-protected-resource/mcp")
        self.ask("GET", "/.well-known/oauth-authorization-server")
        self.register()
        self.authorize()
        self.redeem()
        return self


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))
