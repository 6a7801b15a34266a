"""A model hub on loopback that speaks what the hub's library asks of it: real HTTP, real redirects, real ranges.

Files are answered as the hub does: HEAD and GET of /REPO/resolve/REVISION/FILE with commit, etag and size; large ones
redirect to another path, as to a content network. Faults are switched on by attributes.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE_BYTES = 100_000
TOKEN = "hf_test_token"


@dataclass
class Hub:
    """What it holds and how it misbehaves."""

    repos: dict[str, dict[str, bytes]]
    gated: set[str] = field(default_factory=set)
    granted: set[str] = field(default_factory=lambda: {TOKEN})
    break_after: list[int] = field(default_factory=list)
    """Bytes after which each coming GET of a large file breaks off; then they run through."""
    fail: list[int] = field(default_factory=list)
    """Statuses of the coming GETs of a large file."""
    flip: bool = False
    """Send one wrong byte in large files."""
    answer: int | None = None
    """Answer everything with this status."""
    ignore_range: bool = False
    no_commit: bool = False
    etags: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """(method, path, Range) of each."""
    stall_at: int | None = None
    """After so many bytes of a large file wait for `go_on`."""
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    leaked: bool = False
    """Whether a token reached the content network, which is another host."""
    url: str = ""

    def n_sent(self, name: str) -> list[str]:
        """The Range of every GET of a file's bytes."""
        return [asked for method, path, asked in self.requests if method == "GET" and path.endswith(name)]


def etag_of(data: bytes) -> str:
    """As the hub: sha256 of large files, the git blob's hash of small ones."""
    if len(data) >= LARGE_BYTES:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_GET(self) -> None:
        self._serve(body=True)

    def _refuse(self, status: int, code: str = "", message: str = "") -> None:
        self.send_response(status)
        for name, value in (("X-Error-Code", code), ("X-Error-Message", message), ("Content-Length", "0")):
            if value:
                self.send_header(name, value)
        self.end_headers()

    def _serve(self, *, body: bool) -> None:
        hub = self.hub
        hub.requests.append((self.command, self.path, self.headers.get("Range", "")))
        if hub.answer is not None:
            return self._refuse(hub.answer)
        parts = self.path.strip("/").split("/")
        if parts[0] == "cdn":
            hub.leaked |= "Authorization" in self.headers
            if body and hub.fail:
                return self._refuse(hub.fail.pop(0))
            return self._send(hub.repos["/".join(parts[1:-1])][parts[-1]], "", body=body)
        at = parts.index("resolve")
        repo, name = "/".join(parts[:at]), parts[at + 2]
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token != TOKEN and token not in hub.granted and not token.startswith("hf_other"):
            return self._refuse(401, "", "Invalid credentials in Authorization header")
        if repo not in hub.repos:
            return self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        if repo in hub.gated and token not in hub.granted:
            return self._refuse(403 if token else 401, "GatedRepo", "Access is restricted")
        if name not in hub.repos[repo]:
            return self._refuse(404, "EntryNotFound", "Entry not found")
        data = hub.repos[repo][name]
        etag = hub.etags.get(name, etag_of(data))
        if len(data) < LARGE_BYTES:
            return self._send(data, etag, body=body)
        self.send_response(302)
        if not hub.no_commit:
            self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Etag", f'"{etag}"')
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("Location", f"{hub.url.replace('127.0.0.1', 'localhost')}/cdn/{repo}/{name}")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _send(self, data: bytes, etag: str, *, body: bool) -> None:
        hub, total = self.hub, len(data)
        large = total >= LARGE_BYTES
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        partial = "Range" in self.headers and not hub.ignore_range
        data = data[start:] if partial else data
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if not hub.no_commit:
            self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not body:
            return
        if large and hub.flip:
            data = bytes([data[0] ^ 1]) + data[1:]
        if large and hub.break_after:
            self.wfile.write(data[: hub.break_after.pop(0)])
            self.close_connection = True
            return
        if large and hub.stall_at is not None and self.path.endswith("checkpoint.pt"):
            self.wfile.write(data[: hub.stall_at])
            hub.stalled.set()
            hub.go_on.wait(60)
            data = data[hub.stall_at :]
        self.wfile.write(data)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub, for as long as the block runs, at `hub.url`."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def repo_of(folder: Path) -> dict[str, bytes]:
    """A folder's files, as a repository."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
