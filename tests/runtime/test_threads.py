"""Turns of threads."""

from __future__ import annotations

import sys

import pytest

from smartbkg_tf.runtime.threads import short_turns


def test_turns_are_short_inside_and_as_before_behind() -> None:
    before = sys.getswitchinterval()
    with pytest.raises(ValueError, match="inside"), short_turns():
        assert sys.getswitchinterval() < 0.001
        raise ValueError("inside")
    assert sys.getswitchinterval() == before
