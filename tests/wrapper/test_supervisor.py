"""The supervisor, as real processes: exit codes, signals, orphans, streams and terminals, as PID 1 and otherwise."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod.wrapper.supervisor import STOP_SIGNALS, Ended, Supervisor
from tests.support.examples import fast
from tests.support.harness import pipe
from tests.support.processes import child_of, pid_1
from tests.support.waiting import HANGS, at_most, wait_until
from tests.support.wrapping import PRINT_SIGNALS, QUICK, Terminal, run, sh, start, supervisor_of, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.support.harness import Jobs

DISABLED = {"OPENLINEAGE_DISABLED": "true"}


@pytest.fixture(params=["anywhere", "pid 1"])
def prefix(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Run the wrapper as any process, and again as PID 1."""
    return pid_1() if request.param == "pid 1" else ()


@pytest.fixture
def commands(tmp_path: Path) -> dict[str, str]:
    """Make the commands that cannot be started, or only with a shell."""
    for name, mode, text in (
        ("not-executable", 0o600, "#!/bin/sh\n"),
        ("no-shebang", 0o700, 'echo "$0" "$@"; exit 42\n'),
        ("empty", 0o700, ""),
        ("no-such-interpreter", 0o700, "#!/no/such/interpreter\n"),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    (tmp_path / "directory").mkdir()
    return {path.name: str(path) for path in tmp_path.iterdir()}


def codes(jobs: Jobs, prefix: Sequence[str], command: Sequence[str], environ: dict[str, str]) -> int:
    """Run a command under the wrapper and return the exit code."""
    finished = subprocess.run(
        [*prefix, *wrapped(*command)],
        env={**jobs.base_environ(), **environ},
        cwd=jobs.directory,
        capture_output=True,
        timeout=HANGS,
        check=False,
    )
    assert finished.stdout == b""
    return finished.returncode


KILLS_ITSELF = "kill -{} $$"
ENDS = {
    **{code: sh(f"exit {code}") for code in (0, 1, 42, 126, 127, 255)},
    **{128 + number: sh(KILLS_ITSELF.format(int(number))) for number in (2, 6, 9, 11, 13, 15, 64)},
}


@pytest.mark.parametrize(
    ("environ", "expected"), [(QUICK, [*ENDS]), (DISABLED, [42, 128 + 9])], ids=["reporting", "disabled"]
)
def test_exit_codes(environ: dict[str, str], expected: list[int], prefix: tuple[str, ...], jobs: Jobs) -> None:
    """The exit code is the command's own, 128 + n after a death by signal n."""
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda code: codes(jobs, prefix, ENDS[code], environ), expected)
    assert list(found) == expected


@pytest.mark.parametrize(
    ("name", "code", "environ"),
    [
        ("no-such-command", 127, QUICK),
        ("no-such-command", 127, DISABLED),
        ("no/such/file", 127, QUICK),
        ("not-executable", 126, QUICK),
        ("directory", 126, DISABLED),
        ("", 127, QUICK),
    ],
)
def test_commands_that_cannot_be_started(  # noqa: PLR0917  parameters of one table
    name: str,
    code: int,
    environ: dict[str, str],
    prefix: tuple[str, ...],
    commands: dict[str, str],
    jobs: Jobs,
) -> None:
    """A command that is not found gives 127, one that cannot be executed 126, with one line on stderr."""
    finished = run(jobs, commands.get(name, name), prefix=prefix, environ=environ)
    assert (finished.returncode, finished.stdout) == (code, "")
    ours = [line for line in finished.log if line.startswith(f"openlineage-pod: {commands.get(name, name)}: ")]
    assert len(ours) == 1
    assert "Traceback" not in finished.stderr


def test_script_without_an_interpreter_line(commands: dict[str, str], prefix: tuple[str, ...], jobs: Jobs) -> None:
    """A script without #! runs with /bin/sh and its arguments, even if it was found in PATH."""
    for environ in ({**QUICK}, {**QUICK, "PATH": f"{Path(commands['empty']).parent}:{os.environ['PATH']}"}):
        name = "no-shebang" if "PATH" in environ else commands["no-shebang"]
        finished = run(jobs, name, "one word", "2", prefix=prefix, environ=environ)
        assert (finished.returncode, finished.stdout) == (42, f"{commands['no-shebang']} one word 2\n")
    assert run(jobs, commands["empty"], prefix=prefix, environ=QUICK).returncode == 0


@pytest.mark.parametrize("count", fast([9, 100], 9))
def test_many_runs_without_a_wrong_code(count: int, prefix: tuple[str, ...], jobs: Jobs) -> None:
    """Of many quick commands, eight at a time, with orphans that end beside them, none has another's exit code."""
    leaves_orphans = [sh(f"(true & true &) ; (exit 9) & exit {code}") for code in (0, 7, 42, 255)]
    dies = [sh(KILLS_ITSELF.format(number)) for number in (9, 15)]
    expected = {7: sh("exit 7"), 0: ("true",), 127: ("no-such-command",)}
    cases = [*zip((0, 7, 42, 255), leaves_orphans, strict=True), *zip((137, 143), dies, strict=True), *expected.items()]
    many = list(islice(cycle(cases), count))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda case: codes(jobs, prefix, case[1], DISABLED), many))
    assert found == [code for code, _ in many]


# --- signals

OWN_FAULTS = {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGSYS,
    signal.SIGABRT,
}
NOT_FORWARDED = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGTERM, *OWN_FAULTS}
FORWARDED = [*sorted(signal.valid_signals() - NOT_FORWARDED), signal.SIGTERM]


def test_each_signal_arrives_once(prefix: tuple[str, ...], jobs: Jobs) -> None:
    """Every signal that can be forwarded arrives at the command, once and in order, real-time signals too."""
    job = start(jobs, *PRINT_SIGNALS, prefix=prefix, environ=QUICK)
    job.wait_for("READY")
    pid = supervisor_of(job, prefix)
    for number in FORWARDED:
        os.kill(pid, number)
        job.wait_for(f"got {int(number)}")
    finished = job.finish()
    assert finished.returncode == 0
    assert finished.stdout.split("\n") == ["READY", *(f"got {int(number)}" for number in FORWARDED), ""]
    assert {signal.SIGWINCH, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGRTMAX} < set(FORWARDED)


def test_queued_real_time_signals(prefix: tuple[str, ...], jobs: Jobs) -> None:
    """All real-time signals of a burst arrive."""
    job = start(jobs, *PRINT_SIGNALS, prefix=prefix, environ=QUICK)
    job.wait_for("READY")
    pid = supervisor_of(job, prefix)
    for _ in range(100):
        os.kill(pid, signal.SIGRTMIN)
    got = f"got {int(signal.SIGRTMIN)}\n"
    job.wait_for((got * 100).removesuffix("\n"))
    os.kill(pid, signal.SIGTERM)
    assert job.finish().stdout == "READY\n" + got * 100 + f"got {int(signal.SIGTERM)}\n"


WITH_GRANDCHILD = sh(f"trap 'echo command; kill $!' USR1; {' '.join(PRINT_SIGNALS)} & wait; wait $!; exit 5")


@pytest.mark.parametrize("options", [(), ("--signal-group",)])
def test_signals_for_the_group(options: tuple[str, ...], prefix: tuple[str, ...], jobs: Jobs) -> None:
    """With --signal-group a signal reaches the children of the command, without it only the command."""
    job = start(jobs, *WITH_GRANDCHILD, options=options, prefix=prefix, environ=QUICK)
    job.wait_for("READY")
    os.kill(supervisor_of(job, prefix), signal.SIGUSR1)
    finished = job.finish()
    assert finished.returncode == 5
    got = {f"got {int(signal.SIGUSR1)}"} if options else set()
    assert set(finished.stdout.splitlines()) == {"READY", "command", f"got {int(signal.SIGTERM)}", *got}
    assert finished.stdout.count(f"got {int(signal.SIGUSR1)}\n") == len(got)


@pytest.mark.parametrize("options", [(), ("--signal-group",)])
def test_death_by_a_forwarded_signal(options: tuple[str, ...], prefix: tuple[str, ...], jobs: Jobs) -> None:
    """A command that dies of a forwarded signal gives the exit code 128 + n at once."""
    for number in STOP_SIGNALS:
        job = start(jobs, *sh("echo READY; exec sleep 60"), options=options, prefix=prefix, environ=DISABLED)
        job.wait_for("READY")
        os.kill(supervisor_of(job, prefix), number)
        assert job.finish(timeout=20).returncode == 128 + number


def test_signal_right_at_the_start(prefix: tuple[str, ...], jobs: Jobs) -> None:
    """SIGTERM at any moment after the command has started ends it; none is lost while we import."""
    chosen = random.Random(20261121)  # noqa: S311  no secret
    for _ in range(5):
        job = start(jobs, *sh("echo READY; exec sleep 60"), prefix=prefix, environ=QUICK)
        job.wait_for("READY")
        pid = supervisor_of(job, prefix)
        # Not a wait for a state: the signal must come at a random moment, best during the imports.
        with pytest.raises(subprocess.TimeoutExpired):
            job.finish(timeout=chosen.uniform(0, 0.08))
        os.kill(pid, signal.SIGTERM)
        assert job.finish(timeout=20).returncode == 128 + signal.SIGTERM


SHOWS_SIGNALS = ("grep", "-E", "^Sig(Blk|Ign|Cgt|Pnd)|^ShdPnd", "/proc/self/status")


def signals_of(status: str) -> dict[str, int]:
    """Return the sets of signals, without the two that glibc uses itself and ignores in posix_spawn."""
    shown = dict(line.split(":\t") for line in status.splitlines())
    return {name: int(value, 16) & ~(1 << 31 | 1 << 32) for name, value in shown.items()}


def test_mask_and_dispositions(prefix: tuple[str, ...], jobs: Jobs) -> None:
    """The command blocks and ignores no signal, as if it had been started without us."""
    for options in ((), ("--signal-group",)):
        finished = run(jobs, *SHOWS_SIGNALS, options=options, prefix=prefix, environ=QUICK)
        without = subprocess.run([*prefix, *SHOWS_SIGNALS], capture_output=True, text=True, check=True)
        assert signals_of(finished.stdout) == signals_of(without.stdout)
        assert set(signals_of(finished.stdout).values()) <= {0, 1 << signal.SIGSEGV - 1}  # grep's own handler


UNUSUAL_SIGNALS = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGCHLD, signal.SIGRTMIN])
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_unusual_mask_and_dispositions(prefix: tuple[str, ...], jobs: Jobs) -> None:
    """The command inherits the signals that our parent process has blocked and ignored."""
    unusual = (*prefix, sys.executable, "-I", "-S", "-c", UNUSUAL_SIGNALS)
    finished = run(jobs, *SHOWS_SIGNALS, prefix=unusual, environ=QUICK)
    without = subprocess.run([*unusual, *SHOWS_SIGNALS], capture_output=True, text=True, check=True)
    assert signals_of(finished.stdout) == signals_of(without.stdout)
    assert signals_of(finished.stdout)["SigIgn"] == 1 << signal.SIGHUP - 1 | 1 << signal.SIGINT - 1


def test_started_with_sigchld_ignored(prefix: tuple[str, ...], jobs: Jobs) -> None:
    """The exit code is right even if our parent process ignores SIGCHLD, so that the kernel would reap."""
    source = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    ignoring = (*prefix, sys.executable, "-I", "-S", "-c", source)
    for _ in range(2):
        assert run(jobs, *sh("exit 7"), prefix=ignoring, environ=DISABLED).returncode == 7


def test_command_of_another_user(jobs: Jobs) -> None:
    """A command that we may not send signals to, for example after sudo, is supervised to its end."""
    without_right = ("setpriv", "--bounding-set=-kill", "--inh-caps=-kill")
    as_another = ("setpriv", "--reuid=12345", "--clear-groups")
    if os.getuid() != 0 or subprocess.run([*without_right, "true"], capture_output=True, check=False).returncode:
        pytest.skip("another user's process needs root and `setpriv`")
    job = start(jobs, *as_another, *sh("echo READY; read line; exit 7"), prefix=without_right, environ=QUICK)
    job.wait_for("READY")
    job.signal(signal.SIGTERM)
    finished = job.finish(b"on\n")
    assert finished.returncode == 7
    assert "Traceback" not in finished.stderr


def test_stopped_command(prefix: tuple[str, ...], jobs: Jobs) -> None:
    """A stopped command does not stop the wrapper, and SIGCONT to the wrapper continues the command."""
    job = start(jobs, *sh("echo $$; echo READY; read line; echo $line; exit 7"), prefix=prefix, environ=QUICK)
    job.wait_for("READY")
    pid = supervisor_of(job, prefix)
    child = child_of(pid)
    os.kill(child, signal.SIGSTOP)
    state = Path(f"/proc/{child}/stat")
    wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "the command is stopped")
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] != "T", "the command goes on")
    assert job.finish(b"on\n").stdout.endswith("READY\non\n")


IGNORES_TERM = sh("trap '' TERM; echo READY; exec sleep 30")


@pytest.mark.serial
@pytest.mark.parametrize("options", [(), ("--signal-group",)])
def test_kill_after(options: tuple[str, ...], prefix: tuple[str, ...], jobs: Jobs) -> None:
    """With --kill-after a command that ignores the stop signal gets SIGKILL after that time, not before."""
    job = start(jobs, *IGNORES_TERM, options=("--kill-after", "0.5", *options), prefix=prefix, environ=QUICK)
    job.wait_for("READY")
    asked = time.monotonic()
    os.kill(supervisor_of(job, prefix), signal.SIGTERM)
    assert job.finish(timeout=20).returncode == 128 + signal.SIGKILL
    assert 0.5 <= time.monotonic() - asked < at_most(0.5)


def test_kill_after_spares_a_command_that_ends(prefix: tuple[str, ...], jobs: Jobs) -> None:
    """A command that ends before that time keeps its own exit code."""
    script = sh("trap 'exit 3' TERM; echo READY; for i in $(seq 3000); do sleep 0.01; done")
    job = start(jobs, *script, options=("--kill-after", "30"), prefix=prefix, environ=QUICK)
    job.wait_for("READY")
    os.kill(supervisor_of(job, prefix), signal.SIGTERM)
    assert job.finish(timeout=20).returncode == 3


# --- orphans

ORPHANS = """
import os, time
reading, writing = os.pipe()
for _ in range(300):
    if (middle := os.fork()) == 0:
        middle = os.getpid()
        if os.fork() == 0:
            while os.getppid() == middle:
                time.sleep(0.0005)
            os.write(writing, os.getppid().to_bytes(4, "little"))
        os._exit(5)
    os.waitpid(middle, 0)
os.close(writing)
data = b""
while part := os.read(reading, 4096):
    data += part
parents = {int.from_bytes(data[at:at + 4], "little") for at in range(0, len(data), 4)}
print(len(data) // 4, parents == {os.getppid()}, flush=True)
def zombies():
    found = 0
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        found += state == "Z" and int(parent) == os.getppid()
    return found
deadline = time.monotonic() + 20
while (left := zombies()) and time.monotonic() < deadline:
    time.sleep(0.01)
print(left, "zombies")
raise SystemExit(42)
"""


def test_orphans_are_reaped(prefix: tuple[str, ...], jobs: Jobs) -> None:
    """The wrapper reaps 300 orphans of the command, and the exit code is the command's."""
    finished = run(jobs, sys.executable, "-I", "-S", "-c", ORPHANS, prefix=prefix, environ=QUICK)
    assert (finished.stdout, finished.returncode) == ("300 True\n0 zombies\n", 42)


# --- streams


@pytest.mark.parametrize("environ", [QUICK, DISABLED], ids=["reporting", "disabled"])
def test_streams(environ: dict[str, str], prefix: tuple[str, ...], jobs: Jobs) -> None:
    """Stdin, stdout and stderr pass 4 MiB of any bytes unchanged, and the wrapper writes nothing to stdout."""
    data = random.Random(20261121).randbytes(4 * 2**20)  # noqa: S311  no secret
    finished = subprocess.run(
        [*prefix, *wrapped(*sh("tee /dev/stderr; exit 7"))],
        input=data,
        env={**jobs.base_environ(), **environ},
        capture_output=True,
        timeout=HANGS,
        check=False,
    )
    assert finished.returncode == 7
    assert finished.stdout == data
    # The lines of a wrapper without a transport stand before and after it.
    assert data == finished.stderr if environ is DISABLED else len(finished.stderr) >= len(data)


def test_stdin_is_read_by_the_command_alone(prefix: tuple[str, ...], jobs: Jobs) -> None:
    """The next process can read the rest of stdin, and an empty stdin is not an error."""
    both = "; ".join(f"{' '.join(wrapped('sh', '-c', repr('read line; echo got $line')))}" for _ in range(2))
    finished = subprocess.run(
        [*prefix, *sh(f"{both}; cat")],
        input=b"one\ntwo\nthree\n",
        env={**jobs.base_environ(), **DISABLED},
        capture_output=True,
        timeout=HANGS,
        check=False,
    )
    assert finished.stdout == b"got one\ngot two\nthree\n"


@pytest.mark.parametrize(
    ("closed", "environ"),
    [("0<&-", QUICK), ("1>&-", QUICK), ("2>&-", QUICK), ("0<&- 1>&- 2>&-", QUICK), ("0<&- 1>&- 2>&-", DISABLED)],
)
def test_closed_streams(closed: str, environ: dict[str, str], jobs: Jobs) -> None:
    """A closed stream is closed for the command, too, and the exit code is right."""
    numbers = [part[0] for part in closed.split()]
    check = "".join(f"[ -e /proc/self/fd/{number} ] && exit 1; " for number in numbers)
    prefix = ("sh", "-c", f'exec "$@" {closed}', "sh")
    assert run(jobs, *sh(f"{check}exit 7"), prefix=prefix, environ=environ).returncode == 7


@pytest.mark.parametrize(
    ("stderr", "environ"), [("2>&-", QUICK), ("2>/dev/full", QUICK), ("2>&1 >&-", QUICK), ("2>&-", DISABLED)]
)
def test_nobody_to_tell_that_there_is_no_such_command(
    stderr: str,
    environ: dict[str, str],
    jobs: Jobs,
) -> None:
    """If stderr cannot be written, the exit code is the same, and nothing goes to stdout instead."""
    finished = run(jobs, "no-such-command", prefix=("sh", "-c", f'exec "$@" {stderr}', "sh"), environ=environ)
    assert finished.returncode == 127
    assert finished.stdout == "" or stderr.startswith("2>&1")


def test_a_stderr_that_nobody_reads(jobs: Jobs) -> None:
    """A full pipe behind stderr delays the end by the flush timeout at most."""
    with pipe(full=True) as writing:
        for command, code in ((sh("exit 7"), 7), (("no-such-command",), 127)):
            job = start(jobs, *command, environ={"OPENLINEAGE_POD_FLUSH_TIMEOUT": "0.5"}, stderr=writing)
            assert job.finish(timeout=at_most(0.5)).returncode == code


SHOWS_FILES = ("ls", "/proc/self/fd")


def test_inherited_files(jobs: Jobs) -> None:
    """The command has the same open files as without the wrapper."""
    reading, writing = os.pipe()
    try:
        outputs = [
            subprocess.run(
                command, env={**jobs.base_environ(), **QUICK}, pass_fds=(reading,), stdout=subprocess.PIPE, check=True
            ).stdout
            for command in (SHOWS_FILES, wrapped(*SHOWS_FILES))
        ]
    finally:
        os.close(reading)
        os.close(writing)
    assert outputs[0] == outputs[1]
    assert str(reading) in outputs[0].decode().split()


# --- terminals


@pytest.fixture
def terminal(jobs: Jobs) -> Iterator[Callable[..., Terminal]]:
    """Return a function that starts a command on a terminal."""
    terminals: list[Terminal] = []

    def begin(*command: str, **how: Any) -> Terminal:
        environ = {**jobs.base_environ(), **QUICK, "PS1": "PROMPT ", "TERM": "dumb"}
        terminals.append(Terminal(command, jobs.directory, environ, **how))
        return terminals[-1]

    yield begin
    for one in terminals:
        one.end()


@pytest.mark.parametrize("options", [(), ("--signal-group",)])
@pytest.mark.parametrize(("key", "number"), [(b"\x03", signal.SIGINT), (b"\x1c", signal.SIGQUIT)])
def test_keys_of_a_terminal(
    key: bytes, number: signal.Signals, options: tuple[str, ...], terminal: Callable[..., Terminal]
) -> None:
    """Ctrl-C and Ctrl-backslash reach the command exactly once each time."""
    on = terminal(*wrapped(*PRINT_SIGNALS, options=options))
    on.wait_for(b"READY")
    for _ in range(3):
        on.type(key)
        on.wait_for(b"got %d\r\n" % number)
    on.process.send_signal(signal.SIGTERM)
    on.wait_for(b"got %d\r\n" % signal.SIGTERM)
    assert on.process.wait(HANGS) == 0
    assert on.transcript.count(b"got %d\r\n" % number) == 3


@pytest.mark.parametrize("options", [(), ("--signal-group",)])
def test_ctrl_c_ends_a_command_on_a_terminal(
    options: tuple[str, ...], terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    """A command that dies of Ctrl-C gives the exit code 130, and its run is ABORT."""
    events = tmp_path / "events"
    to_file = f"OPENLINEAGE__TRANSPORT={json.dumps({'type': 'file', 'log_file_path': str(events), 'append': True})}"
    command = wrapped(*sh("echo READY; exec sleep 60"), options=options)
    on = terminal("env", to_file, "OPENLINEAGE_POD_FLUSH_TIMEOUT=30", *command)
    on.wait_for(b"READY")
    on.type(b"\x03")
    assert on.process.wait(HANGS) == 130
    assert [json.loads(line)["eventType"] for line in events.read_text().splitlines()] == ["START", "ABORT"]


@pytest.mark.parametrize("options", [(), ("--signal-group",)])
def test_terminal_that_is_closed(options: tuple[str, ...], terminal: Callable[..., Terminal]) -> None:
    """The SIGHUP of a closed terminal, which only its first process gets, reaches the command once."""
    on = terminal(*wrapped(*PRINT_SIGNALS, options=options), stdout=subprocess.PIPE)
    assert on.process.stdout is not None
    assert on.process.stdout.readline() == b"READY\n"
    children = Path(f"/proc/{on.process.pid}/task/{on.process.pid}/children")
    on.hang_up()
    pending = Path(f"/proc/{on.process.pid}/status")
    # The kernel sends SIGHUP when the terminal is closed, so the SIGTERM arrives last.
    wait_until(lambda: "ShdPnd:\t0000000000000000" in pending.read_text(), "the wrapper has taken the signal")
    assert children.read_text()
    on.process.send_signal(signal.SIGTERM)
    shown, _ = on.process.communicate(timeout=HANGS)
    assert shown.decode().split("\n").count(f"got {int(signal.SIGHUP)}") == 1


def test_window_size(terminal: Callable[..., Terminal]) -> None:
    """The command gets one SIGWINCH when the window of the terminal changes its size."""
    import fcntl
    import struct
    import termios

    on = terminal(*wrapped(*PRINT_SIGNALS))
    on.wait_for(b"READY")
    fcntl.ioctl(on.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    on.wait_for(b"got %d\r\n" % signal.SIGWINCH)
    on.process.send_signal(signal.SIGTERM)
    on.wait_for(b"got %d\r\n" % signal.SIGTERM)
    assert on.transcript.count(b"got") == 2


STOPPABLE = '\'echo RE""ADY; while read line </dev/tty; do echo "got-$line"; [ "$line" != end ] || exit 7; done\''
JOB_CONTROL: dict[str, dict[str, Any]] = {
    "plain": {},
    "group": {"options": ["--signal-group"]},
    "stdin is no terminal": {"after": " </dev/null"},
    "in a pipeline": {"before": "sleep 60 | "},
}

# The wrapper of a busy machine: it goes on late after each call and each signal.
LATE = """
import os, signal, time
from openlineage_pod.cli import main

def late(function):
    def call(*args, **options):
        result = function(*args, **options)
        time.sleep(0.1)
        return result
    return call

os.posix_spawnp, os.kill, signal.sigwaitinfo = late(os.posix_spawnp), late(os.kill), late(signal.sigwaitinfo)
raise SystemExit(main())
"""


@pytest.fixture(params=["in time", "late"])
def shell(request: pytest.FixtureRequest, terminal: Callable[..., Terminal], jobs: Jobs) -> Callable[..., Terminal]:
    """Return a function that types a command under the wrapper into a shell with job control."""
    (jobs.directory / "late.py").write_text(LATE)

    def begin(*command: str, options: Sequence[str] = (), before: str = "", after: str = "") -> Terminal:
        on = terminal("bash", "--norc", "--noprofile", "-i")
        on.wait_for(b"PROMPT ")
        line = f"{before}{' '.join(wrapped(*command, options=options))}{after}\n"
        on.type((line.replace("-m openlineage_pod", "late.py") if request.param == "late" else line).encode())
        # The wrapper has started the command and reports it: earlier keys may be lost.
        on.wait_for(b"READY", b"no OpenLineage transport")
        return on

    return begin


@pytest.mark.parametrize("name", fast(JOB_CONTROL, *list(JOB_CONTROL)[:2]))
def test_ctrl_z_and_fg(name: str, shell: Callable[..., Terminal]) -> None:
    """In a shell with job control, Ctrl-Z brings back the prompt, and fg continues the command."""
    case: dict[str, Any] = JOB_CONTROL[name]
    on = shell("sh", "-c", STOPPABLE, **case)
    for line in (b"first", b"second"):
        on.type(b"\x1a")
        on.wait_for(b"Stopped")
        on.wait_for(b"PROMPT ")
        on.type(b"fg\n%s\n" % line)
        on.wait_for(b"got-%s\r\n" % line)
    on.type(b"end\n")
    on.wait_for(b"got-end")
    if "before" not in case:
        on.type(b"echo still-$?\n")
        on.wait_for(b"still-7")


CONTINUED = """
import os, signal, time
for number in (signal.SIGCONT, signal.SIGWINCH):
    signal.signal(number, lambda number, frame: os.write(1, b"got %d\\n" % number))
os.write(1, b"READY\\n")
while True:
    time.sleep(60)
"""


OWN_GROUP = ("--signal-group",)


@pytest.mark.parametrize(
    ("options", "how"),
    fast(
        [(options, how) for options in ((), OWN_GROUP) for how in (b"fg\n", b"bg\n")],
        ((), b"fg\n"),
        (OWN_GROUP, b"bg\n"),
    ),
)
def test_it_goes_on_once(options: Sequence[str], how: bytes, shell: Callable[..., Terminal], jobs: Jobs) -> None:
    """A command that continues after Ctrl-Z gets one SIGCONT: a second one would undo the next Ctrl-Z."""
    (jobs.directory / "continued.py").write_text(CONTINUED)
    on = shell(sys.executable, "continued.py", options=options)
    on.type(b"\x1a")
    on.wait_for(b"Stopped")
    on.wait_for(b"PROMPT ")
    seen = len(on.transcript)
    on.type(how)
    on.wait_for(b"got %d\r\n" % signal.SIGCONT)
    # The kernel delivers the lowest number first: a pending SIGCONT would be forwarded before this one.
    os.kill(child_of(on.process.pid), signal.SIGWINCH)
    on.wait_for(b"got %d\r\n" % signal.SIGWINCH)
    assert on.transcript[seen:].count(b"got %d\r\n" % signal.SIGCONT) == 1


# --- the parts


def test_wrong_durations() -> None:
    """A timer takes any time: one that is past is due at once, and one that never comes stays."""
    supervisor = Supervisor(["true"], [{}], mask=set())
    acted: list[str] = []
    supervisor.call_at(time.monotonic() - 1, lambda: acted.append("past"))
    supervisor.call_at(time.monotonic() + 3600, lambda: acted.append("future"))
    assert supervisor.next_signal() is None
    supervisor.run_due_timers()
    assert acted == ["past"]
    seconds = supervisor.seconds_to_next_timer()
    assert seconds is not None
    assert 3500 < seconds <= 3600
    supervisor.run_due_timers()
    assert acted == ["past"]


def test_ended_without_a_reason() -> None:
    """The end of a command that nobody stopped has only a code."""
    assert Ended(7) == (7, None, "", None)
