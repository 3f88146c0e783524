"""The stream between a monitor and those attached to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.containers import frames

FRAMES = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=8)


@given(FRAMES, st.integers(1, 50))
def test_frames_survive_any_cut(sent: list[tuple[int, bytes]], size: int) -> None:
    stream = b"".join(frames.frame(kind, payload) for kind, payload in sent)
    decoder = frames.Decoder()
    received = []
    for start in range(0, len(stream), size):
        received += decoder.feed(stream[start : start + size])
    assert received == sent


def test_a_length_that_nobody_sends() -> None:
    decoder = frames.Decoder()
    assert decoder.feed(b"\x01\x00\x10\x00\x00") == []
    with pytest.raises(ValueError, match="frame of"):
        frames.Decoder().feed(b"\x01\xff\xff\xff\xff")
