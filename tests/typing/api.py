"""How users call the library, for mypy: checked by tests/typing/test_typing.py, never run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

from openlineage.client.event_v2 import InputDataset
from typing_extensions import assert_type

from openlineage_pod import DeliveryReport, LineageRun, ParentContext, current_run, dataset, flush, lineage_run


@lineage_run
def bare(number: int, *, text: str = "") -> float:
    """Keep its signature."""
    return float(number) if text else 0.0


assert_type(bare(1, text="x"), float)
bare("x")  # type: ignore[arg-type]


@lineage_run(
    "ingest", inputs=["s3://lake/a", ("ns", "name"), InputDataset("ns", "name")], outputs=[dataset("s3://b/c")]
)
def with_arguments() -> str:
    """Keep its result."""
    return ""


assert_type(with_arguments(), str)


@lineage_run()
async def coroutine() -> int:
    """Stay awaitable."""
    return 1


@lineage_run
def generator() -> Iterator[int]:
    """Stay iterable."""
    yield 1


@lineage_run
async def async_generator() -> AsyncIterator[int]:
    """Stay asynchronously iterable."""
    yield 1


assert_type(list(generator()), list[int])


class Loader:
    """A class with decorated methods."""

    @lineage_run
    def load(self, number: int) -> int:
        """Keep self out of the call."""
        return number


assert_type(Loader().load(1), int)


async def main() -> None:
    """Use every public name."""
    assert_type(await coroutine(), int)
    async with lineage_run("a") as run:
        assert_type(run, LineageRun)
    with lineage_run("a", namespace="b", run_facets={"own": {"a": 1}}) as run:
        run.add_input("s3://lake/a")
        run.add_output(
            dataset("s3://lake/b", schema={"id": "int"}, rows=1, column_lineage={"id": [("s3://lake/a", "id")]})
        )
        run.fail("x")
        run.abort(ValueError("x"))
        await asyncio.create_subprocess_exec("true", env=run.child_env())
        assert_type(run.run_id, str)
        assert_type(run.parent, ParentContext | None)
    assert_type(current_run(), LineageRun)
    assert_type(flush(timeout=2), DeliveryReport)
    assert_type(flush().delivered, int)
    assert_type(ParentContext.from_env(os.environ), ParentContext | None)
    lineage_run("a", inputs=7)  # type: ignore[call-overload]


asyncio.run(main())
