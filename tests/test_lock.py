"""The lock file fits pyproject.toml, and is what installs."""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

LOCK = ROOT / "requirements.lock"


def wanted() -> list[Requirement]:
    """Give everything that pyproject.toml asks for and the lock holds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    texts = [*project["dependencies"]]
    for name, listed in extras.items():
        texts += listed if name != "tracking" else []
    found = [Requirement(text) for text in texts]
    return [one for one in found if one.name != "smartbkg_tf"]


@pytest.mark.parametrize("python", ["3.11.7", "3.12.0", "3.13.0"])
def test_every_requirement_has_one_exact_version(python: str) -> None:
    environment = {"python_version": python.rpartition(".")[0], "python_full_version": python}
    versions: dict[str, list[str]] = {}
    for line in LOCK.read_text().splitlines():
        if not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate(environment):
                (specifier,) = pin.specifier
                assert specifier.operator == "=="
                versions.setdefault(pin.name, []).append(specifier.version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
    missing = [
        str(one)
        for one in wanted()
        if (one.marker is None or one.marker.evaluate(environment))
        and versions.get(one.name.replace("_", "-").lower(), ["0"])[0] not in one.specifier
    ]
    assert missing == [], "make lock writes the lock anew"


def test_it_names_no_host_and_is_used() -> None:
    assert "://" not in LOCK.read_text()
    for name in ("Makefile", "Dockerfile"):
        text = (ROOT / name).read_text()
        assert "install" in text
        assert text.count("-c requirements.lock") + text.count("/requirements.lock") == 1, name
