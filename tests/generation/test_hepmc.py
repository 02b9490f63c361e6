"""HepMC3 files: written with pyhepmc from known particles, and read back."""

from __future__ import annotations

import gzip
from dataclasses import replace

import numpy as np
import pyhepmc
import pytest

from smartbkg_tf.errors import ConfigurationError, InputError, UserError
from smartbkg_tf.events.readers import count_events, iterate_events
from smartbkg_tf.events.table import concatenate
from smartbkg_tf.generation import hepmc_reader
from smartbkg_tf.generation.beams import boost, nominal_collision, rotation_to
from smartbkg_tf.generation.hepmc import iterate_hepmc, scan_hepmc
from smartbkg_tf.generation.hepmc_reader import HepmcReader
from smartbkg_tf.generation.production import produce
from smartbkg_tf.runtime.files import sha256
from smartbkg_tf.settings.sources import BeamSettings
from tests.generation.test_production import chosen, hashes

SPEED = 299.792458  # mm / ns
UNITS = [("GEV", "MM"), ("MEV", "CM")]


class Builder:
    """One event in GeV and mm, written in any units."""

    def __init__(self, momentum="GEV", length="MM", number=0):
        self.event = pyhepmc.GenEvent(
            getattr(pyhepmc.Units, momentum), getattr(pyhepmc.Units, length)
        )
        self.event.event_number = number
        self.gev = 1.0 if momentum == "GEV" else 1000.0
        self.mm = 1.0 if length == "MM" else 0.1

    def particle(self, code, status, momentum):
        return pyhepmc.GenParticle([x * self.gev for x in momentum], code, status)

    def vertex(self, incoming, outgoing, place=None):
        vertex = pyhepmc.GenVertex([x * self.mm for x in place or (0, 0, 0, 0)])
        for particle in incoming:
            vertex.add_particle_in(particle)
        for particle in outgoing:
            vertex.add_particle_out(particle)
        self.event.add_vertex(vertex)
        return vertex


def at_rest(mass):
    return (0.0, 0.0, 0.0, mass)


def b_event(momentum="GEV", length="MM", number=0):
    """e+ e- (one radiates) -> Y(4S) -> B0 anti-B0; one B decays through quarks, one to D mu nu."""
    make = Builder(momentum, length, number)
    beam = make.particle(11, 4, (0, 0, 7.0, 7.0))
    other = make.particle(-11, 4, (0, 0, -4.0, 4.0))
    radiated = make.particle(11, 2, (0, 0, 6.9, 6.9))
    isr = make.particle(22, 1, (0, 0, 0.1, 0.1))
    make.vertex([beam], [radiated, isr])
    upsilon = make.particle(300553, 2, (0, 0, 2.9, 10.9))
    make.vertex([radiated, other], [upsilon])
    b = make.particle(511, 2, (0.1, 0.2, 1.4, 5.46))
    anti = make.particle(-511, 2, (-0.1, -0.2, 1.5, 5.44))
    make.vertex([upsilon], [b, anti])
    quark, gluon, diquark = (
        make.particle(code, 71, (0.0, 0.1, 0.4, 1.8)) for code in (-4, 21, 2101)
    )
    make.vertex([b], [quark, gluon, diquark], (0.1, 0.2, 0.3, 0.5))
    string = make.particle(92, 72, (0.1, 0.2, 1.4, 5.46))
    make.vertex([quark, gluon, diquark], [string])
    pion = make.particle(211, 1, (0.1, 0.0, 0.5, 0.53))
    pi0 = make.particle(111, 2, (0.0, 0.2, 0.4, 0.47))
    make.vertex([string], [pion, pi0])
    photons = [make.particle(22, 1, (0.0, s, 0.2, 0.235)) for s in (0.15, 0.05)]
    make.vertex([pi0], photons)
    d = make.particle(411, 2, (0.0, 0.0, 0.9, 2.08))
    muon = make.particle(13, 1, (0.2, 0.0, 0.6, 0.65))
    neutrino = make.particle(-14, 1, (0.0, 0.3, 0.0, 0.3))
    make.vertex([anti], [d, muon, neutrino], (0.4, 0.5, 0.6, 0.9))
    kaon = make.particle(-321, 1, (0.0, 0.0, 0.5, 0.7))
    pions = [make.particle(211, 1, (0.0, s, 0.2, 0.3)) for s in (0.1, -0.1)]
    make.vertex([d], [kaon, *pions], (1.0, 0.5, 2.0, 3.0))
    make.particle(25, 3, at_rest(125.0))
    return make.event


def tau_event():
    """Make a virtual photon, a shower photon, a copy of the tau, and a radiative tau decay."""
    make = Builder()
    beams = [make.particle(c, 4, (0, 0, s * 5.29, 5.29)) for c, s in ((11, 1), (-11, -1))]
    virtual = make.particle(22, 62, at_rest(10.58))
    make.vertex(beams, [virtual])
    tau, anti = (make.particle(c, 23, (0, s, 0, 5.29)) for c, s in ((15, 4.9), (-15, -4.9)))
    make.vertex([virtual], [tau, anti])
    copy = make.particle(15, 2, (0, 4.8, 0, 5.19))
    shower = make.particle(22, 1, (0, 0.1, 0, 0.1))
    make.vertex([tau], [copy, shower])
    make.vertex(
        [copy],
        [
            make.particle(16, 1, (0, 2, 0, 2)),
            make.particle(11, 1, (0, 1, 0, 1)),
            make.particle(-12, 1, (0, 1, 0, 1)),
            make.particle(22, 1, (0, 0.5, 0, 0.5)),
        ],
        (0.0, 0.2, 0.0, 0.21),
    )
    make.vertex(
        [anti],
        [make.particle(-16, 1, (0, -2, 0, 2)), make.particle(211, 1, (0, -2.9, 0, 2.903))],
        (0.0, -0.3, 0.0, 0.31),
    )
    return make.event


def write(path, *events):
    with pyhepmc.open(path, "w") as stream:
        for event in events:
            stream.write(event)
    return path


def hepmc(output, path, *overrides):
    return chosen(output, "source=hepmc", f"input={path}", "event_type=mixed", *overrides)


def read(path):
    ((_, table),) = iterate_events([path])
    return table


@pytest.mark.parametrize(("momentum", "length"), UNITS)
def test_known_particles_come_back_in_our_units(tmp_path, momentum, length):
    write(tmp_path / "b.hepmc", b_event(momentum, length), b_event(momentum, length))
    (file,) = produce(hepmc(tmp_path / "out", tmp_path / "b.hepmc", "source.labels=false"))
    table = read(file)
    assert len(table) == 2
    assert table.labels == {}
    np.testing.assert_array_equal(table.event_type, 0)
    np.testing.assert_array_equal(table.keys["event"], [1, 2])
    np.testing.assert_array_equal(table.keys["experiment"], 2000)
    np.testing.assert_array_equal(table.keys["run"], scan_hepmc(tmp_path / "b.hepmc")[1])
    rows = {name: values[: table.offsets[1]] for name, values in table.particles.items()}
    # Beams, their radiation, partons, the string and the documentation line are gone.
    expected = [300553, 511, -511, 211, 111, 22, 22, 411, 13, -14, -321, 211, 211]
    assert rows["PDG"].tolist() == expected
    assert rows["motherPDG"].tolist() == [
        0, 300553, 300553, 511, 511, 111, 111, -511, -511, -511, 411, 411, 411
    ]  # fmt: skip
    assert rows["motherIndex"].tolist() == [-1, 0, 0, 1, 1, 4, 4, 2, 2, 2, 7, 7, 7]
    assert rows["nDaughters"].tolist() == [2, 2, 3, 0, 2, 0, 0, 3, 0, 0, 0, 0, 0]
    np.testing.assert_array_equal(rows["status"], 1)
    assert table.decay_strings[0] == (
        " 300553 (--> 511 (--> 211 111 (--> 22 22 <--) <--) -511 (--> 411 (--> -321 211 211 <--) "
        "13 -14 <--) <--)"
    )
    np.testing.assert_allclose(
        [rows[c][1] for c in ("px", "py", "pz", "energy")], [0.1, 0.2, 1.4, 5.46]
    )
    assert rows["mass"][1] == pytest.approx(np.sqrt(5.46**2 - 0.01 - 0.04 - 1.96))
    # cm and ns; a vertex without a place is where its mother was made.
    place = np.stack([rows[c] for c in ("x", "y", "z", "prodTime")], axis=-1)
    b_decay = np.array([0.01, 0.02, 0.03, 0.5 / SPEED])
    d_decay = np.array([0.1, 0.05, 0.2, 3.0 / SPEED])
    for row, where in ((0, 0 * b_decay), (1, 0 * b_decay), (3, b_decay), (5, b_decay),
                       (8, [0.04, 0.05, 0.06, 0.9 / SPEED]), (11, d_decay)):  # fmt: skip
        np.testing.assert_allclose(place[row], where, rtol=1e-6, atol=1e-12)


def test_places_equal_those_of_hepmc_itself(tmp_path):
    """The columnar search for a vertex's place, against GenVertex.position."""
    event = b_event()
    write(tmp_path / "b.hepmc", event)
    ((record, n),) = iterate_hepmc(tmp_path / "b.hepmc", chunk_events=10)
    assert n == 1
    vertices = [p.production_vertex for p in event.particles]
    expected = [[0, 0, 0, 0] if v is None else list(v.position) for v in vertices]
    np.testing.assert_allclose(record.vertex, expected, atol=1e-12)
    assert np.count_nonzero(record.vertex) > 20


def test_radiation_is_told_from_decay(tmp_path):
    write(tmp_path / "tau.hepmc", tau_event())
    settings = hepmc(tmp_path / "out", tmp_path / "tau.hepmc", "source.labels=false")
    table = read(produce(settings)[0])
    # The shower's photon is gone, that of tau -> e nu nu gamma stays; the copy stands for the tau.
    assert table.particles["PDG"].tolist() == [10022, -15, 15, 16, 11, -12, 22, -16, 211]
    assert table.particles["motherPDG"].tolist() == [0, 10022, 10022, 15, 15, 15, 15, -15, -15]
    assert table.particles["energy"][2] == pytest.approx(5.19)


def test_events_of_the_centre_of_mass_system_are_boosted(tmp_path):
    write(tmp_path / "tau.hepmc", tau_event())
    options = ("source.labels=false", "source.frame=centre_of_mass")
    table = read(produce(hepmc(tmp_path / "out", tmp_path / "tau.hepmc", *options))[0])
    collision = nominal_collision(BeamSettings())
    turned = rotation_to(collision.axis) @ np.array([0.0, -2.9, 0.0])
    expected = boost(np.array([*turned, 2.903]), collision.velocity)
    found = [table.particles[c][-1] for c in ("px", "py", "pz", "energy")]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hepmc")
    for first, name in ((0, "a"), (60, "b")):
        write(folder / f"{name}.hepmc", *[b_event(number=first + i) for i in range(60)])
    return folder


def test_labels_come_from_the_detector(many, tmp_path):
    skims = ("skim=all", "source.chunk_events=25")
    one = produce(hepmc(tmp_path / "one", many / "*.hepmc", *skims))
    produce(hepmc(tmp_path / "two", many / "*.hepmc", *skims))
    assert [f.name for f in one] == [
        f"{name}{part}.h5" for name in "ab" for part in ("", "_00001", "_00002")
    ]
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    tables = [read(f) for f in one]
    assert [len(t) for t in tables] == [25, 25, 10] * 2
    assert set(tables[0].labels) == {
        "fei_hadronic_b0", "fei_hadronic_bplus", "fei_semileptonic", "tau_thrust", "jpsi_ll",
        "dstar_d0_kpi", "btox_gamma", "low_multiplicity",
    }  # fmt: skip
    # Equal events, other random numbers: in each table, part and file.
    energies = [t.observables["visibleEnergyCMS"][0] for t in tables]
    assert len(set(energies)) == 6
    narrow = np.concatenate([t.labels["tau_thrust"] for t in tables])
    assert 0.2 < narrow.mean() < 0.7
    keys = {tuple(k) for t in tables for k in np.stack(list(t.keys.values()), axis=1).tolist()}
    assert len(keys) == 120


def test_another_input_file_moves_no_event(many, tmp_path):
    """Keys and labels depend on the file, not on its place in the list, and not on its name."""
    options = ("format=parquet",)
    (alone,) = produce(hepmc(tmp_path / "one", many / "b.hepmc", *options))
    both = produce(hepmc(tmp_path / "two", many / "*.hepmc", *options))
    assert sha256(alone) == sha256(both[1])
    (tmp_path / "other.hepmc").write_bytes((many / "b.hepmc").read_bytes())
    (other,) = produce(hepmc(tmp_path / "three", tmp_path / "other.hepmc", *options))
    assert sha256(other) == sha256(alone)
    # The same folder again, with a file more: the finished table stays.
    before = alone.stat().st_mtime_ns
    produce(hepmc(tmp_path / "one", many / "*.hepmc", *options))
    assert alone.stat().st_mtime_ns == before


def test_the_same_events_twice_are_refused(many, tmp_path):
    (tmp_path / "again.hepmc").write_bytes((many / "a.hepmc").read_bytes())
    inputs = f"'{many}/a.hepmc,{tmp_path}/again.hepmc'"
    with pytest.raises(InputError, match=r"again\.hepmc: holds the same events as .*a\.hepmc"):
        produce(hepmc(tmp_path / "out", inputs))
    files = produce(
        hepmc(tmp_path / "out", inputs, "source.on_bad_file=skip", "source.labels=false")
    )
    assert [file.name for file in files] == ["a.h5"]


def test_packed_files_read_alike(many, tmp_path):
    (tmp_path / "a.hepmc.gz").write_bytes(gzip.compress((many / "a.hepmc").read_bytes()))
    assert scan_hepmc(tmp_path / "a.hepmc.gz") == scan_hepmc(many / "a.hepmc")
    assert scan_hepmc(many / "a.hepmc")[0] == 60
    options = ("source.labels=false",)
    packed = read(produce(hepmc(tmp_path / "p", tmp_path / "a.hepmc.gz", *options))[0])
    plain = read(produce(hepmc(tmp_path / "q", many / "a.hepmc", *options))[0])
    for name, values in plain.particles.items():
        np.testing.assert_array_equal(packed.particles[name], values)


def test_bad_files_are_all_named_before_any_work(many, tmp_path, capfd):
    whole = (many / "a.hepmc").read_text()
    files = {
        "cut": whole[: len(whole) // 2],
        "endless": whole.replace("HepMC::Asciiv3-END_EVENT_LISTING\n", ""),
        "two": "HepMC::Version 2.06.09\nHepMC::IO_GenEvent-START_EVENT_LISTING\n",
        "junk": "hello\n",
        "void": "",
        "none": whole.splitlines()[0] + "\nHepMC::Asciiv3-START_EVENT_LISTING\n"
        "HepMC::Asciiv3-END_EVENT_LISTING\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.hepmc").write_text(text)
    (tmp_path / "half.hepmc").write_bytes(gzip.compress(whole.encode())[:500])
    with pytest.raises(InputError, match="7 problems") as caught:
        produce(hepmc(tmp_path / "out", tmp_path / "*.hepmc"))
    for name, text in (
        ("cut", "truncated"), ("endless", "truncated"), ("two", "but HepMC 2"),
        ("junk", "not a HepMC3"), ("void", "is empty"), ("none", "holds no events"),
        ("half", "cannot be read"),
    ):  # fmt: skip
        (line,) = [line for line in str(caught.value).splitlines() if f"/{name}.hepmc: " in line]
        assert text in line
    assert not (tmp_path / "out").exists()
    (tmp_path / "good.hepmc").write_text(whole)
    options = ("source.on_bad_file=skip", "source.labels=false")
    assert [f.name for f in produce(hepmc(tmp_path / "out", tmp_path / "*.hepmc", *options))] == [
        "good.h5"
    ]
    assert "HepMC::" not in capfd.readouterr().err


@pytest.mark.parametrize("damage", ["P 3 x", "P 3 -1"])
def test_a_damaged_event_leaves_nothing(many, tmp_path, damage, capfd):
    lines = (many / "a.hepmc").read_text().splitlines(keepends=True)
    place = [i for i, line in enumerate(lines) if line.startswith("P 3 ")][40]
    lines[place] = damage + "\n"
    (tmp_path / "bad.hepmc").write_text("".join(lines))
    settings = hepmc(tmp_path / "out", tmp_path / "bad.hepmc", "source.chunk_events=20")
    with pytest.raises(InputError, match="holds 60 events, but number 41 cannot be parsed"):
        produce(settings)
    assert hashes(tmp_path / "out") == {}
    assert "HepMC" not in capfd.readouterr().err


def test_codes_without_a_charge_are_named(tmp_path):
    event = Builder()
    event.vertex(
        [event.particle(300553, 2, at_rest(10.58))], [event.particle(123456789, 1, at_rest(1.0))]
    )
    write(tmp_path / "odd.hepmc", event.event)
    with pytest.raises(InputError, match=r"odd\.hepmc.*123456789"):
        produce(hepmc(tmp_path / "out", tmp_path / "odd.hepmc"))


def test_weights_are_told_about(tmp_path, capsys):
    event = b_event()
    run = pyhepmc.GenRunInfo()
    run.weight_names = ["nominal"]
    event.run_info = run
    event.weights = [0.5]
    write(tmp_path / "w.hepmc", event)
    produce(hepmc(tmp_path / "out", tmp_path / "w.hepmc", "source.labels=false"))
    assert "weights other than 1" in capsys.readouterr().out


def test_settings_that_do_not_fit(tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError, match="skim_files is for source=mdst"):
        hepmc(tmp_path, "x.hepmc", "skim_files=x.npy")
    with pytest.raises(ConfigurationError, match="give the one type"):
        chosen(tmp_path, "source=hepmc", "event_type=all")
    from smartbkg_tf.generation import production

    monkeypatch.setattr(production, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"(?s)needs pyhepmc.*\[generate\]"):
        produce(hepmc(tmp_path / "out", tmp_path / "x.hepmc"))


def test_preprocess_and_apply_read_what_produce_would_make(many, tmp_path):
    """The same particles and keys as the tables, so that decisions are the same too."""
    packed = tmp_path / "a.packed"
    packed.write_bytes(gzip.compress((many / "a.hepmc").read_bytes()))
    reader = HepmcReader(event_type="mixed", seed=3)
    for options in ({}, {"frame": "centre_of_mass"}):
        overrides = [f"source.{key}={value}" for key, value in options.items()]
        (file,) = produce(
            hepmc(
                tmp_path / f"out{len(options)}", many / "a.hepmc", "source.labels=false", "seed=3",
                *overrides,
            )
        )  # fmt: skip
        (expected,) = (table for _, table in iterate_events([file]))
        mine = replace(reader, **options)
        for path in (many / "a.hepmc", packed):
            pieces = [table for _, table in iterate_events(path, reader=mine, chunk_events=25)]
            assert [len(piece) for piece in pieces] == [25, 25, 10]
            found = concatenate(pieces)
            for name, values in expected.particles.items():
                np.testing.assert_array_equal(found.particles[name], values)
            for name, values in expected.keys.items():
                np.testing.assert_array_equal(found.keys[name], values)
            assert (found.event_type == expected.event_type).all()
    # Without anything chosen: the event type is unknown, and so the production ends in 9.
    assert count_events(packed) == 60
    assert set(read(packed).keys["production"]) == {19}
    (tmp_path / "cut.hepmc").write_bytes((many / "a.hepmc").read_bytes()[:3000])
    with pytest.raises(InputError, match="is truncated"):
        count_events(tmp_path / "cut.hepmc")


def test_without_pyhepmc_a_file_says_what_to_install(many, monkeypatch):
    monkeypatch.setattr(hepmc_reader, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"(?s)need pyhepmc.*\[generate\]"):
        read(many / "a.hepmc")
