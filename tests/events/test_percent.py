"""Percent-encoding."""

from __future__ import annotations

from urllib.parse import quote, unquote

from hypothesis import given
from hypothesis import strategies as st

from openlineage_pod.events.percent import percent_decoded, percent_encoded


@given(st.text(st.sampled_from("aZ09%+/ ~.-_é世") | st.characters(exclude_categories=["Cs"])))
def test_percent_encoding(text: str) -> None:
    """Texts are percent-encoded and decoded as `urllib.parse` does it."""
    assert percent_encoded(text) == quote(text, safe="")
    assert percent_decoded(text) == unquote(text)
