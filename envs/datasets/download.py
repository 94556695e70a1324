"""Streaming downloads that resume, check SHA-256 and never leave half a file under its name.

A transfer goes to ``NAME.part``; beside it ``NAME.part.json`` remembers the URL and the server's
validator (ETag or Last-Modified), so that a later run asks for the rest of the same file (RFC 9110,
Range and If-Range) and starts afresh when the file changed. Only a whole file with the right
checksum takes the final name. A file with a wrong checksum is kept as ``NAME.bad`` to be looked
at, and the next run starts afresh.
"""

from __future__ import annotations

import gzip
import http.client
import json
import re
import shutil
import stat
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from copygym.core.errors import UserError
from copygym.core.files.checksum import record_of, sha256_of
from copygym.core.files.storage import atomic
from copygym.envs.datasets.card import Card, RemoteFile, default_folder

_CHUNK = 1 << 18
_AGENT = {"User-Agent": "copygym"}


@dataclass(frozen=True)
class Fetched:
    """A file that is there now: where, its SHA-256, and whether it had to be transferred."""

    path: Path
    sha256: str
    transferred: bool


class _Interrupted(Exception):
    """The connection broke before the last byte; what came is kept."""


def mirror_url(file: RemoteFile, mirror: str | None) -> str:
    """Return the address of a file: its own, or under a mirror's base URL.

    A mirror that already ends in the file's name is taken as the file's address.
    """
    if mirror is None:
        return file.url
    path = urllib.parse.unquote_plus(urllib.parse.urlsplit(mirror).path)
    if path.endswith("/" + file.name.replace("+", " ")) or path.endswith("/" + file.name):
        return mirror
    return mirror.rstrip("/") + "/" + urllib.parse.quote(file.name)


def get_dataset(
    card: Card, folder: Path | None = None, mirror: str | None = None, *, pause: float = 1.0
) -> list[Fetched]:
    """Fetch a dataset's files, unpack archives, and record the checksums.

    Args:
        card: of the dataset.
        folder: where to; None means the folder in which the loader looks.
        mirror: base URL of a mirror, see `mirror_url`.
        pause: seconds before the first retry of a broken transfer; doubles each time.

    Raises:
        UserError: nothing can be fetched, the transfer fails, or a checksum is wrong.
    """
    if not card.files:
        raise UserError(f"dataset {card.name} cannot be downloaded: {card.how_to_get}.")
    target = folder or default_folder(card.name)
    fetched = []
    for file in card.files:
        result = fetch(
            mirror_url(file, mirror),
            target / file.name,
            sha256=file.sha256,
            pause=pause,
            replace=False,
        )
        if file.name.lower().endswith(".zip") or zipfile.is_zipfile(result.path):
            unpack(result.path, target)
        fetched.append(result)
    return fetched


def _check_free(target: Path) -> None:
    """Check that a download would replace no file of the user's.

    Raises:
        UserError: a file there is not what an earlier call has fetched.
    """
    if target.is_file():
        raise UserError(
            f"{target} is there and is not the published file, or has changed since it was "
            "fetched; move it elsewhere or choose another --to, and repeat the command."
        )
    part = target.with_name(target.name + ".part")
    if part.exists() and not _meta(part).exists():
        raise UserError(
            f"{part} was not begun by copygym, which needs the name; move it elsewhere or choose "
            "another --to."
        )


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    attempts: int = 5,
    pause: float = 1.0,
    replace: bool = True,
) -> Fetched:
    """Download ``url`` to ``target``, resuming what an earlier run left.

    Args:
        url: http or https.
        target: final path; ``NAME.sha256`` beside it records the checksum.
        sha256: expected hex digest; None accepts the file and records what came.
        attempts: how often a broken transfer is taken up again.
        pause: seconds before the first retry; doubles each time.
        replace: whether another file at ``target`` gives way; if not, it is refused.

    Raises:
        UserError: names the URL and what to do.
    """
    _check_address(url)
    if (known := _already_there(target, sha256)) is not None:
        return Fetched(target, known, False)
    if not replace:
        _check_free(target)
    part = target.with_name(target.name + ".part")
    try:
        for attempt in range(attempts):
            try:
                _transfer(url, part, sha256 is not None)
                break
            except _Interrupted as error:
                if attempt == attempts - 1:
                    raise UserError(
                        f"the transfer of {url} broke off ({error}); run the same command again "
                        f"to go on from {part}."
                    ) from error
                time.sleep(pause * 2**attempt)
        found = sha256_of(part)
        if sha256 is not None and found != sha256:
            raise _put_aside(url, part, target, found, f"SHA-256 is {found}, expected {sha256}")
        if sha256 is None and (fault := _fault(part, target.name)):
            raise _put_aside(url, part, target, found, f"what came is {fault}")
        part.replace(target)
        _meta(part).unlink(missing_ok=True)
        _record(target, found)
    except OSError as error:
        if isinstance(error, urllib.error.URLError):
            raise
        raise UserError(f"{target} cannot be written ({error.strerror or error}).") from error
    return Fetched(target, found, True)


def _check_address(url: str) -> None:
    try:
        good = urllib.parse.urlsplit(url).scheme in ("http", "https")
    except ValueError:
        good = False
    if not good:
        raise UserError(f"{url} is not an http or https address; give --url one of these.")


def _put_aside(url: str, part: Path, target: Path, found: str, why: str) -> UserError:
    bad = target.with_name(target.name + ".bad")
    if bad.exists() and sha256_of(bad) != found:
        bad = target.with_name(f"{target.name}.{found[:8]}.bad")
    part.replace(bad)
    _meta(part).unlink(missing_ok=True)
    return UserError(
        f"{url}: {why}; the file was kept as {bad} and not used: try again or another mirror "
        "(--url)."
    )


def _fault(path: Path, name: str) -> str | None:
    """Return what a file is instead of the one that its ``name`` promises; None where it may be.

    For files whose checksum nobody has published: a server's page of excuses, nothing at all, or
    an archive of which the end is missing.
    """
    with path.open("rb") as stream:
        head = stream.read(1024)
    if not head.strip():
        return "empty"
    if not name.lower().endswith((".html", ".htm", ".xml")) and re.match(
        rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml|!--)", head, re.IGNORECASE
    ):
        return "a page of HTML or XML"
    if name.lower().endswith(".zip"):
        return _zip_fault(path)
    if name.lower().endswith(".gz"):
        return _gzip_fault(path)
    return None


def _zip_fault(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as bundle:
            damaged = bundle.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        return f"no whole zip ({error})"
    except (RuntimeError, NotImplementedError):
        return None  # encrypted or packed in a way of its own, which `unpack` says
    return None if damaged is None else f"a zip with a damaged member ({damaged})"


def _gzip_fault(path: Path) -> str | None:
    try:
        with gzip.open(path, "rb") as stream:
            while stream.read(_CHUNK):
                pass
    except (OSError, EOFError, zlib.error) as error:
        return f"no whole gzip file ({error})"
    return None


def _meta(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _record(target: Path, digest: str) -> None:
    with atomic(record_of(target)) as temporary:
        temporary.write_text(f"{digest}  {target.name}\n", encoding="utf-8")


def _already_there(target: Path, sha256: str | None) -> str | None:
    """Return the digest of a complete earlier download, or None."""
    record = record_of(target)
    if not target.is_file():
        return None
    expected = sha256
    if expected is None and record.is_file():
        expected = record.read_text(encoding="utf-8").split(" ")[0]
    found = sha256_of(target)
    if found != expected or (sha256 is None and _fault(target, target.name)):
        return None
    if not record.is_file():
        _record(target, found)
    return found


def _resume_headers(url: str, part: Path, checked: bool) -> dict[str, str]:
    """Return the headers that ask for the rest of ``part``; {} starts afresh.

    Without a validator two versions of the file could be glued together, which only a known
    checksum (``checked``) would notice.
    """
    if not part.is_file() or part.stat().st_size == 0 or not _meta(part).is_file():
        return {}
    try:
        meta: dict[str, Any] = json.loads(_meta(part).read_text(encoding="utf-8"))
    except ValueError:
        return {}
    validator = meta.get("validator")
    if meta.get("url") != url or not (validator or checked):
        return {}
    wanted = {"Range": f"bytes={part.stat().st_size}-"}
    return wanted | {"If-Range": validator} if validator else wanted


def _validator(headers: Any) -> str | None:
    """Return what identifies this version of the file: a strong ETag, else its date."""
    etag = headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return str(etag)
    modified = headers.get("Last-Modified")
    return str(modified) if modified else None


def _transfer(url: str, part: Path, checked: bool) -> None:
    """Bring ``part`` to completion, or raise `_Interrupted` with what came kept."""
    resume = _resume_headers(url, part, checked)
    request = urllib.request.Request(url, headers=_AGENT | resume)
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and resume:
            _meta(part).unlink(missing_ok=True)  # longer than the file there: start afresh
            raise _Interrupted("the server's file is shorter than the part here") from error
        if error.code in (429, 500, 502, 503, 504):
            raise _Interrupted(f"the server answered {error.code} {error.reason}") from error
        raise UserError(
            f"{url}: the server answered {error.code} {error.reason}; check the address or give "
            "a mirror with --url."
        ) from error
    except (urllib.error.URLError, TimeoutError, http.client.HTTPException, ConnectionError) as e:
        reason = getattr(e, "reason", None) or e
        raise UserError(
            f"{url} cannot be reached ({reason}); check the network or give a mirror with --url."
        ) from e
    with response:
        offset = part.stat().st_size if _continues(response, resume, part) else 0
        length = response.headers.get("Content-Length") or ""
        total = offset + int(length) if length.isascii() and length.isdigit() else None
        meta = json.dumps({"url": url, "validator": _validator(response.headers)})
        with atomic(_meta(part)) as temporary:
            temporary.write_text(meta, encoding="utf-8")
        _copy(response, part, offset, total)


def _continues(response: Any, resume: dict[str, str], part: Path) -> bool:
    """Tell whether the answer is the rest of ``part`` (206 from the right byte)."""
    if not resume or response.status != 206:
        return False
    begins = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    return bool(begins == str(part.stat().st_size))


def _copy(response: Any, part: Path, offset: int, total: int | None) -> None:
    from copygym.core.progress import progress

    bar = progress(
        total=total,
        initial=offset,
        unit="B",
        unit_scale=True,
        what=part.name.removesuffix(".part"),
    )
    done = offset
    with bar, part.open("ab" if offset else "wb") as out:
        while True:
            try:
                block = response.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _Interrupted(f"{done:,} bytes came") from error
            if not block:
                break
            out.write(block)
            done += len(block)
            bar.update(len(block))
    if total is not None and done < total:
        raise _Interrupted(f"{done:,} of {total:,} bytes came")
    if total is not None and done > total:
        part.unlink()
        raise _Interrupted(f"{done:,} bytes came where {total:,} were announced")


def unpack(archive: Path, folder: Path) -> list[Path]:
    """Unpack a zip into ``folder``, file by file and atomically; return the files.

    Files that are already there, byte for byte, are left alone.

    Raises:
        UserError: another file has a member's place, a member would leave the folder or is a link,
            the archive is damaged, or the disk has no room for it.
    """
    out = []
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = [m for m in bundle.infolist() if not m.is_dir()]
            targets = [_safe_target(archive, member, folder) for member in members]
            size = sum(m.file_size for m in members)
            if size > shutil.disk_usage(folder).free:
                raise UserError(
                    f"{archive} unpacks to {size:,} bytes, more than {folder} has room."
                )
            for member, target in zip(members, targets, strict=True):
                if target.is_file() and not _unpacked(member, target):
                    raise UserError(
                        f"{target} is there and is not that of {archive.name}; move it elsewhere "
                        "or choose another --to, and repeat the command."
                    )
            for member, target in zip(members, targets, strict=True):
                if not target.is_file():
                    _extract(bundle, member, target)
                out.append(target)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(
            f"{archive} is a damaged zip ({error}); delete it and fetch again."
        ) from error
    except (RuntimeError, NotImplementedError) as error:
        raise UserError(
            f"{archive} cannot be unpacked here ({error}); unpack it into {folder} by another tool."
        ) from error
    except OSError as error:
        raise UserError(
            f"{archive} cannot be unpacked into {folder} ({error.strerror or error})."
        ) from error
    return out


def _unpacked(member: zipfile.ZipInfo, target: Path) -> bool:
    """Tell whether a member is there already, by its size and its checksum in the archive."""
    if not target.is_file() or target.stat().st_size != member.file_size:
        return False
    found = 0
    with target.open("rb") as stream:
        while block := stream.read(_CHUNK):
            found = zlib.crc32(block, found)
    return found == member.CRC


def _extract(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    with (
        atomic(target) as temporary,
        bundle.open(member) as source,
        temporary.open("wb") as sink,
    ):
        shutil.copyfileobj(source, sink, _CHUNK)


def _safe_target(archive: Path, member: zipfile.ZipInfo, folder: Path) -> Path:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    link = stat.S_ISLNK(member.external_attr >> 16)
    absolute = name.is_absolute() or (name.parts and ":" in name.parts[0])
    if link or absolute or ".." in name.parts or not name.parts:
        raise UserError(
            f"{archive}: member {member.filename!r} would be written outside of {folder}; the "
            "archive is not to be trusted and nothing was unpacked."
        )
    return folder.joinpath(*name.parts)
