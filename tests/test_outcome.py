"""Outcomes: each way a body can end, and the error that is reported."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import Any

import pytest

from openlineage_pod.core.outcome import Outcome, outcome_of


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, "COMPLETE"),
        (SystemExit(), "COMPLETE"),
        (SystemExit(0), "COMPLETE"),
        (SystemExit(None), "COMPLETE"),
        (SystemExit(False), "COMPLETE"),
        (GeneratorExit(), "COMPLETE"),
        (SystemExit(3), "FAIL"),
        (SystemExit("no input"), "FAIL"),
        (SystemExit(""), "FAIL"),
        (ValueError("x"), "FAIL"),
        (StopIteration(), "FAIL"),
        (RecursionError(), "FAIL"),
        (MemoryError(), "FAIL"),
        (KeyboardInterrupt(), "ABORT"),
        (asyncio.CancelledError(), "ABORT"),
    ],
    ids=repr,
)
def test_state(error: BaseException | None, state: str) -> None:
    """The state follows the table of `outcome_of`."""
    assert outcome_of(error).state == state


def _raised_by(module: str, name: str, base: type[BaseException] = RuntimeError) -> Any:
    """Return a class as a library that is not installed here would define it."""
    return type(
        name, (base,), {"__module__": module, "__init__": lambda self, code=0: setattr(self, "exit_code", code)}
    )


class _NeverEqual(int):
    def __eq__(self, _other: object) -> bool:
        raise ValueError("not comparable")

    __hash__ = int.__hash__


CLICK_EXIT = _raised_by("click.exceptions", "Exit")
TYPER_EXIT = _raised_by("typer.exceptions", "Exit")


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (SystemExit(0.0), "FAIL"),
        (SystemExit(Fraction(0)), "FAIL"),
        (SystemExit(()), "FAIL"),
        (SystemExit(0, 0), "FAIL"),
        (SystemExit(_NeverEqual(0)), "COMPLETE"),
        (SystemExit(_NeverEqual(3)), "FAIL"),
        (CLICK_EXIT(), "COMPLETE"),
        (CLICK_EXIT(2), "FAIL"),
        (TYPER_EXIT(0), "COMPLETE"),
        (TYPER_EXIT(1), "FAIL"),
        (_raised_by("asyncclick.exceptions", "Exit")(0), "COMPLETE"),
        (type("Done", (TYPER_EXIT,), {"__module__": "app.cli"})(0), "COMPLETE"),
        (_raised_by("click.exceptions", "Abort")(0), "FAIL"),
        (_raised_by("app.click", "Exit")(0), "FAIL"),
        (type("Exit", (ValueError,), {"__module__": None})(0), "FAIL"),
        (_raised_by("greenlet", "GreenletExit", BaseException)(), "ABORT"),
        (_raised_by("trio", "Cancelled", BaseException)(), "ABORT"),
        (_raised_by("concurrent.futures._base", "CancelledError", Exception)(), "FAIL"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{type(value).__module__}.{type(value).__name__}",
)
def test_state_by_status_and_library(error: BaseException, state: str) -> None:
    """What counts is the status with which Python or the library ends the program, and who cancels the body."""
    assert outcome_of(error).state == state


def test_exit_of_a_library_names_its_code() -> None:
    """The message of click's or typer's exit is that of SystemExit."""
    assert outcome_of(CLICK_EXIT(3)).message == "exited with 3"


def test_error_facet() -> None:
    """A failure is reported with its message, language and stack trace."""
    try:
        int("x")
    except ValueError as error:
        facet = outcome_of(error).to_facet()
    assert facet is not None
    assert facet["message"] == "ValueError: invalid literal for int() with base 10: 'x'"
    assert facet["programmingLanguage"] == "PYTHON"
    assert 'int("x")' in str(facet["stackTrace"])
    assert "_producer" in facet


def test_no_facet_for_success() -> None:
    """A run that completed carries no error, and a reason without a trace no empty trace."""
    assert outcome_of(None).to_facet() is None
    assert "stackTrace" not in (Outcome("ABORT", "told to").to_facet() or {})


def test_exit_code_is_named() -> None:
    """The message of an exit names its code."""
    assert outcome_of(SystemExit(3)).message == "exited with 3"


def test_message_that_cannot_be_shown() -> None:
    """An exception whose __str__ raises is reported by its type."""

    class Mute(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise RuntimeError("no words")

    outcome = outcome_of(Mute())
    assert outcome.state == "FAIL"
    assert outcome.message == "Mute (its message cannot be shown: RuntimeError)"


def test_error_is_left_as_it_is() -> None:
    """Reading an error changes none of its attributes."""
    with pytest.raises(ValueError, match="b") as caught:
        try:
            raise KeyError("a")
        except KeyError as cause:
            raise ValueError("b") from cause
    error = caught.value
    before = (error.__traceback__, error.__cause__, error.__context__, error.args, dict(vars(error)))
    outcome_of(error)
    assert (error.__traceback__, error.__cause__, error.__context__, error.args, dict(vars(error))) == before
