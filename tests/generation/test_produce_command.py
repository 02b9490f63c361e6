from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict

import pytest

from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.errors import ConfigurationError
from smartbkg_tf.settings.generation import MdstSource, ProduceSettings, PythiaSource


def composed(*overrides):
    return compose_settings("produce", ProduceSettings, overrides)


def test_defaults_of_the_yaml_are_those_of_the_classes(defaults):
    assert defaults.source == PythiaSource()
    assert composed("source=mdst").source == MdstSource()
    plain = ProduceSettings(source=defaults.source, detector=defaults.detector, skim=defaults.skim)
    assert asdict(defaults) == asdict(plain)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("event_type=mixed", ("mixed",)),
        ("event_type=all", EVENT_TYPES),
        ("event_type=[charged,mixed,charged]", ("mixed", "charged")),
        ("event_type='taupair, ccbar'", ("ccbar", "taupair")),
    ],
)
def test_event_types(override, expected):
    assert composed(override).event_types == expected


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["event_type=mixd"], "did you mean 'mixed'"),
        (["event_type=unknown"], "is for source=mdst"),
        (["source=mdst", "event_type=all"], "give the one type"),
        (["event_type=[]"], "event_type: give at least one of mixed"),
        (["input=x.root"], "input is for source=mdst and source=hepmc"),
        (["seed=1000000000000000000"], "seed.*less than or equal"),
        (["n_events=0"], "n_events.*greater than 0"),
        (["n_evnts=5"], "did you mean 'n_events'"),
        (["source=pythi"], "did you mean 'pythia'"),
        (["source.k_long=decay"], "'decay' is no choice"),
        (["source.beams.energy=7"], "did you mean 'energy_"),
        (["detector.tracks.plateau=1.2"], "less than or equal to 1"),
        (["source.detector_z=[10,190]"], "detector_z"),
        (["~skim.fei_hadronic_b0"], "at least one skim"),
        (["format=root"], "'root' is no choice"),
    ],
)
def test_mistakes_are_named(overrides, text):
    with pytest.raises(ConfigurationError, match=text):
        composed(*overrides)


def test_the_command_runs_and_a_wrong_setting_imports_nothing_heavy(tmp_path):
    script = (
        "import sys; sys.argv = ['produce', 'n_evnts=3']\n"
        "from smartbkg_tf.produce import main\n"
        "try:\n    main()\n"
        "except SystemExit as error:\n    print('code', error.code)\n"
        "print([m for m in ('tensorflow', 'keras', 'numba', 'pythia8mc', 'uproot') "
        "if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.splitlines() == ["code 1", "[]"]
    assert "did you mean 'n_events'" in done.stderr


def test_from_the_command_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "smartbkg_tf.produce", "n_events=20", "output=out"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "mixed" in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert (tmp_path / "out" / "mixed_00000.h5").exists()
