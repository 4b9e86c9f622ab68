"""A server on this computer that behaves as servers do in the world: slow, broken off, moved, changed."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

_BLOCK = 4096


@dataclass(kw_only=True)
class Site:
    """What the server gives, and how.

    Args:
        files: content by path.
        tag: the ETag of all files; "" for none.
        ranges: whether parts of a file can be had.
        honest_ranges: whether a part is only given of the file that was asked for (If-Range).
        break_after: how many bytes come before the connection breaks, for each answer in turn; then whole ones.
        statuses: what is answered instead of the file, in turn.
        redirects: where a path leads to.
        pause_s: before each block of 4 kB.
        kind: Content-Type.
        length: whether the size is told.
        asked: the paths and headers of all requests.
        address: of the running server.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    tag: str = '"one"'
    ranges: bool = True
    honest_ranges: bool = True
    break_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    pause_s: float = 0.0
    kind: str = "application/zip"
    length: bool = True
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    address: str = ""

    def ranges_asked(self) -> list[str]:
        """The Range of each request, "" where there was none."""
        return [headers.get("range", "") for _path, headers in self.asked]


class _Handler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        site = self.site
        headers = {key.lower(): value for key, value in self.headers.items()}
        site.asked.append((self.path, headers))
        if site.statuses:
            self._empty(site.statuses.pop(0))
        elif self.path in site.redirects:
            self._empty(302, Location=site.redirects[self.path])
        elif self.path not in site.files:
            self._empty(404)
        else:
            self._give(site.files[self.path], headers)

    def _empty(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _give(self, content: bytes, headers: dict[str, str]) -> None:
        site = self.site
        wanted = re.fullmatch(r"bytes=(\d+)-", headers.get("range", "")) if site.ranges else None
        same = not site.honest_ranges or headers.get("if-range", site.tag) == site.tag
        start = int(wanted[1]) if wanted and same else 0
        if start > len(content):
            self._empty(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if site.tag:
            self.send_header("ETag", site.tag)
        self.send_header("Content-Type", site.kind)
        if site.length:
            self.send_header("Content-Length", str(len(content) - start))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        self._send(content[start:])

    def _send(self, content: bytes) -> None:
        end = self.site.break_after.pop(0) if self.site.break_after else len(content)
        for at in range(0, min(end, len(content)), _BLOCK):
            time.sleep(self.site.pause_s)
            try:
                self.wfile.write(content[at : min(at + _BLOCK, end)])
                self.wfile.flush()
            except OSError:  # the client has gone
                break
        if end < len(content) or not self.site.length:
            self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def serving(site: Site, certificate: Path | None = None) -> Iterator[Site]:
    """Run the server on a free port of this computer while the block runs; with https where it has a certificate."""
    handler = type("Handler", (_Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    name = "http://127.0.0.1"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        # The handshake in the thread of a connection: one that the other side ends must not end the server.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
        name = "https://localhost"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    site.address = f"{name}:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _ProxyHandler(BaseHTTPRequestHandler):
    """Forwards what it is asked for, and keeps the addresses."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        with build_opener(ProxyHandler({})).open(self.path) as answer:
            content = answer.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """A proxy on this computer; gives its address and the list of what it is asked for."""
    asked: list[str] = []
    handler = type("Handler", (_ProxyHandler,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
