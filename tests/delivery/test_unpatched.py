"""Copies of modules, which take the place of those that gevent or eventlet has patched."""

from __future__ import annotations

import pytest

from tests.support.harness import Jobs, Receiver, types

# Puts what fails in the place of what gevent patches; `patcher` is the module that it seems to come from.
PATCH = """
import http.client, select, socket, ssl, urllib.request
def patch(patcher):
    def patched(*_args, **_options):
        raise AssertionError("a patched function was called")
    patched.__module__ = patcher
    for module, names in {
        socket: ("socket", "getaddrinfo", "create_connection"),
        ssl: ("SSLContext", "SSLSocket"),
        select: ("select",),
    }.items():
        for name in names:
            setattr(module, name, patched)
    del select.poll
"""
JOB = """
with lineage_run("job"):
    pass
"""
ORDERS = {
    "before": f"{PATCH}patch(PATCHER)\nfrom openlineage_pod import lineage_run\n{JOB}",
    "after": f"from openlineage_pod import flush, lineage_run\n{JOB}flush()\n{PATCH}patch(PATCHER)\n{JOB}",
}


@pytest.mark.parametrize("url", ["http://", "http://user:secret@"], ids=["http.client", "requests"])
@pytest.mark.parametrize(
    ("patcher", "order"),
    [("gevent._socket3", "before"), ("gevent._socket3", "after"), ("eventlet.green.socket", "before")],
)
def test_nothing_patched_is_called(patcher: str, order: str, url: str, jobs: Jobs, receiver: Receiver) -> None:
    """Events of a patched process go through sockets that are not patched."""
    environ = {"OPENLINEAGE_URL": receiver.url.replace("http://", url)}
    finished = jobs.run(ORDERS[order].replace("PATCHER", repr(patcher)), environ)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert types(receiver.events()) == ["START", "COMPLETE"] * (1 if order == "before" else 2)


def test_other_patches_stay(jobs: Jobs, receiver: Receiver) -> None:
    """What somebody else puts in the place of sockets, such as PySocks for its proxy, is used."""
    finished = jobs.run(
        f"""
        import socket
        class Socket(socket.socket):
            def connect(self, address):
                super().connect(("127.0.0.1", {receiver.port}))
        Socket.__module__ = "socks"
        socket.socket = Socket
        from openlineage_pod import lineage_run
        with lineage_run("job"):
            pass
        """,
        {"OPENLINEAGE_URL": "http://127.0.0.1:9"},
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert types(receiver.events()) == ["START", "COMPLETE"]


def test_modules_of_the_job_stay(jobs: Jobs) -> None:
    """Making copies changes none of the job's own modules, and each copy is made once."""
    finished = jobs.run(
        """
        import http.client, requests, select, socket, ssl, sys, urllib3
        modules = (http, http.client, requests, select, socket, ssl, urllib3, urllib3.util)
        before = [dict(vars(module)) for module in modules]
        loaded = {name: module for name, module in sys.modules.items()}
        from openlineage_pod.delivery.transports.unpatched import unpatched
        session = unpatched("openlineage_pod.delivery.transports.session")
        assert session is unpatched("openlineage_pod.delivery.transports.session")
        assert session.requests is not requests
        assert session.requests.exceptions.RequestException is not requests.exceptions.RequestException
        assert unpatched("ssl").SSLContext is not ssl.SSLContext
        assert unpatched("socket").AddressFamily is not socket.AddressFamily
        assert [dict(vars(module)) for module in modules] == before
        assert all(sys.modules[name] is module for name, module in loaded.items())
        """
    )
    assert (finished.returncode, finished.stderr) == (0, "")


def test_threads_at_once(jobs: Jobs) -> None:
    """Each of several threads that ask for a copy at once gets a whole one, as the workers of a burst do."""
    finished = jobs.run(
        """
        from concurrent.futures import ThreadPoolExecutor
        from threading import Barrier
        from openlineage_pod.delivery.transports.unpatched import unpatched
        barrier = Barrier(4)
        def way(_number):
            barrier.wait()
            return unpatched("openlineage_pod.delivery.transports.http").way_to
        with ThreadPoolExecutor(4) as pool:
            print(len(set(pool.map(way, range(4)))))
        """
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "1\n", "")
