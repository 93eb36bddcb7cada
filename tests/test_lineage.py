"""lineage_run in all its forms: each wrapped thing behaves as the thing itself, and each run is its own."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import copy
import functools
import inspect
import pickle
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from openlineage_pod import DeliveryReport, current_run, flush, lineage_run
from openlineage_pod.core.runtime import replace_runtime

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from openlineage_pod.testing import Recorded


def states(recorded: Recorded) -> list[tuple[str, str]]:
    """Return job name and type of each event."""
    return [(event["job"]["name"], event["eventType"]) for event in recorded.events]


def test_bare_decorator_keeps_the_function(recorded: Recorded) -> None:
    """A decorated function keeps its name, documentation and signature, and returns the very object."""
    result = object()

    @lineage_run
    def load(first: int, *, second: str = "x") -> object:
        """Load it."""
        assert (first, second) == (1, "y")
        return result

    assert load(1, second="y") is result
    assert (load.__name__, load.__doc__) == ("load", "Load it.")
    assert list(inspect.signature(load).parameters) == ["first", "second"]
    assert states(recorded) == [("load", "START"), ("load", "COMPLETE")]


def test_decorator_with_arguments(recorded: Recorded) -> None:
    """With arguments the decorator names the job and its datasets."""

    @lineage_run("ingest", inputs=["s3://lake/a"], namespace="crm")
    def load() -> None: ...

    load()
    event = recorded.events[0]
    assert (event["job"]["namespace"], event["job"]["name"]) == ("crm", "ingest")
    assert [entry["name"] for entry in event["inputs"]] == ["a"]


def test_methods(recorded: Recorded) -> None:
    """Methods, class methods and static methods are decorated below their own decorators."""

    class Loader:
        @lineage_run
        def load(self) -> Loader:
            return self

        @classmethod
        @lineage_run
        def build(cls) -> type:
            return cls

        @staticmethod
        @lineage_run
        def check() -> int:
            return 7

    loader = Loader()
    assert loader.load() is loader
    assert Loader.build() is Loader
    assert Loader.check() == 7
    assert {name for name, _ in states(recorded)} == {"load", "build", "check"}


def test_callables_that_are_no_functions(recorded: Recorded) -> None:
    """A partial and an object with __call__ can be wrapped too, and are named after what they call."""

    class Job:
        def __call__(self) -> int:
            return 1

    def load(number: int) -> int:
        return number

    assert lineage_run(functools.partial(load, 2))() == 2
    assert lineage_run(Job())() == 1
    assert [name for name, _ in states(recorded)] == ["load", "load", "Job", "Job"]


@pytest.mark.parametrize(
    "wrong",
    [
        7,
        int,
        classmethod(lambda _cls: None),
        property(lambda _self: None),
        functools.cached_property(lambda _self: None),
        functools.partialmethod(print, 1),
        functools.singledispatchmethod(print),
    ],
    ids=lambda wrong: type(wrong).__name__,
)
def test_what_cannot_be_decorated(wrong: Any) -> None:
    """Decorating what cannot be called is an error at once that says what to do instead."""
    with pytest.raises(TypeError, match="below @classmethod"):
        lineage_run(wrong)


class Callee:
    """A callable that is not a function, with an attribute of its own."""

    __slots__ = ("note",)

    def __call__(self, *args: object) -> tuple[object, ...]:
        """Return what came."""
        return args


def plain(*args: object) -> tuple[object, ...]:
    """Return what came."""
    return args


async def coroutine(*args: object) -> tuple[object, ...]:
    """Return what came."""
    return args


# What may stand in a class, by what makes it of a function.
MEMBERS: dict[str, Callable[[], Any]] = {
    "function": lambda: plain,
    "staticmethod": lambda: staticmethod(plain),
    "staticmethod of a coroutine function": lambda: staticmethod(coroutine),
    "staticmethod of a partial": lambda: staticmethod(functools.partial(plain, 1)),
    "partial of a coroutine function": lambda: functools.partial(coroutine, 1),
    "partial": lambda: functools.partial(plain, 1),
    "object": Callee,
    "builtin function": lambda: max,
    "bound method": lambda: "{}".format,
    "bound method in Python": lambda: Callee().__call__,
    "lru_cache": lambda: functools.lru_cache(plain),
    "singledispatch": lambda: functools.singledispatch(plain),
}


@pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)
@pytest.mark.filterwarnings("ignore:functools.partial will be a method descriptor:FutureWarning")
def test_member_of_a_class(make: Callable[[], Any], recorded: Recorded) -> None:
    """Whatever stands in a class is called through the class, an instance and a subclass as without the decorator."""

    class Plain:
        member = make()

    class Decorated:
        member = lineage_run(make())

    kinds: list[Callable[[Any], Any]] = [
        lambda each: each,
        lambda each: each(),
        lambda each: type("Sub", (each,), {})(),
    ]
    for kind in kinds:
        expected, found = (
            ["instance" if isinstance(item, (Plain, Decorated)) else item for item in _called(kind(owner).member)]
            for owner in (Plain, Decorated)
        )
        assert found == expected
        assert inspect.iscoroutinefunction(kind(Decorated).member) == inspect.iscoroutinefunction(kind(Plain).member)
    assert len(recorded.events) == 2 * 3


def _called(function: Any) -> list[Any]:
    result = function(2, 3)
    if inspect.isawaitable(result):
        result = asyncio.run(_awaited(result))
    return list(result) if isinstance(result, tuple) else [result]


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def test_static_method_of_an_instance(recorded: Recorded) -> None:
    """Above @staticmethod the decorator makes a static method, also for an abstract one."""

    class Loader(abc.ABC):
        @lineage_run
        @staticmethod
        def load(number: int) -> int:
            return number

        @lineage_run
        @staticmethod
        @abc.abstractmethod
        def check() -> None: ...

        @lineage_run
        @abc.abstractmethod
        def run(self) -> None: ...

        @abc.abstractmethod
        @lineage_run
        def stop(self) -> None: ...

    assert isinstance(vars(Loader)["load"], staticmethod)
    assert Loader.__abstractmethods__ == {"check", "run", "stop"}
    Loader.__abstractmethods__ = frozenset()
    assert Loader().load(2) == Loader.load(2) == 2  # type: ignore[abstract]
    assert states(recorded) == [("load", "START"), ("load", "COMPLETE")] * 2


@lineage_run
@functools.lru_cache
def cached(number: int) -> int:
    """Return the number."""
    return number


def test_attributes_of_a_callable(recorded: Recorded) -> None:
    """What lru_cache and other makers of callables put on them is there through the decorator, and pickle works."""
    assert cached(1) == cached(1)
    assert cached.cache_info().hits == 1  # type: ignore[attr-defined]
    cached.cache_clear()  # type: ignore[attr-defined]
    assert cached.cache_info().currsize == 0  # type: ignore[attr-defined]
    assert not hasattr(cached, "delay")
    assert pickle.loads(pickle.dumps(cached)) is cached  # noqa: S301  our own
    assert copy.copy(cached) is cached
    assert len(recorded.events) == 4


def test_exception_is_untouched(recorded: Recorded) -> None:
    """The body's exception leaves as the same object, with its cause, and with its own frames innermost."""
    error = ValueError("x")

    @lineage_run
    def load() -> None:
        raise error from KeyError("why")

    with pytest.raises(ValueError, match="x") as caught:
        load()
    assert caught.value is error
    assert isinstance(error.__cause__, KeyError)
    assert error.__context__ is None
    assert traceback.extract_tb(error.__traceback__)[-1].name == "load"
    end = recorded.events[-1]
    assert end["eventType"] == "FAIL"
    assert "in load" in end["run"]["facets"]["errorMessage"]["stackTrace"]


@lineage_run
def outer_step(inner: Callable[[], None]) -> None:
    """Call another decorated function, and wrap what it raises."""
    try:
        inner()
    except KeyError as error:
        raise RuntimeError("outer") from error


@pytest.mark.parametrize("kind", ["function", "coroutine", "generator", "async generator", "block", "context"])
def test_stack_trace_shows_the_job_alone(kind: str, recorded: Recorded) -> None:
    """The reported stack traces, also of the causes, begin with the job's own frames and show none of ours."""

    @lineage_run
    def function() -> None:
        raise KeyError("inner")

    @lineage_run
    async def async_function() -> None:
        raise KeyError("inner")

    @lineage_run
    def generator() -> Generator[int, None, None]:
        yield 1
        raise KeyError("inner")

    @lineage_run
    async def async_generator() -> AsyncGenerator[int, None]:
        yield 1
        raise KeyError("inner")

    def block() -> None:
        with lineage_run("block"):
            raise KeyError("inner")

    def context() -> None:
        try:
            function()
        finally:
            raise ValueError("context")

    async def exhausted() -> None:
        async for _ in async_generator():
            pass

    bodies: dict[str, Callable[[], Any]] = {
        "function": function,
        "coroutine": lambda: asyncio.run(async_function()),
        "generator": lambda: list(generator()),
        "async generator": lambda: asyncio.run(exhausted()),
        "block": block,
        "context": context,
    }
    with pytest.raises((RuntimeError, ValueError)):
        outer_step(bodies[kind])
    traces = [
        event["run"]["facets"]["errorMessage"]["stackTrace"]
        for event in recorded.events
        if event["eventType"] == "FAIL"
    ]
    assert len(traces) == 2
    for trace in traces:
        assert "openlineage_pod/core" not in trace
        assert trace.startswith('Traceback (most recent call last):\n  File "')
        assert f'File "{__file__}"' in trace
        assert "KeyError: 'inner'" in trace
    assert "in outer_step" in traces[1]
    assert traces[1].count("Traceback (most recent call last)") >= 2


def test_block_leaves_the_traceback_as_it_is(recorded: Recorded) -> None:
    """A with block adds no frame to the traceback of what it lets through."""
    with pytest.raises(ZeroDivisionError) as caught, lineage_run("ingest"):
        1 / 0  # noqa: B018
    assert {frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)} == {__file__}
    assert states(recorded)[-1] == ("ingest", "FAIL")


@pytest.mark.parametrize(
    ("error", "state"),
    [(SystemExit(0), "COMPLETE"), (SystemExit(3), "FAIL"), (KeyboardInterrupt(), "ABORT"), (MemoryError(), "FAIL")],
    ids=repr,
)
def test_outcomes(error: BaseException, state: str, recorded: Recorded) -> None:
    """Whatever leaves the body decides the state, and goes on to leave the block."""
    with pytest.raises(type(error)) as caught, lineage_run("ingest"):
        raise error
    assert caught.value is error
    assert states(recorded)[-1] == ("ingest", state)


def test_recursion(recorded: Recorded) -> None:
    """Each call of a recursive function is a run of its own, nested in the call around it."""

    @lineage_run("walk")
    def walk(depth: int) -> int:
        return 0 if depth == 0 else 1 + walk(depth - 1)

    assert walk(3) == 3
    starts = [event for event in recorded.events if event["eventType"] == "START"]
    assert len({event["run"]["runId"] for event in starts}) == 4
    for outer, inner in zip(starts, starts[1:], strict=False):
        assert inner["run"]["facets"]["parent"]["run"]["runId"] == outer["run"]["runId"]
        assert inner["job"]["name"] != outer["job"]["name"]


def test_endless_recursion(recorded: Recorded) -> None:
    """A body that runs out of stack ends as FAIL, with its own RecursionError."""

    def dig() -> None:
        dig()

    with pytest.raises(RecursionError), lineage_run("ingest"):
        dig()
    assert states(recorded)[-1] == ("ingest", "FAIL")


def test_scope_entered_twice(recorded: Recorded) -> None:
    """One scope object can be entered again while it is entered; the inner exit ends the inner run."""
    scope = lineage_run("ingest")
    with scope as outer:
        with scope as inner:
            assert inner is not outer
        assert current_run() is outer
    assert [event["run"]["runId"] for event in recorded.events] == [
        outer.run_id, inner.run_id, inner.run_id, outer.run_id
    ]  # fmt: skip


def ends(recorded: Recorded) -> dict[str, str]:
    """Return the type of each run's terminal event by the name of its output."""
    return {
        event["outputs"][0]["name"]: event["eventType"] for event in recorded.events if event["eventType"] != "START"
    }


def test_scope_shared_by_generators(recorded: Recorded) -> None:
    """One scope in generators whose steps alternate: each exit ends the run of its own entry, whatever is current."""
    scope = lineage_run("ingest")

    def work(number: int) -> Generator[None, None, None]:
        with scope as run:
            run.add_output(f"s3://lake/{number}")
            yield

    first, second, third = work(1), work(2), work(3)
    for each in (first, second, third):
        next(each)
    with pytest.raises(KeyError):
        first.throw(KeyError())
    with pytest.raises(ValueError, match="x"):
        second.throw(ValueError("x"))
    assert list(third) == []
    assert not current_run()
    assert ends(recorded) == {"1": "FAIL", "2": "FAIL", "3": "COMPLETE"}


def test_scope_shared_by_asynchronous_generators(recorded: Recorded) -> None:
    """The same with `async with` in asynchronous generators of one task."""
    scope = lineage_run("ingest")

    async def work(number: int) -> AsyncGenerator[None, None]:
        async with scope as run:
            run.add_output(f"s3://lake/{number}")
            yield

    async def main() -> None:
        first, second = work(1), work(2)
        await anext(first)
        await anext(second)
        with pytest.raises(KeyError):
            await first.athrow(KeyError())
        assert [each async for each in second] == []

    asyncio.run(main())
    assert ends(recorded) == {"1": "FAIL", "2": "COMPLETE"}


def test_scope_in_recursive_exit_stacks(recorded: Recorded) -> None:
    """A scope that ExitStacks enter, in recursion and in tasks of their own, ends the run of each stack with it."""
    scope = lineage_run("ingest")

    def dig(depth: int) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(scope).add_output(f"s3://lake/sync{depth}")
            if depth:
                with contextlib.suppress(KeyError):
                    dig(depth - 1)
            else:
                raise KeyError

    async def work(number: int, turn: asyncio.Event, done: asyncio.Event) -> None:
        async with contextlib.AsyncExitStack() as stack:
            (await stack.enter_async_context(scope)).add_output(f"s3://lake/task{number}")
            await turn.wait()
            done.set()
            if number == 0:
                raise KeyError

    async def main() -> None:
        turn = [asyncio.Event() for _ in range(4)]
        tasks = [asyncio.create_task(work(number, turn[number], turn[(number + 1) % 4])) for number in range(4)]
        await asyncio.sleep(0)
        turn[0].set()
        await asyncio.gather(*tasks, return_exceptions=True)

    dig(2)
    asyncio.run(main())
    assert ends(recorded) == {
        **dict.fromkeys(["sync2", "sync1", "task1", "task2", "task3"], "COMPLETE"),
        **dict.fromkeys(["sync0", "task0"], "FAIL"),
    }


def test_scope_shared_by_threads(recorded: Recorded) -> None:
    """One scope in threads that leave it in another order than they entered it: each ends its own run."""
    scope = lineage_run("ingest")
    inside = threading.Barrier(8)
    turns = [threading.Event() for _ in range(9)]
    turns[0].set()

    def work(number: int) -> None:
        with contextlib.suppress(KeyError), scope as run:
            run.add_output(f"s3://lake/{number}")
            inside.wait()
            turns[number].wait()
            turns[number + 1].set()
            if number % 2:
                raise KeyError

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends(recorded) == {str(number): "FAIL" if number % 2 else "COMPLETE" for number in range(8)}


def test_scope_left_in_another_frame(recorded: Recorded) -> None:
    """A scope that is entered and left by hand, in functions of their own, ends its innermost run first."""
    scope = lineage_run("ingest")

    def enter(number: int) -> None:
        scope.__enter__().add_output(f"s3://lake/{number}")

    enter(1)
    enter(2)
    scope.__exit__(None, None, None)
    scope.__exit__(KeyError, KeyError(), None)
    assert ends(recorded) == {"2": "COMPLETE", "1": "FAIL"}


def test_scope_shared_by_tasks(recorded: Recorded) -> None:
    """One scope object in many asyncio tasks gives each a run of its own."""
    scope = lineage_run("ingest")

    async def work(number: int) -> None:
        async with scope as run:
            await asyncio.sleep(0.001 * (number % 5))
            assert current_run() is run
            run.add_output(f"s3://lake/{number}")

    async def main() -> None:
        await asyncio.gather(*(work(number) for number in range(20)))

    asyncio.run(main())
    ends = [event for event in recorded.events if event["eventType"] == "COMPLETE"]
    assert sorted(int(event["outputs"][0]["name"]) for event in ends) == list(range(20))
    assert all(len(event["outputs"]) == 1 for event in ends)


def test_coroutine(recorded: Recorded) -> None:
    """A decorated coroutine function stays one, and its run lasts as long as it is awaited."""

    @lineage_run
    async def load(number: int) -> int:
        await asyncio.sleep(0)
        assert current_run().job_name == "load"
        return number

    assert inspect.iscoroutinefunction(load)

    async def main() -> list[int]:
        assert not current_run()
        return list(await asyncio.gather(load(1), load(2)))

    assert asyncio.run(main()) == [1, 2]
    assert sorted(states(recorded)) == [("load", "COMPLETE")] * 2 + [("load", "START")] * 2


def test_cancelled_task(recorded: Recorded) -> None:
    """A cancelled task ends its run as ABORT and stays cancelled."""

    @lineage_run
    async def load() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(load())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert states(recorded) == [("load", "START"), ("load", "ABORT")]


@lineage_run
def numbers(limit: int) -> Generator[int, str, str]:
    """Yield numbers, note what is sent in, return what was noted."""
    noted = ""
    for number in range(limit):
        assert current_run().job_name == "numbers"
        try:
            noted += (yield number) or ""
        except KeyError:
            noted += "!"
    return noted


def test_generator(recorded: Recorded) -> None:
    """A generator's run starts with its first step, is current only in its own steps, and ends with the last."""
    assert inspect.isgeneratorfunction(numbers)
    generator = numbers(2)
    assert recorded.events == []
    assert next(generator) == 0
    assert not current_run()
    assert states(recorded) == [("numbers", "START")]
    assert list(generator) == [1]
    assert states(recorded)[-1] == ("numbers", "COMPLETE")


def test_generator_protocol(recorded: Recorded) -> None:
    """Values sent in, exceptions thrown in and the returned value pass as without the decorator (PEP 380)."""
    generator = numbers(3)
    next(generator)
    generator.send("a")
    generator.throw(KeyError())
    with pytest.raises(StopIteration) as stop:
        generator.send("b")
    assert stop.value.value == "a!b"
    assert states(recorded)[-1] == ("numbers", "COMPLETE")


def test_generator_closed_by_its_consumer(recorded: Recorded) -> None:
    """A consumer that has enough completes the run; the generator's own clean-up runs."""
    cleaned = []

    @lineage_run
    def rows() -> Generator[int, None, None]:
        try:
            yield 1
            yield 2
        finally:
            cleaned.append(True)

    for _ in rows():
        break
    assert cleaned == [True]
    assert states(recorded) == [("rows", "START"), ("rows", "COMPLETE")]


def test_generator_that_raises(recorded: Recorded) -> None:
    """An error in the generator, also one thrown in, is a FAIL and reaches the consumer."""
    generator = numbers(3)
    next(generator)
    error = ValueError("x")
    with pytest.raises(ValueError, match="x") as caught:
        generator.throw(error)
    assert caught.value is error
    assert states(recorded)[-1] == ("numbers", "FAIL")


def test_generators_interleaved(recorded: Recorded) -> None:
    """Two generators stepped in turns keep their runs apart."""
    list(zip(numbers(2), numbers(2), strict=True))
    assert all("parent" not in event["run"]["facets"] for event in recorded.events)
    assert len({event["run"]["runId"] for event in recorded.events}) == 2


def test_async_generator(recorded: Recorded) -> None:
    """An asynchronous generator passes values in both directions, and ends when exhausted or closed."""

    @lineage_run
    async def rows() -> AsyncGenerator[int, str]:
        noted = ""
        try:
            while True:
                assert current_run().job_name == "rows"
                noted += (yield len(noted)) or ""
                if noted == "abc":
                    return
        except KeyError:
            yield -1

    assert inspect.isasyncgenfunction(rows)

    async def main() -> None:
        first = rows()
        assert await first.asend(None) == 0  # type: ignore[arg-type]
        assert not current_run()
        assert await first.asend("ab") == 2
        with pytest.raises(StopAsyncIteration):
            await first.asend("c")
        second = rows()
        await anext(second)
        assert await second.athrow(KeyError()) == -1
        await second.aclose()

    asyncio.run(main())
    assert states(recorded) == [("rows", "START"), ("rows", "COMPLETE")] * 2


def test_async_generator_that_raises(recorded: Recorded) -> None:
    """An error in an asynchronous generator is a FAIL and reaches the consumer."""

    @lineage_run
    async def rows() -> AsyncGenerator[int, None]:
        yield 1
        raise ValueError("x")

    async def main() -> list[int]:
        return [row async for row in rows()]

    with pytest.raises(ValueError, match="x"):
        asyncio.run(main())
    assert states(recorded)[-1] == ("rows", "FAIL")


def test_flush_before_any_run() -> None:
    """Flushing a process without a run says that there was nothing to deliver."""
    before = replace_runtime(None)
    try:
        assert flush() == DeliveryReport()
    finally:
        replace_runtime(before)


def test_flush_says_what_was_delivered(recorded: Recorded) -> None:
    """After a flush the report counts the delivered events."""
    with lineage_run("ingest"):
        pass
    assert flush(timeout=5) == DeliveryReport(delivered=2)
    assert len(recorded.events) == 2


def test_help_tells_all() -> None:
    """The help of lineage_run shows the three forms, every argument, the states and what is raised."""
    text = inspect.getdoc(lineage_run) or ""
    words = "@lineage_run|with lineage_run|async with|COMPLETE|FAIL|ABORT|ConfigurationError|OPENLINEAGE_CONTEXT"
    for word in (*inspect.signature(lineage_run).parameters, *words.split("|")):
        assert word in text, word


def test_error_of_ours_does_not_reach_the_job(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, swallowed: list[Exception]
) -> None:
    """If we ourselves fail at start or end, the job goes on with one warning each."""
    from openlineage_pod.core import lineage, run

    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError("ours")

    @lineage_run
    def load() -> int:
        return 7

    with monkeypatch.context() as patched:
        patched.setattr(lineage, "make_run", broken)
        assert load() == 7
    with monkeypatch.context() as patched, lineage_run("ingest"):
        patched.setattr(run, "Draft", broken)
    assert [str(error) for error in swallowed] == ["ours"] * 2
    swallowed.clear()
    assert len(caplog.records) == 2
    assert states(recorded) == [("ingest", "START")]


def test_wrong_name_is_quoted_without_half_a_password(recorded: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    """The warning about a job name that cannot be used has no part of a password in it, wherever it is cut."""
    password = "Zq8" * 30
    with lineage_run(f"{{{{ name }}}} of postgres://etl:{password}@warehouse/crm"):
        pass
    assert recorded.events
    assert "the job name" in caplog.text
    assert password[:3] not in caplog.text
