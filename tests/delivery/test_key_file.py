"""The API key in a file: read again whenever somebody rotates it, never lost in between."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
import requests

from openlineage_pod.delivery.retry import is_transient
from openlineage_pod.delivery.transports.key_file import KeyFile, KeyRefusedError
from tests.support.files import replace

if TYPE_CHECKING:
    from pathlib import Path


def refusal(status: int) -> requests.HTTPError:
    """Return the error that requests raises for an answer with this status."""
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} Client Error", response=response)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file that is not there yet."""
    return tmp_path / "api-key"


@pytest.mark.parametrize("text", ["key-1", "key-1\n", "key-1\r\n", "  key-1  \n\n", "\tkey-1"])
def test_without_blanks(text: str, path: Path) -> None:
    """White space around the key, such as the newline at the end that every editor adds, is not part of it."""
    path.write_text(text)
    assert KeyFile(str(path)).key == "key-1"


def test_rotated_by_rename(path: Path) -> None:
    """The key of a file that was replaced is read at once."""
    path.write_text("key-1")
    subject = KeyFile(str(path))
    assert subject.key == "key-1"
    for number in range(2, 6):
        replace(path, f"key-{number}")
        assert subject.key == f"key-{number}"


def test_rotated_by_symbolic_link(tmp_path: Path, path: Path) -> None:
    """A secret volume, whose files are links into a folder that is exchanged, is followed."""
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "api-key").write_text(f"key-{version}")
    (tmp_path / "..data").symlink_to("1")
    path.symlink_to("..data/api-key")
    subject = KeyFile(str(path))
    assert subject.key == "key-1"
    (tmp_path / "..new").symlink_to("2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert subject.key == "key-2"


def test_replaced_at_the_same_time(path: Path) -> None:
    """A replaced file is noticed also where its time and its size are those of the one before."""
    path.write_text("key-1")
    before = path.stat()
    subject = KeyFile(str(path))
    assert subject.key == "key-1"
    replace(path, "key-2")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert subject.key == "key-2"


def test_overwritten_in_place_at_the_same_time(path: Path) -> None:
    """A change that the file's state does not show is found after a refusal."""
    path.write_text("key-1")
    before = path.stat()
    subject = KeyFile(str(path))
    assert subject.key == "key-1"
    path.write_text("key-2")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert subject.key == "key-1"
    subject.forget()
    assert subject.key == "key-2"


def test_not_read_without_a_change(path: Path) -> None:
    """An unchanged file is not opened for every event."""
    path.write_text("key-1")
    subject = KeyFile(str(path))
    assert subject.key == "key-1"
    status = path.stat()
    path.write_text("key-2")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert subject.key == "key-1"


def test_appears_later(path: Path) -> None:
    """A file that is missing, or empty, at the start gives no key, and its key as soon as it is there."""
    subject = KeyFile(str(path))
    assert subject.key == ""
    path.touch()
    assert subject.key == ""
    replace(path, "key-1\n")
    assert subject.key == "key-1"


def test_vanishes(path: Path) -> None:
    """While the file is away the last key counts, and the next one when it is back, even one of the same state."""
    path.write_text("key-1")
    before = path.stat()
    subject = KeyFile(str(path))
    assert subject.key == "key-1"
    away = path.with_name("away")
    path.rename(away)
    assert subject.key == "key-1"
    away.write_text("key-2")
    os.utime(away, ns=(before.st_atime_ns, before.st_mtime_ns))
    away.rename(path)
    assert subject.key == "key-2"


def test_not_readable(tmp_path: Path, path: Path) -> None:
    """A folder and bytes that are no text give no key, and are not raised."""
    assert KeyFile(str(tmp_path)).key == ""
    path.write_bytes(b"\xff\xfe\x00")
    assert KeyFile(str(path)).key == ""


@pytest.mark.parametrize("kind", ["FIFO", "link to a FIFO", "device", "socket", "huge"])
def test_not_a_file(kind: str, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What would have to be waited for, or never ends, gives no key, with one warning that says why."""
    if "FIFO" in kind:
        target = path.with_name("fifo") if "link" in kind else path
        os.mkfifo(target)
        if target != path:
            path.symlink_to(target)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    subject = KeyFile(str(path))
    assert [subject.key for _ in range(3)] == ["", "", ""]
    (record,) = caplog.records
    assert f"the API key file {path} cannot be read (" in record.getMessage()
    path.unlink()
    replace(path, "key-1")
    assert subject.key == "key-1"


@pytest.mark.parametrize("status", [401, 403])
def test_refused_key_is_transient(status: int, path: Path) -> None:
    """A refused key from a file is a transient error that names the file and not the key, and has it read again."""
    path.write_text("key-1")
    before = path.stat()
    subject = KeyFile(str(path))
    assert subject.key == "key-1"
    path.write_text("key-2")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(KeyRefusedError) as caught:
        KeyRefusedError.raise_for(refusal(status), subject)
    assert is_transient(caught.value)
    assert (str(path) in str(caught.value), "key-1" in str(caught.value)) == (True, False)
    assert subject.key == "key-2"


@pytest.mark.parametrize("status", [400, 404, 429, 500])
def test_other_errors_say_nothing_of_the_key(status: int, path: Path) -> None:
    """Any other status is left to whoever judges it."""
    KeyRefusedError.raise_for(refusal(status), KeyFile(str(path)))


def test_refusal_without_a_key_file() -> None:
    """A refused key from a variable is refused for good: nobody will change it in this process."""
    error = refusal(401)
    KeyRefusedError.raise_for(error, "key")
    assert not is_transient(error)
