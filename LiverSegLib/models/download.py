"""Files from the network: resumed, checked, stopped within a second. No other file of LiverSeg speaks to a network.

A thread opens the address and hands on what comes, so that whoever waits can stop at any moment, also while a name is
looked up or a server is silent. The thread keeps nothing and writes nothing; left alone it ends by its time-out.

Python's own urllib is used because it asks the system for its proxies and its certificates, also those that a hospital
has added; other libraries bring a list of certificates of their own.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib
import json
import os
import queue
import re
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from LiverSegLib import __version__
from LiverSegLib.errors import ModelError
from LiverSegLib.io.atomic import told
from LiverSegLib.models.address import check_address
from LiverSegLib.models.archive import MAX_BYTES
from LiverSegLib.models.text import one_line
from LiverSegLib.models.transfer import Watch

_BLOCK = 1 << 18
_POLL_S = 0.1
_MOST_REDIRECTS = 10
_MOST_ATTEMPTS = 100
_LONGEST_PAUSE_S = 60.0
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""What a server says that is busy for the moment."""
_NO_SUCH_RANGE = 416
_OTHER_WAY = "fetch it in a browser or on another computer and add the file (liverseg models add FILE)"
_REASONS = {
    401: "the server wants a login",
    403: "the server does not allow it",
    404: "the file is not there any more",
    407: "the proxy wants a login, which can stand in HTTPS_PROXY as http://name:password@proxy:port",
    410: "the file is not there any more",
    451: "the server may not give it away",
}


@dataclass(frozen=True)
class Patience:
    """How long a server may be silent.

    Args:
        timeout_s: without a byte, in seconds.
        pauses_s: before each further attempt; they begin anew once anything more has come.
    """

    timeout_s: float = 30.0
    pauses_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 15.0)


class _TemporaryError(Exception):
    """It may go better the next time; the text ends a sentence.

    Args:
        reason: the text.
        pause_s: what the server asks to wait for, in seconds.
        anew: what is here is of no use; the whole file is to be fetched.
    """

    def __init__(self, reason: str, *, pause_s: float = 0.0, anew: bool = False) -> None:
        super().__init__(reason)
        self.pause_s = min(pause_s, _LONGEST_PAUSE_S)
        self.anew = anew


def download(
    url: str,
    target: Path,
    *,
    watch: Watch,
    checksum: str = "",
    check_size: Callable[[int], None] | None = None,
    patience: Patience | None = None,
) -> str:
    """Fetch a file.

    What is there of an earlier attempt, as `target` with .part behind it, is taken up again where the server still has
    the same file; else it is fetched anew.

    Args:
        url: https, or http on this computer.
        target: where to; replaced once the whole file is there and right.
        watch: told of each block.
        checksum: "sha256:..." or "sha1:..." in hexadecimal digits; "" where nobody knows it.
        check_size: called with the bytes of the whole file, 0 where nobody knows, before they are fetched; what it
            raises ends the work.
        patience: how long the server may be silent.

    Returns:
        The file's SHA-256.

    Raises:
        ModelError: it cannot be had, or is not what it should be.
        OutputError: it cannot be written.
        InstallCancelled: the caller wants to stop; the part is kept.
    """
    check_address(url)
    part = _Part(target, url, resumable=bool(checksum), check_size=check_size or _anything)
    while True:
        resumed = part.size > 0
        _fetch(part, watch, patience or Patience())
        sha256, found = _digests(part.path, checksum, watch)
        if not checksum or found == checksum.lower():
            part.finish(target)
            return sha256
        part.clear()
        if not resumed:  # else the two halves may be of two files
            raise ModelError(
                f"The file at {url} has a wrong checksum: it is damaged or was replaced; nothing was installed. Try it "
                "again later, or tell those who keep the catalogue."
            )


def _anything(_bytes: int) -> None:
    """Any size will do."""


def _digests(path: Path, checksum: str, watch: Watch) -> tuple[str, str]:
    """SHA-256 of a file, and the checksum of the kind that is wanted."""
    kind = checksum.partition(":")[0] or "sha256"
    sums = {name: hashlib.new(name, usedforsecurity=False) for name in {"sha256", kind}}
    total, done = path.stat().st_size, 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            for one in sums.values():
                one.update(block)
            done += len(block)
            watch.report("check", done, total)
    return sums["sha256"].hexdigest(), f"{kind}:{sums[kind].hexdigest()}"


@dataclass
class _Known:
    """What is known of the file of which a part is here."""

    url: str = ""
    validator: str = ""
    total: int = 0


class _Part:
    """The part of a file that is here already, and what is known of the whole."""

    def __init__(self, target: Path, url: str, *, resumable: bool, check_size: Callable[[int], None]) -> None:
        self.url, self.check_size = url, check_size
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        self.known = self._read()
        if self.known.url != url or not (resumable or self.known.validator):
            self.clear()
            self.known.url = url

    def _read(self) -> _Known:
        try:
            found = json.loads(self._note.read_text(encoding="utf-8"))
            return _Known(str(found["url"]), str(found["validator"]), int(found["total"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return _Known()

    @property
    def size(self) -> int:
        """Bytes that are here."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def clear(self) -> None:
        """Begin anew."""
        with told(self.path):
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)
        self.known = _Known(self.known.url)

    def note(self, validator: str, total: int) -> None:
        """Keep what the server tells of the file."""
        self.known = _Known(self.known.url, validator, total)
        with told(self._note):
            self._note.write_text(json.dumps(asdict(self.known)), encoding="utf-8")

    def finish(self, target: Path) -> None:
        """The whole file is here and right."""
        with told(target):
            self.path.replace(target)
            self._note.unlink(missing_ok=True)


def _fetch(part: _Part, watch: Watch, patience: Patience) -> None:
    """All of the file into its part, with as many attempts as make sense."""
    failures = 0
    for _attempt in range(_MOST_ATTEMPTS):
        before = part.size
        try:
            _attempt_once(part, watch, patience.timeout_s)
            return
        except _TemporaryError as error:
            failures = 1 if part.size > before else failures + 1
            if error.anew:
                part.clear()
            if failures > len(patience.pauses_s):
                reason = str(error)
                break
            _pause(max(patience.pauses_s[failures - 1], error.pause_s), part, watch)
    else:
        reason = "the connection broke too often"
    host = urlsplit(part.url).hostname
    raise ModelError(
        f"{part.url} could not be fetched: {reason}. Check the connection, the proxy, and that {host} is not blocked; "
        f"what came is kept for the next attempt. Or {_OTHER_WAY}."
    )


def _pause(seconds: float, part: _Part, watch: Watch) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        watch.report("download", part.size, part.known.total)
        time.sleep(min(_POLL_S, seconds))


def _attempt_once(part: _Part, watch: Watch, timeout_s: float) -> None:
    """Ask for what is missing, and write what comes."""
    url = part.url
    headers = {"User-Agent": f"LiverSeg/{__version__}", "Accept-Encoding": "identity"}
    size = part.size
    if size and part.known.total == size:
        return
    if size:
        headers["Range"] = f"bytes={size}-"
        # A weak tag only says that files mean the same, not that their bytes are.
        if part.known.validator:
            headers["If-Range"] = part.known.validator
    watch.report("download", size, part.known.total)
    with _connection(url, headers, timeout_s, watch) as (head, blocks):
        if head.is_page:
            raise ModelError(f"{url} gives a web page instead of a model, as a login or a proxy does; {_OTHER_WAY}.")
        total = head.whole_size
        if total > MAX_BYTES:
            raise ModelError(f"{url} has {total / 1e9:.1f} GB, more than any model; it is not fetched.")
        if not _continues(head, part):
            part.clear()
        part.check_size(total)
        part.note(head.validator, total)
        _write(blocks, part, watch)
    if part.size < part.known.total:
        raise _TemporaryError("the connection broke")
    if part.known.total and part.size > part.known.total:
        raise _TemporaryError("the server sent more than there is", anew=True)


def _continues(head: _Head, part: _Part) -> bool:
    """Whether what comes belongs behind what is here."""
    if head.status != 206:
        return False
    same = not part.known.validator or head.validator in ("", part.known.validator)
    same &= not part.known.total or head.whole_size in (0, part.known.total)
    if head.start != part.size or not same:
        raise _TemporaryError("the server has another file by now", anew=True)
    return True


def _write(blocks: Iterator[bytes], part: _Part, watch: Watch) -> None:
    done = part.size
    with told(part.path), part.path.open("ab") as file:
        for block in blocks:
            file.write(block)
            done += len(block)
            if done > MAX_BYTES:
                raise ModelError(f"{part.url} has more bytes than any model; it is not fetched.")
            watch.report("download", done, part.known.total)
        file.flush()
        os.fsync(file.fileno())


@dataclass(frozen=True)
class _Head:
    """The beginning of an answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def validator(self) -> str:
        """A strong tag, else the date of change."""
        tag = self.headers.get("etag", "")
        return tag if tag and not tag.startswith("W/") else self.headers.get("last-modified", "")

    @property
    def start(self) -> int:
        """Where in the file what comes begins; -1 where that is not told."""
        match = re.match(r"bytes (\d{1,15})-", self.headers.get("content-range", ""))
        return int(match[1]) if match else -1

    @property
    def whole_size(self) -> int:
        """Bytes of the whole file; 0 where that is not told."""
        text = self.headers.get("content-length", "")
        if self.status != 200:
            text = self.headers.get("content-range", "").rpartition("/")[2]
        return int(text) if re.fullmatch(r"\d{1,15}", text) else 0

    @property
    def is_page(self) -> bool:
        """Whether it is for the eyes of a person."""
        return self.headers.get("content-type", "").startswith(("text/html", "application/xhtml"))


@contextmanager
def _connection(
    url: str, headers: dict[str, str], timeout_s: float, watch: Watch
) -> Iterator[tuple[_Head, Iterator[bytes]]]:
    """Ask for `url` in a thread of its own; gives the head and the blocks that come."""
    handed: queue.Queue[Any] = queue.Queue(maxsize=8)
    left = threading.Event()

    def put(what: Any) -> None:
        while not left.is_set():
            with suppress(queue.Full):
                handed.put(what, timeout=_POLL_S)
                return
        raise _LeftAloneError

    def get() -> Any:
        while True:
            watch.check()
            with suppress(queue.Empty):
                found = handed.get(timeout=_POLL_S)
                if isinstance(found, Exception):
                    raise found
                return found

    def blocks() -> Iterator[bytes]:
        while block := get():
            yield block

    thread = threading.Thread(target=_serve, args=(url, headers, timeout_s, put), daemon=True, name="download")
    thread.start()
    try:
        yield get(), blocks()
    finally:
        left.set()


class _LeftAloneError(Exception):
    """Nobody waits for what comes."""


def _serve(url: str, headers: dict[str, str], timeout_s: float, put: Callable[[Any], None]) -> None:
    """In its thread: hand on the head, the blocks, b"" at the end, or what went wrong."""
    with suppress(_LeftAloneError):
        try:
            with _opened(url, headers, timeout_s) as response:
                put(_Head(response.status, {key.lower(): text for key, text in response.headers.items()}))
                while block := response.read1(_BLOCK):
                    put(block)
            put(b"")
        except _LeftAloneError:
            raise
        except (OSError, http.client.HTTPException, ValueError, ModelError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            put(_refusal(url, error))
        except Exception as error:  # the caller must not wait for a thread that has ended
            put(error)


def _refusal(url: str, error: Exception) -> Exception:
    """What the caller is told of a failure: to try it again, or a sentence."""
    if isinstance(error, ModelError):
        return error
    if isinstance(error, urllib.error.HTTPError):
        reason = _REASONS.get(error.code, f"the server answers {error.code} {one_line(error.reason, 100)}")
        if error.code in _AGAIN or error.code == _NO_SUCH_RANGE:
            wait = error.headers.get("Retry-After", "") if error.headers else ""
            seconds = float(wait) if re.fullmatch(r"\d{1,6}", wait) else 0.0
            return _TemporaryError(reason, pause_s=seconds, anew=error.code == _NO_SUCH_RANGE)
        return ModelError(f"{url} could not be fetched: {reason}. You can also {_OTHER_WAY}.")
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = one_line(cause.verify_message, 100)
        return ModelError(
            f"{url} could not be fetched: its certificate is not trusted ({reason}). Where a "
            "proxy looks into connections, name its certificate in the environment variable SSL_CERT_FILE; or "
            f"{_OTHER_WAY}."
        )
    if isinstance(cause, TimeoutError):
        return _TemporaryError("the server does not answer")
    return _TemporaryError(one_line(getattr(cause, "strerror", None) or cause or type(cause).__name__, 200))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to addresses that could have been asked for at first, and from https never to http."""

    max_redirections = _MOST_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The next request; a ModelError where the address is none to be asked."""
        try:
            check_address(newurl)
            if req.type == "https" and not newurl.startswith("https:"):
                raise ModelError(f"{req.full_url} leads on to {one_line(newurl, 200)}, which is not safe.")
        except ModelError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opened(url: str, headers: dict[str, str], timeout_s: float) -> http.client.HTTPResponse:
    """The answer of a server; of all that urllib could open only what is on the network."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=_certificates()),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    opener.addheaders = []
    return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout_s)


def _certificates() -> ssl.SSLContext:
    """Those of the system, or of SSL_CERT_FILE; those of certifi where the system has none."""
    context = ssl.create_default_context()
    places = ssl.get_default_verify_paths()
    if not context.cert_store_stats()["x509_ca"] and places.capath is None:
        with suppress(ImportError, OSError):
            context.load_verify_locations(importlib.import_module("certifi").where())
    return context
