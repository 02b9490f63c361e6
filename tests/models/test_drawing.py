"""The drawing of the architecture."""

from __future__ import annotations

from xml.etree import ElementTree

import keras

from smartbkg_tf.models.drawing import model_svg
from smartbkg_tf.models.resnet import ResNet
from tests.models.model_test_case import common_arguments

SVG = "{http://www.w3.org/2000/svg}"


def boxes(text: str) -> list[tuple[float, float, float, float]]:
    root = ElementTree.fromstring(text)
    found = [r for r in root.iter(f"{SVG}rect") if r.get("rx")]
    return [
        tuple(float(r.get(key, "nan")) for key in ("x", "y", "width", "height"))  # type: ignore[misc]
        for r in found
    ]


def test_boxes_do_not_overlap_and_stay_inside() -> None:
    text = model_svg(ResNet(**common_arguments("combined")).model)
    root = ElementTree.fromstring(text)
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    found = boxes(text)
    assert len(found) > 30
    for i, (x, y, w, h) in enumerate(found):
        assert x >= 0
        assert x + w <= width
        assert y >= 0
        assert y + h <= height
        for x2, y2, w2, h2 in found[:i]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_lines_go_down_and_join_what_belongs_together() -> None:
    inputs = keras.Input((4,), name="start")
    left = keras.layers.Dense(3, name="left")(inputs)
    right = keras.layers.Dense(3, name="right")(keras.layers.Dense(3, name="first")(inputs))
    model = keras.Model(inputs, keras.layers.Add(name="sum")([left, right]))
    root = ElementTree.fromstring(model_svg(model))
    lines = [p.get("d", "") for p in root.iter(f"{SVG}path")]
    # start-left, start-first, first-right, left-(bend)-sum, right-sum
    assert len(lines) == 6
    rows = {y for _, y, _, _ in boxes(model_svg(model))}
    assert len(rows) == 4


def test_drawing_is_the_same_each_time_and_escapes_titles() -> None:
    model = ResNet(**common_arguments("decay")).model
    text = model_svg(model, title="a < b & c")
    assert text == model_svg(model, title="a < b & c")
    assert "a < b & c" in " ".join(ElementTree.fromstring(text).itertext())
