from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from smartbkg_tf.errors import InputError, UserError
from smartbkg_tf.events.mdst import MdstReader
from smartbkg_tf.events.readers import count_events
from smartbkg_tf.events.table import PARTICLE_COLUMNS, EventTable, concatenate, event_type_code
from smartbkg_tf.events.vocabulary import default_vocabulary
from tests.events.comparison import assert_same_events, read_with
from tests.mdst_twin import write_mdst_twin

REAL = Path(__file__).resolve().parents[2] / "../shared/data/mdst-v06-00-00.root"


def iterate_mdst(
    path: Path, *, event_type: str | None = None, **options: Any
) -> Iterator[EventTable]:
    return read_with(MdstReader(event_type=event_type), path, **options)


needs_real_file = pytest.mark.skipif(not REAL.exists(), reason="the real mDST file is not here")


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("continuum", [False, True])
def test_twin_round_trip(tmp_path: Path, chunk: int, continuum: bool) -> None:
    # Known trap 21: with continuum, the mother of the first kept particle is dropped.
    expected = write_mdst_twin(tmp_path / "a.root", 20, 3, continuum=continuum, empty=(0, 7, 19))
    found = concatenate(list(iterate_mdst(tmp_path / "a.root", chunk_events=chunk)))
    assert_same_events(found, expected)
    assert count_events(tmp_path / "a.root") == 20
    assert found.decay_strings is not None
    assert found.decay_strings[0] == ""
    assert found.decay_strings[1].startswith(" 300553 (--> 5")


def test_only_events_without_particles(tmp_path: Path) -> None:
    write_mdst_twin(tmp_path / "a.root", 3, empty=(0, 1, 2))
    found = next(iterate_mdst(tmp_path / "a.root"))
    assert found.offsets.tolist() == [0, 0, 0, 0]
    assert set(found.particles) == set(PARTICLE_COLUMNS)


def _one_event(path: Path, status: list[int], mother: list[int], pdg: list[int]) -> None:
    n = len(status)
    jagged = {
        "m_status": ak.values_astype(ak.Array([status]), "uint16"),
        "m_mother": ak.values_astype(ak.Array([mother]), "int32"),
        "m_pdg": ak.values_astype(ak.Array([pdg]), "int32"),
        **{
            f"m_{name}": ak.values_astype(ak.Array([[float(i) for i in range(n)]]), "float32")
            for name in (
                "mass",
                "energy",
                "momentum_x",
                "momentum_y",
                "momentum_z",
                "productionTime",
                "productionVertex_x",
                "productionVertex_y",
                "productionVertex_z",
            )
        },
    }
    write_mdst_twin(path, 1, changes={f"MCParticles.{k}": v for k, v in jagged.items()})


def test_selection_and_mother_links_by_hand(tmp_path: Path) -> None:
    #        e-     e+     gamma*  tau-  tau+   pi    ISR    FSR   (secondary) virtual, its daughter
    pdg = [11, -11, 10022, 15, -15, -211, 22, 22, 11, 24, 13]
    status = [33, 33, 17, 1, 1, 3, 67, 131, 2, 17, 3]
    mother = [0, 0, 1, 3, 3, 4, 1, 4, 6, 5, 10]
    _one_event(tmp_path / "a.root", status, mother, pdg)
    found = next(iterate_mdst(tmp_path / "a.root", event_type="taupair"))
    columns = {name: values.tolist() for name, values in found.particles.items()}
    assert columns["PDG"] == [15, -15, -211, 13]
    assert columns["status"] == [1, 1, 3, 3]
    assert columns["motherIndex"] == [-1, -1, 0, -1]
    assert columns["motherPDG"] == [10022, 10022, 15, 24]
    assert columns["nDaughters"] == [1, 0, 0, 0]
    assert columns["charge"] == [-1, 1, -1, -1]
    assert columns["energy"] == [3.0, 4.0, 5.0, 10.0]
    assert found.decay_strings is not None
    assert found.decay_strings[0] == " 15 (--> -211 <--) -15 13"
    assert found.event_type.tolist() == [6]


def test_mother_behind_its_daughter(tmp_path: Path) -> None:
    _one_event(tmp_path / "a.root", [1, 1, 1], [3, 1, 0], [211, 22, 300553])
    found = next(iterate_mdst(tmp_path / "a.root"))
    assert found.particles["motherIndex"].tolist() == [2, 0, -1]
    assert found.decay_strings is not None
    assert found.decay_strings[0] == " 300553 (--> 211 (--> 22 <--) <--)"


def test_unknown_codes_are_told_and_neutral(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _one_event(tmp_path / "a.root", [1, 1], [0, 1], [300553, 777777777])
    found = concatenate(list(iterate_mdst(tmp_path / "a.root")))
    assert found.particles["charge"].tolist() == [0.0, 0.0]
    assert "777777777 (1 times)" in capsys.readouterr().out


@pytest.mark.parametrize("mother", [-1, 3])
def test_mother_that_does_not_exist(tmp_path: Path, mother: int) -> None:
    _one_event(tmp_path / "a.root", [1, 1], [0, mother], [300553, 22])
    with pytest.raises(InputError, match=f"event 0 has 2 particles.*has the mother {mother}"):
        next(iterate_mdst(tmp_path / "a.root"))


def test_lists_of_unequal_length(tmp_path: Path) -> None:
    short = ak.values_astype(ak.Array([[1.0], [2.0]]), "float32")
    write_mdst_twin(tmp_path / "a.root", 2, changes={"MCParticles.m_energy": short})
    with pytest.raises(InputError, match=r"event 0 has 1 values of MCParticles\.m_energy"):
        next(iterate_mdst(tmp_path / "a.root"))


def test_keys_are_those_of_event_meta_data(tmp_path: Path) -> None:
    keys = {
        "experiment": np.array([7, 7, 8]),
        "run": np.array([-1, 2**31 - 1, 0]),
        "event": np.array([5, 2**32 - 1, 5]),
        "production": np.array([0, 12, 3]),
    }
    write_mdst_twin(tmp_path / "a.root", 3, keys=keys)
    found = next(iterate_mdst(tmp_path / "a.root"))
    for name, values in keys.items():
        assert found.keys[name].tolist() == values.tolist()


@pytest.mark.parametrize(
    ("without", "message"),
    [
        (("MCParticles",), "its tree has no MCParticles; "),
        (("EventMetaData",), "its tree has no EventMetaData; "),
        (("MCParticles", "EventMetaData"), "no EventMetaData and no MCParticles"),
        (("MCParticles.m_pdg",), "lacks the branches MCParticles.m_pdg; the likest are "),
        (
            ("MCParticles.m_status", "EventMetaData.m_run"),
            "lacks the branches EventMetaData.m_run, MCParticles.m_status",
        ),
    ],
)
def test_missing_branches_are_all_named(
    tmp_path: Path, without: tuple[str, ...], message: str
) -> None:
    other = {"Tracks.m_pdg": np.zeros(3)}
    write_mdst_twin(tmp_path / "a.root", 3, without=without, changes=other)
    with pytest.raises(InputError, match=message):
        next(iterate_mdst(tmp_path / "a.root"))


def test_files_that_are_none(tmp_path: Path) -> None:
    write_mdst_twin(tmp_path / "good.root", 20)
    data = (tmp_path / "good.root").read_bytes()
    (tmp_path / "cut.root").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.root").write_text("not root at all")
    (tmp_path / "empty.root").write_bytes(b"")
    write_mdst_twin(tmp_path / "none.root", 0)
    with uproot.recreate(tmp_path / "trees.root") as file:
        file.mktree("tre", {"x": "f8"}).extend({"x": np.zeros(2)})
    for name, message in {
        "cut.root": "truncated or damaged",
        "text.root": "is not a ROOT file",
        "empty.root": "is empty",
        "missing.root": "does not exist",
        "none.root": "holds no events",
        "trees.root": "no tree of events.*did you mean 'tre'",
        ".": "is a folder",
    }.items():
        with pytest.raises(InputError, match=message) as error:
            list(iterate_mdst(tmp_path / name))
        assert str(tmp_path / name) in str(error.value)


def test_truncation_at_any_place_is_noticed(tmp_path: Path) -> None:
    write_mdst_twin(tmp_path / "good.root", 12)
    data = (tmp_path / "good.root").read_bytes()
    for length in np.linspace(4, len(data) - 400, 25).astype(int):
        (tmp_path / "cut.root").write_bytes(data[:length])
        with pytest.raises(InputError):
            list(iterate_mdst(tmp_path / "cut.root"))


def test_damaged_bytes_never_give_a_traceback(tmp_path: Path) -> None:
    write_mdst_twin(tmp_path / "good.root", 5)
    data = np.frombuffer((tmp_path / "good.root").read_bytes(), dtype=np.uint8)
    random = np.random.default_rng(1)
    refused = 0
    for _ in range(25):
        bad = data.copy()
        bad[random.integers(0, len(data), 20)] = random.integers(0, 256, 20)
        (tmp_path / "bad.root").write_bytes(bad.tobytes())
        try:
            list(iterate_mdst(tmp_path / "bad.root"))
        except InputError:
            refused += 1
    assert refused > 5


def test_parts_by_key(tmp_path: Path) -> None:
    expected = write_mdst_twin(tmp_path / "a.root", 6)
    both = next(iterate_mdst(tmp_path / "a.root"))
    particles = next(iterate_mdst(tmp_path / "a.root", key="train_events"))
    assert particles.decay_strings is None
    assert_same_events(particles, expected)
    strings = next(iterate_mdst(tmp_path / "a.root", key="decay_strings"))
    assert strings.particles == {}
    assert strings.decay_strings is not None
    assert strings.decay_strings.tolist() == both.decay_strings.tolist()  # type: ignore[union-attr]


def test_event_type_codes() -> None:
    assert [event_type_code(value) for value in ("mixed", "taupair", None)] == [0, 6, -1]
    with pytest.raises(UserError, match="no event type 'mixd'; did you mean 'mixed'"):
        event_type_code("mixd")


@needs_real_file
def test_real_file_against_a_particle_by_particle_reading() -> None:
    """Read the real file a second time, slowly and in another way."""
    tree = uproot.open(REAL)["tree"]
    raw = tree["MCParticles"].arrays(library="np")
    found = concatenate(list(iterate_mdst(REAL, chunk_events=4)))
    assert len(found) == 10
    assert found.keys["event"].tolist() == list(range(1, 11))
    assert set(found.keys["experiment"]) == set(found.keys["run"]) == {0}
    row = 0
    for event in range(10):
        columns = {name.split(".", 1)[1]: values[event] for name, values in raw.items()}
        place: dict[int, int] = {}
        for i, status in enumerate(columns["m_status"].astype(int)):
            if status & 1 and not status & 0b11110000:
                place[i + 1] = len(place)
        assert found.offsets[event + 1] - found.offsets[event] == len(place)
        for number in place:
            i = number - 1
            mother = int(columns["m_mother"][i])
            assert found.particles["PDG"][row] == columns["m_pdg"][i]
            assert found.particles["motherIndex"][row] == place.get(mother, -1)
            assert found.particles["motherPDG"][row] == (
                columns["m_pdg"][mother - 1] if mother else 0
            )
            assert found.particles["nDaughters"][row] == sum(
                columns["m_mother"][j - 1] == number for j in place
            )
            for name, member in {
                "energy": "m_energy", "prodTime": "m_productionTime", "z": "m_productionVertex_z",
                "px": "m_momentum_x", "mass": "m_mass",
            }.items():  # fmt: skip
                assert found.particles[name][row] == float(columns[member][i])
            row += 1
    assert row == found.n_particles == 418


@needs_real_file
def test_real_events_are_physics() -> None:
    found = concatenate(list(iterate_mdst(REAL)))
    particles, offsets = found.particles, found.offsets
    assert found.decay_strings is not None
    # Event 10, as its particles read by eye: B+ -> K+ K0bar pi- omega K+, ...
    assert found.decay_strings[9] == (
        " 300553 (--> 521 (--> 321 -311 (--> 310 (--> 211 -211 <--) <--) -211 223 (--> -211 211 111"
        " (--> 22 22 <--) <--) 321 <--) -521 (--> 423 (--> 421 (--> -321 211 111 (--> 22 22 <--)"
        " <--) 111 (--> 22 22 <--) <--) 11 -12 22 <--) <--)"
    )
    assert default_vocabulary().unknown(particles["PDG"]) == {}
    roots = particles["PDG"][offsets[:-1]]
    assert (roots == 300553).all()
    # Charge and energy are conserved from each B to its daughters, but for the recoil of the
    # photons that PHOTOS adds: up to 63 MeV in four of these 30 decays.
    event = found.event_of_particle()
    mother = np.where(
        particles["motherIndex"] >= 0, offsets[:-1][event] + particles["motherIndex"], -1
    )
    has_mother = mother >= 0
    for name, tolerance in (("charge", 1e-9), ("energy", 0.08), ("pz", 0.08)):
        sums = np.zeros(found.n_particles)
        np.add.at(sums, mother[has_mother], particles[name][has_mother])
        of_b = np.isin(np.abs(particles["PDG"]), (300553, 511, 521))
        np.testing.assert_allclose(sums[of_b], particles[name][of_b], atol=tolerance, err_msg=name)


def test_twin_looks_like_a_root_file(tmp_path: Path) -> None:
    write_mdst_twin(tmp_path / "a.root", 3, seed=1)
    write_mdst_twin(tmp_path / "b.root", 3, seed=1)
    assert (tmp_path / "a.root").read_bytes()[:4] == b"root"
    version = struct.unpack(">i", (tmp_path / "a.root").read_bytes()[4:8])[0]
    assert version > 0
    assert_same_events(
        next(iterate_mdst(tmp_path / "a.root")), next(iterate_mdst(tmp_path / "b.root"))
    )
