"""Downloads resume, check, and never leave half a file under the final name."""

import gzip
import hashlib
import io
import json
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from copygym.core.errors import UserError
from copygym.envs.datasets import load
from copygym.envs.datasets.card import Card, RemoteFile
from copygym.envs.datasets.download import fetch, get_dataset, mirror_url, unpack

BODY = bytes(range(256)) * 4000  # about 1 MB
DIGEST = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.files`` with Range and If-Range; cuts the first ``server.cuts`` answers."""

    def do_GET(self):
        server = self.server
        name = self.path.rsplit("/", 1)[-1]
        server.requests.append((self.path, self.headers.get("Range")))
        if name not in server.files:
            self.send_error(404)
            return
        if server.busy:
            server.busy -= 1
            self.send_error(503)
            return
        body = server.files[name]
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        start, wanted = 0, self.headers.get("Range")
        if wanted and server.ranges and self.headers.get("If-Range", etag) == etag:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
        if start and start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if server.etags:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = len(body)
        if server.cuts:
            server.cuts -= 1
            end = start + (end - start) // 2
        self.wfile.write(body[start:end])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.requests = {"x.bin": BODY}, []
    server.cuts, server.busy, server.ranges, server.etags = 0, 0, True, True
    server.url = f"http://127.0.0.1:{server.server_address[1]}/data"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_download_with_checksum_happens_once(server, tmp_path):
    target = tmp_path / "d" / "x.bin"
    first = fetch(f"{server.url}/x.bin", target, sha256=DIGEST)
    assert first.transferred and first.sha256 == DIGEST and target.read_bytes() == BODY
    assert names(target.parent) == ["x.bin", "x.bin.sha256"]
    assert (tmp_path / "d" / "x.bin.sha256").read_text() == f"{DIGEST}  x.bin\n"
    assert not fetch(f"{server.url}/x.bin", target, sha256=DIGEST).transferred
    assert len(server.requests) == 1


def test_unknown_checksum_is_recorded_and_watched(server, tmp_path):
    target = tmp_path / "x.bin"
    assert fetch(f"{server.url}/x.bin", target).sha256 == DIGEST
    assert not fetch(f"{server.url}/x.bin", target).transferred
    target.write_bytes(b"changed")
    assert fetch(f"{server.url}/x.bin", target).transferred
    assert target.read_bytes() == BODY


def test_broken_transfer_is_resumed_in_the_same_run(server, tmp_path):
    server.cuts, server.busy = 2, 1
    result = fetch(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=DIGEST, pause=0)
    assert result.path.read_bytes() == BODY
    half = len(BODY) // 2
    ranges = [r for _, r in server.requests]
    assert ranges == [None, None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_interrupted_transfer_is_resumed_by_the_next_run(server, tmp_path):
    server.cuts = 1
    target = tmp_path / "x.bin"
    with pytest.raises(UserError, match=r"broke off .* run the same command again to go on from"):
        fetch(f"{server.url}/x.bin", target, attempts=1)
    assert names(tmp_path) == ["x.bin.part", "x.bin.part.json"]
    assert fetch(f"{server.url}/x.bin", target).path.read_bytes() == BODY
    assert server.requests[-1][1] == f"bytes={len(BODY) // 2}-"
    assert names(tmp_path) == ["x.bin", "x.bin.sha256"]


@pytest.mark.parametrize("etags", [True, False])
def test_a_changed_file_is_fetched_from_its_start(server, tmp_path, etags):
    server.cuts, server.etags = 1, etags
    target = tmp_path / "x.bin"
    with pytest.raises(UserError):
        fetch(f"{server.url}/x.bin", target, attempts=1)
    server.files["x.bin"] = BODY[::-1]
    assert fetch(f"{server.url}/x.bin", target).path.read_bytes() == BODY[::-1]


def test_server_without_ranges_or_with_a_shorter_file(server, tmp_path):
    server.cuts, server.ranges = 1, False
    target = tmp_path / "x.bin"
    fetch(f"{server.url}/x.bin", target, sha256=DIGEST, pause=0)
    assert target.read_bytes() == BODY
    server.ranges, server.etags = True, False
    target.unlink()
    (tmp_path / "x.bin.part").write_bytes(BODY + b"more")
    meta = {"url": f"{server.url}/x.bin", "validator": None}
    (tmp_path / "x.bin.part.json").write_text(json.dumps(meta))
    fetch(f"{server.url}/x.bin", target, sha256=DIGEST, pause=0)
    assert target.read_bytes() == BODY


def test_wrong_checksum_keeps_the_file_aside(server, tmp_path):
    target = tmp_path / "x.bin"
    target.write_bytes(b"the old one")
    with pytest.raises(UserError, match=f"SHA-256 is {DIGEST}, expected {'0' * 64}; the file was"):
        fetch(f"{server.url}/x.bin", target, sha256="0" * 64)
    assert names(tmp_path) == ["x.bin", "x.bin.bad"]
    assert target.read_bytes() == b"the old one"
    assert fetch(f"{server.url}/x.bin", target, sha256=DIGEST).path.read_bytes() == BODY


def zipped(text="impressions,clicks\n1,0\n"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr("data.csv", text)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("toy.csv", b"", "what came is empty"),
        ("toy.csv", b"<!DOCTYPE html><html>Sorry</html>", "what came is a page of HTML"),
        ("toy.zip", b"", "what came is empty"),
        ("toy.zip", b"<html>Sorry</html>", "what came is a page of HTML"),
        ("toy.zip", zipped()[:-10], "what came is no whole zip"),
        ("toy.zip", zipped().replace(b"1,0", b"1,1", 1), "what came is a zip with a damaged"),
        ("toy.gz", gzip.compress(b"impressions" * 99, mtime=0)[:-5], "what came is no whole gzip"),
    ],
)
def test_what_is_not_the_dataset_is_not_taken_for_it(server, tmp_path, name, content, message):
    server.files[name] = content
    card = make_card(RemoteFile(name, f"{server.url}/{name}"))
    for _ in range(2):
        with pytest.raises(UserError, match=f"{message}.*not used: try again"):
            get_dataset(card, tmp_path / "to", pause=0)
    assert names(tmp_path / "to") == [f"{name}.bad"]
    # Nor what an earlier version has taken for it.
    (tmp_path / "to" / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "to" / f"{name}.sha256").write_text(f"{digest}  {name}\n")
    with pytest.raises(UserError, match=f"{message}|is there and is not"):
        get_dataset(card, tmp_path / "to", pause=0)


def test_a_file_that_changed_since_its_download_is_not_loaded(server, tmp_path):
    target = tmp_path / "hillstrom" / "hillstrom.csv"
    server.files["hillstrom.csv"] = b"segment,visit\nNo E-Mail,0\n"
    fetch(f"{server.url}/hillstrom.csv", target)
    with pytest.raises(UserError, match="column 'recency' is missing"):
        load("hillstrom", target.parent)
    target.write_bytes(b"segment,visit\nNo E-Mail,1\n")
    for path in (target, target.parent):
        with pytest.raises(UserError, match=r"has changed since it was fetched: .* data get hill"):
            load("hillstrom", path)


def test_a_changed_member_of_an_archive_is_noticed(tmp_path):
    (tmp_path / "x.zip").write_bytes(zipped())
    (target,) = unpack(tmp_path / "x.zip", tmp_path)
    assert unpack(tmp_path / "x.zip", tmp_path) == [target]
    target.write_bytes(target.read_bytes().replace(b"0", b"1"))
    with pytest.raises(UserError, match=r"data.csv is there and is not that of x.zip; move it"):
        unpack(tmp_path / "x.zip", tmp_path)


def test_errors_name_the_address_and_the_way_out(server, tmp_path):
    url = f"{server.url}/none.bin"
    with pytest.raises(UserError, match=re.escape(f"{url}: the server answered 404 Not Found; ")):
        fetch(url, tmp_path / "none.bin")
    with pytest.raises(UserError, match=r"cannot be reached .* give a mirror with --url"):
        fetch("http://127.0.0.1:9/x.bin", tmp_path / "x.bin")
    with pytest.raises(UserError, match="is not an http or https address"):
        fetch("http://[::1", tmp_path / "x.bin")
    with pytest.raises(UserError, match="is not an http or https address"):
        fetch("file:///etc/hostname", tmp_path / "x.bin")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        fetch(f"{server.url}/x.bin", tmp_path / "file" / "x.bin")
    assert names(tmp_path) == ["file"]


def make_card(*files):
    return Card("toy", "t", "s", "l", "n", "r", ("f",), "c", files, "Ask somebody")


def test_dataset_from_a_mirror_with_an_archive(server, tmp_path):
    with zipfile.ZipFile(tmp_path / "toy set.zip", "w") as bundle:
        bundle.writestr("toy/a/data.csv", "impressions,clicks\n1,0\n")
    server.files["toy%20set.zip"] = (tmp_path / "toy set.zip").read_bytes()
    card = make_card(
        RemoteFile("x.bin", "https://nowhere.invalid/x.bin", DIGEST),
        RemoteFile("toy set.zip", "https://nowhere.invalid/z.zip"),
    )
    results = get_dataset(card, tmp_path / "to", server.url + "/")
    assert [r.transferred for r in results] == [True, True]
    assert (tmp_path / "to" / "toy" / "a" / "data.csv").read_text().startswith("impressions")
    (tmp_path / "to" / "toy" / "a" / "data.csv").unlink()
    assert [r.transferred for r in get_dataset(card, tmp_path / "to", server.url)] == [False] * 2
    assert (tmp_path / "to" / "toy" / "a" / "data.csv").is_file()
    with pytest.raises(UserError, match="dataset toy cannot be downloaded: Ask somebody"):
        get_dataset(make_card(), tmp_path)


def test_a_dataset_replaces_no_file_of_the_user_s(server, tmp_path):
    card = make_card(RemoteFile("x.bin", f"{server.url}/x.bin", DIGEST))
    (tmp_path / "x.bin").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"x\.bin is there and is not the published file"):
        get_dataset(card, tmp_path)
    (tmp_path / "x.bin").rename(tmp_path / "x.bin.part")
    with pytest.raises(UserError, match=r"x\.bin\.part was not begun by copygym"):
        get_dataset(card, tmp_path)
    assert (tmp_path / "x.bin.part").read_bytes() == b"mine"
    (tmp_path / "x.bin.part").rename(tmp_path / "x.bin.bad")
    server.files["x.bin"] = BODY[::-1]
    with pytest.raises(UserError, match="the file was kept as"):
        get_dataset(card, tmp_path)
    assert (tmp_path / "x.bin.bad").read_bytes() == b"mine"


def test_an_archive_unpacks_over_no_file_of_the_user_s(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as bundle:
        bundle.writestr("b.csv", "one")
        bundle.writestr("a.csv", "hello")
    (tmp_path / "a.csv").write_text("mine, and longer")
    with pytest.raises(UserError, match=re.escape("a.csv is there and is not that of x.zip")):
        unpack(tmp_path / "x.zip", tmp_path)
    assert names(tmp_path) == ["a.csv", "x.zip"]


def test_mirror_address():
    file = RemoteFile("in+car.zip", "https://origin/in+car.zip")
    assert mirror_url(file, None) == "https://origin/in+car.zip"
    assert mirror_url(file, "https://m/base") == "https://m/base/in%2Bcar.zip"
    assert mirror_url(file, "https://m/in%2Bcar.zip") == "https://m/in%2Bcar.zip"


@pytest.mark.parametrize("name", ["../evil.csv", "/evil.csv", "a/../../evil.csv", "C:/evil.csv"])
def test_archive_cannot_write_outside(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as bundle:
        bundle.writestr("good.csv", "a")
        bundle.writestr(name, "b")
    with pytest.raises(UserError, match=r"would be written outside .* nothing was unpacked"):
        unpack(tmp_path / "x.zip", tmp_path / "to")
    assert names(tmp_path) == ["x.zip"]


def test_archive_links_and_damage_are_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as bundle:
        bundle.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="not to be trusted"):
        unpack(tmp_path / "x.zip", tmp_path)
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as bundle:
        bundle.writestr("a.csv", "hello " * 100)
    data = (tmp_path / "y.zip").read_bytes()
    (tmp_path / "y.zip").write_bytes(data.replace(b"hello", b"jello", 1))
    with pytest.raises(UserError, match="is a damaged zip"):
        unpack(tmp_path / "y.zip", tmp_path)
    assert names(tmp_path) == ["x.zip", "y.zip"]
