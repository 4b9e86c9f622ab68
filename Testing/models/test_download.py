"""Files from servers as they are in the world: what comes is right, whole, or told in one sentence."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from LiverSegLib.errors import InstallCancelled, ModelError
from LiverSegLib.models import download as downloads
from LiverSegLib.models.address import check_address
from LiverSegLib.models.download import Patience, download
from LiverSegLib.models.transfer import Transfer, Watch
from Testing.models.web_server import Site, proxy, serving

CONTENT = random.Random(1).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SHA1 = hashlib.sha1(CONTENT).hexdigest()
OTHER = random.Random(2).randbytes(250_000)
QUICK = Patience(timeout_s=1.0, pauses_s=(0.01, 0.01, 0.01))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site(files={"/model.zip": CONTENT})) as running:
        yield running


def fetch(site: Site, target: Path, path: str = "/model.zip", checksum: str = f"sha256:{SHA256}") -> str:
    return download(f"{site.address}{path}", target, watch=Watch("model"), checksum=checksum, patience=QUICK)


def interrupted(site: Site, target: Path, checksum: str = "") -> None:
    """Leave a part of the file there."""
    site.break_after = [100_000]
    part = target.with_name(f"{target.name}.part")
    watch = Watch("model", None, lambda: part.exists() and part.stat().st_size >= 60_000)
    with pytest.raises(InstallCancelled, match="what came is kept"):
        download(f"{site.address}/model.zip", target, watch=watch, checksum=checksum, patience=QUICK)
    site.break_after = []
    site.asked.clear()
    assert not target.exists()


def test_a_file_is_fetched(site: Site, tmp_path: Path) -> None:
    assert fetch(site, tmp_path / "a.zip") == SHA256
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("checksum", ["", f"sha256:{SHA256}", f"sha1:{SHA1}"])
def test_any_checksum_will_do(site: Site, tmp_path: Path, checksum: str) -> None:
    assert fetch(site, tmp_path / "a.zip", checksum=checksum) == SHA256


def test_progress_is_told_with_the_time_left(site: Site, tmp_path: Path) -> None:
    site.pause_s = 0.03
    seen: list[Transfer] = []
    download(f"{site.address}/model.zip", tmp_path / "a.zip", watch=Watch("model", seen.append), patience=QUICK)
    fetched = [one for one in seen if one.stage == "download"]
    assert fetched[-1].done == fetched[-1].total == len(CONTENT)
    assert len(fetched) > 5
    assert any("of 300 kB, about" in one.text and one.text.endswith("left") for one in fetched)
    assert seen[-1].stage == "check"


def test_a_broken_connection_is_taken_up_again(site: Site, tmp_path: Path) -> None:
    site.break_after = [100_000, 50_000]
    assert fetch(site, tmp_path / "a.zip") == SHA256
    assert site.ranges_asked() == ["", "bytes=100000-", "bytes=150000-"]


def test_a_connection_may_break_often_as_long_as_something_comes(site: Site, tmp_path: Path) -> None:
    site.break_after = [20_000] * 12
    assert fetch(site, tmp_path / "a.zip") == SHA256


@pytest.mark.parametrize("checksum", ["", f"sha256:{SHA256}"])
def test_a_stopped_download_goes_on_later(site: Site, tmp_path: Path, checksum: str) -> None:
    interrupted(site, tmp_path / "a.zip", checksum)
    assert fetch(site, tmp_path / "a.zip", checksum=checksum) == SHA256
    assert site.ranges_asked()[0].startswith("bytes=")
    assert site.asked[0][1]["if-range"] == '"one"'


def test_a_server_without_ranges_sends_all_again(site: Site, tmp_path: Path) -> None:
    interrupted(site, tmp_path / "a.zip")
    site.ranges = False
    assert fetch(site, tmp_path / "a.zip") == SHA256
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    interrupted(site, tmp_path / "a.zip")
    site.files["/model.zip"], site.tag = OTHER, '"two"'
    fetch(site, tmp_path / "a.zip", checksum="")
    assert (tmp_path / "a.zip").read_bytes() == OTHER


def test_a_server_that_joins_two_files_is_found_out(site: Site, tmp_path: Path) -> None:
    interrupted(site, tmp_path / "a.zip")
    site.files["/model.zip"], site.tag, site.honest_ranges = OTHER, '"two"', False
    fetch(site, tmp_path / "a.zip", checksum="")
    assert (tmp_path / "a.zip").read_bytes() == OTHER


def test_two_halves_that_do_not_fit_are_fetched_as_one(site: Site, tmp_path: Path) -> None:
    """No tag, the same size, other content: only the checksum tells."""
    first = bytes(len(CONTENT))
    site.files["/model.zip"], site.tag = first, ""
    interrupted(site, tmp_path / "a.zip", f"sha256:{SHA256}")
    site.files["/model.zip"] = CONTENT
    assert fetch(site, tmp_path / "a.zip") == SHA256
    assert site.ranges_asked()[0].startswith("bytes=")
    assert site.ranges_asked()[-1] == ""


def test_a_part_nobody_can_vouch_for_is_not_used(site: Site, tmp_path: Path) -> None:
    site.tag = ""
    interrupted(site, tmp_path / "a.zip")
    fetch(site, tmp_path / "a.zip", checksum="")
    assert site.ranges_asked() == [""]


def test_a_part_longer_than_the_file(site: Site, tmp_path: Path) -> None:
    interrupted(site, tmp_path / "a.zip")
    (tmp_path / "a.zip.part").write_bytes(bytes(400_000))
    assert fetch(site, tmp_path / "a.zip") == SHA256


@pytest.mark.parametrize("note", [b"", b"[]", b"{}", b'{"url": 1, "validator": [], "total": "x"}', b"[" * 100_000])
def test_a_damaged_note_beside_the_part(site: Site, tmp_path: Path, note: bytes) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"anything")
    (tmp_path / "a.zip.part.json").write_bytes(note)
    assert fetch(site, tmp_path / "a.zip") == SHA256


def test_a_file_without_a_size(site: Site, tmp_path: Path) -> None:
    site.length = False
    assert fetch(site, tmp_path / "a.zip") == SHA256


def test_a_wrong_checksum(site: Site, tmp_path: Path) -> None:
    site.files["/model.zip"] = OTHER
    with pytest.raises(ModelError, match=r"model\.zip has a wrong checksum"):
        fetch(site, tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_breaks_off_again_and_again(site: Site, tmp_path: Path) -> None:
    fetch_from = site.break_after = [10_000] + [0] * 20
    with pytest.raises(ModelError, match=r"could not be fetched: the connection broke\. Check") as caught:
        fetch(site, tmp_path / "a.zip")
    assert "127.0.0.1 is not blocked" in str(caught.value)
    assert "liverseg models add FILE" in str(caught.value)
    assert len(fetch_from) > 10
    assert (tmp_path / "a.zip.part").stat().st_size == 10_000


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "not there any more"), (401, "wants a login"), (403, "does not allow"), (418, "answers 418")],
)
def test_what_a_server_refuses_is_not_asked_again(site: Site, tmp_path: Path, status: int, words: str) -> None:
    site.statuses = [status]
    with pytest.raises(ModelError, match=words):
        fetch(site, tmp_path / "a.zip")
    assert len(site.asked) == 1


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.statuses = [503, 429, 500]
    assert fetch(site, tmp_path / "a.zip") == SHA256


def test_a_busy_server_is_not_asked_for_ever(site: Site, tmp_path: Path) -> None:
    site.statuses = [503] * 20
    with pytest.raises(ModelError, match="answers 503"):
        fetch(site, tmp_path / "a.zip")
    assert len(site.asked) == 4


def test_a_web_page_is_no_model(site: Site, tmp_path: Path) -> None:
    interrupted(site, tmp_path / "a.zip")
    before = (tmp_path / "a.zip.part").read_bytes()
    site.kind = "text/html; charset=utf-8"
    with pytest.raises(ModelError, match="gives a web page instead of a model"):
        fetch(site, tmp_path / "a.zip", checksum="")
    assert (tmp_path / "a.zip.part").read_bytes() == before


def test_redirects_are_followed_with_the_range(site: Site, tmp_path: Path) -> None:
    site.redirects = {"/old": "/older", "/older": f"{site.address}/model.zip"}
    site.break_after = [100_000]
    assert fetch(site, tmp_path / "a.zip", "/old") == SHA256
    assert [path for path, _headers in site.asked] == ["/old", "/older", "/model.zip"] * 2
    assert site.ranges_asked()[-1] == "bytes=100000-"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("file:///etc/passwd", "is no address|file:"),
        ("ftp://127.0.0.1/model.zip", "is no address"),
        ("http://models.invalid/model.zip", "is no address"),
        ("/again", "loop|redirect"),
    ],
)
def test_redirects_to_nowhere_good(site: Site, tmp_path: Path, target: str, words: str) -> None:
    site.redirects = {"/again": target}
    with pytest.raises(ModelError, match=words):
        fetch(site, tmp_path / "a.zip", "/again")


def test_a_silent_server(tmp_path: Path, site: Site) -> None:
    site.pause_s = 3.0
    patience = Patience(timeout_s=0.2, pauses_s=(0.01,))
    with pytest.raises(ModelError, match="the server does not answer"):
        download(f"{site.address}/model.zip", tmp_path / "a.zip", watch=Watch("model"), patience=patience)


def test_nobody_at_the_address(tmp_path: Path) -> None:
    with serving(Site()) as site:
        address = site.address
    with pytest.raises(ModelError, match="could not be fetched: Connection refused"):
        download(f"{address}/model.zip", tmp_path / "a.zip", watch=Watch("model"), patience=QUICK)


@pytest.mark.parametrize("pause_s", [0.05, 30.0])
def test_a_stop_is_obeyed_while_a_server_is_slow_or_silent(site: Site, tmp_path: Path, pause_s: float) -> None:
    """Within a second; the bound here is that the stop does not wait for the server."""
    site.pause_s = pause_s
    stop = threading.Event()
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    begin = time.monotonic()
    with pytest.raises(InstallCancelled):
        download(f"{site.address}/model.zip", tmp_path / "a.zip", watch=Watch("model", None, stop.is_set))
    assert time.monotonic() - begin < 10.0
    timer.join()


@pytest.mark.timing
def test_a_stop_is_obeyed_within_a_second(site: Site, tmp_path: Path) -> None:
    site.pause_s = 30.0
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    begin = time.monotonic()
    with pytest.raises(InstallCancelled):
        download(f"{site.address}/model.zip", tmp_path / "a.zip", watch=Watch("model", None, stop.is_set))
    assert time.monotonic() - begin < 1.5


def test_a_proxy_is_used_where_the_environment_names_one(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy() as (address, asked):
        monkeypatch.setenv("http_proxy", address)
        fetch(site, tmp_path / "a.zip")
        assert asked == [f"{site.address}/model.zip"]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        fetch(site, tmp_path / "b.zip")
        assert len(asked) == 1


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for this computer that nobody vouches for, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    path = tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(path.with_suffix(".key")), "-out", str(path)]
    subprocess.run(made, check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_suffix(".key").read_text())
    return path


def test_a_certificate_counts_where_the_user_names_it(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a proxy of a hospital that looks into connections."""
    with serving(Site(files={"/model.zip": CONTENT}), certificate) as site:
        url = f"{site.address}/model.zip"
        assert url.startswith("https://localhost:")
        with pytest.raises(ModelError, match=r"its certificate is not trusted \(.*SSL_CERT_FILE"):
            download(url, tmp_path / "a.zip", watch=Watch("model"), patience=QUICK)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert download(url, tmp_path / "a.zip", watch=Watch("model"), patience=QUICK) == SHA256


def test_a_server_without_encryption_is_no_way_on(
    certificate: Path, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    elsewhere = Site(redirects={"/model.zip": f"{site.address}/model.zip"})
    with serving(elsewhere, certificate) as safe, pytest.raises(ModelError, match="which is not safe"):
        download(f"{safe.address}/model.zip", tmp_path / "a.zip", watch=Watch("model"), patience=QUICK)
    assert site.asked == []


def test_a_file_larger_than_any_model(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "MAX_BYTES", 200_000)
    with pytest.raises(ModelError, match="more than any model"):
        fetch(site, tmp_path / "a.zip")
    site.length = False
    with pytest.raises(ModelError, match="more bytes than any model"):
        fetch(site, tmp_path / "b.zip")


@pytest.mark.parametrize(
    "url", ["https://a.org/b.zip", "http://localhost:80/b", "http://127.0.0.1/b", "http://[::1]/b"]
)
def test_addresses(url: str) -> None:
    check_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://a.org/b.zip",
        "http://localhost.evil.org/b.zip",
        "file:///etc/passwd",
        "ftp://a.org/b",
        "https://",
        "https://name:word@a.org/b",
        "https://a.org/b c",
        "https://a.org/\n",
        "https://a.org:99999/",
        "https://[::1",
        "https://ä.org/",
        "https://a.org/" + "x" * 2000,
        "/etc/passwd",
        "javascript:alert(1)",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ModelError, match="is no address that models are fetched from") as caught:
        check_address(url)
    assert str(caught.value).isprintable()
