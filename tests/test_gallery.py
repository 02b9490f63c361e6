"""docs/gallery.md shows every built-in figure, with the words of today."""

from __future__ import annotations

import re

from PIL import Image

from smartbkg_tf.evaluation.figure_files import BUILT_IN
from tests.gallery import IMAGES, PAGE, file_of


def in_words(text: str) -> re.Pattern[str]:
    """Match a title or caption whatever its fields are filled with."""
    parts = re.split(r"\{\w+\}", text)
    return re.compile(r"[\w ]+".join(map(re.escape, parts)))


def test_the_gallery_shows_every_built_in_figure() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for cls in BUILT_IN:
        for words in (f"### {cls.title}\n", cls.caption):
            assert in_words(words).search(text), f"make gallery: {cls.__name__} has changed"
    assert text.count("### ") == len(BUILT_IN)
    shown = re.findall(r'src="images/gallery/([\w.]+)" alt="', text)
    assert sorted(shown) == sorted(file.name for file in IMAGES.iterdir())
    assert {*shown} <= {file_of(cls) for cls in BUILT_IN}
    # The quickstart has one event type: a figure that compares several may be missing.
    assert len(shown) >= len(BUILT_IN) - 1


def test_its_pictures_are_small() -> None:
    files = list(IMAGES.glob("*.png"))
    for file in files:
        with Image.open(file) as picture:
            assert picture.width >= 400
        assert file.stat().st_size < 60_000, file.name
    assert sum(file.stat().st_size for file in files) < 1_000_000
