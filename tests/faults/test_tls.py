"""TLS with real certificates: of an authority that nobody trusts, and of clients that have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

from tests.support.fault_scene import WHOLE
from tests.support.harness import on_a_thread
from tests.support.tls import TlsBackend
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fault_scene import Scene

JOB = """
from openlineage_pod import lineage_run
@lineage_run("job")
def main():
    return 42
print(main())
"""
BOTH = ["job.START", "job.COMPLETE"]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return a certificate authority that no system knows."""
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a job that trusts the authority."""
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    return {"REQUESTS_CA_BUNDLE": str(bundle)}


def test_a_trusted_certificate(scene: Scene, authority: trustme.CA, trusted: dict[str, str]) -> None:
    """A backend whose certificate the job trusts gets both events."""
    with on_a_thread(TlsBackend(authority)) as backend:
        finished = scene.run(JOB, scene.environ(backend.url, 10) | trusted)
        assert scene.account({"job": WHOLE}, finished, backends=[backend]).places == {"delivered": BOTH}
    assert finished.stderr == ""


def test_an_untrusted_certificate(scene: Scene, authority: trustme.CA) -> None:
    """A backend whose certificate nobody vouches for gets nothing, and both events are kept."""
    with on_a_thread(TlsBackend(authority)) as backend:
        source, environ = JOB.replace("return 42", "return input()"), scene.environ(backend.url)
        job = scene.jobs.start(source, environ)
        wait_until(lambda: backend.connections > 1, "one attempt has failed, and the next has begun")
        finished = scene.finish(job, source, environ, stdin=b"42\n")
        assert scene.account({"job": WHOLE}, finished, backends=[backend]).places == {scene.kept: BOTH}
    assert "CERTIFICATE_VERIFY_FAILED" in finished.log[0]


def test_a_certificate_of_another_host(scene: Scene, authority: trustme.CA, trusted: dict[str, str]) -> None:
    """A backend whose certificate is for another name gets nothing, and both events are kept."""
    with on_a_thread(TlsBackend(authority)) as backend:
        url = f"https://localhost:{backend.server_port}"
        finished = scene.run(JOB, scene.environ(url, no_proxy="localhost") | trusted)
        assert scene.account({"job": WHOLE}, finished, backends=[backend]).places == {scene.kept: BOTH}


def test_a_backend_that_wants_a_certificate_of_the_client(
    scene: Scene, authority: trustme.CA, trusted: dict[str, str]
) -> None:
    """A backend that lets in only clients with a certificate gets nothing from one without, and both are kept."""
    with on_a_thread(TlsBackend(authority, clients=authority)) as backend:
        finished = scene.run(JOB, scene.environ(backend.url) | trusted)
        assert scene.account({"job": WHOLE}, finished, backends=[backend]).places == {scene.kept: BOTH}


def test_plain_http_in_place_of_tls(scene: Scene, authority: trustme.CA) -> None:
    """A backend behind TLS that is configured with http:// gets nothing, and both events are kept."""
    with on_a_thread(TlsBackend(authority)) as backend:
        finished = scene.run(JOB, scene.environ(backend.url.replace("https", "http")))
        assert scene.account({"job": WHOLE}, finished, backends=[backend]).places == {scene.kept: BOTH}
