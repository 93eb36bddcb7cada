"""Outcomes: each way a body can end, and the error that is reported."""

from __future__ import annotations

import asyncio

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
    """The state follows DESIGN's table."""
    assert outcome_of(error).state == state


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
