from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.events.readers import iterate_events
from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.generation.hepmc_source import HepmcSource
from smartbkg_tf.generation.mdst_source import MdstSource
from smartbkg_tf.generation.pythia_source import PythiaSource
from smartbkg_tf.generation.skims.fei_hadronic import FeiHadronic
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.generation import ProduceSettings

NAME = "fei_hadronic_b0"


def composed(*overrides):
    return compose_settings("produce", ProduceSettings, overrides)


def test_defaults_stand_in_the_classes(defaults):
    assert defaults == ProduceSettings(source=PythiaSource(), skim={NAME: FeiHadronic()})
    assert composed("source=mdst").source == MdstSource()
    assert composed("source=hepmc").source == HepmcSource()


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
        (["event_type=unknown"], "is for sources that read files"),
        (["source=mdst", "event_type=all"], "give the one type"),
        (["event_type=[]"], "event_type: give at least one of mixed"),
        (["input=x.root"], "input is for source=mdst and source=hepmc"),
        (["seed=1000000000000000000"], "seed.*less than or equal"),
        (["n_events=0"], "n_events.*greater than 0"),
        (["n_evnts=5"], "did you mean 'n_events'"),
        (["source=pythi"], "did you mean 'pythia'"),
        (["source.k_long=decay"], "'decay' is not a choice"),
        (["source.beams.energy=7"], "did you mean 'energy_"),
        (["detector.tracks.plateau=1.2"], "less than or equal to 1"),
        (["source.detector_z=[10,190]"], "detector_z"),
        (["~skim.fei_hadronic_b0"], "at least one skim"),
        (["format=root"], "'root' is not a choice"),
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


def test_two_commands_started_together_into_one_folder(tmp_path):
    """One makes its tables; the other ends with an error, however the two overlap."""
    words = ("smartbkg_tf.produce", "n_events=20", "output=out")
    started = {
        seed: subprocess.Popen(
            [sys.executable, "-m", *words, f"seed={seed}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for seed in (1, 2)
    }
    told = {seed: process.communicate() for seed, process in started.items()}
    codes = {seed: process.returncode for seed, process in started.items()}
    assert sorted(codes.values()) == [0, 1], told
    winner, loser = sorted(codes, key=codes.__getitem__)
    assert "mixed" in told[winner][0]
    # Without an overlap the second one finds the tables of another seed.
    assert re.search("another produce is writing|seed: . then, . now", told[loser][1])
    assert "tables in" not in told[loser][0]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    folder = tmp_path / "out"
    names = ["mixed_00000.h5", "observables", "production.json"]
    assert sorted(p.name for p in folder.iterdir()) == names
    assert json.loads((folder / "production.json").read_text())["settings"]["seed"] == winner
    ((_, table),) = iterate_events([folder / "mixed_00000.h5"])
    assert set(table.keys["production"]) == {10 * winner}
