from __future__ import annotations

import sys

import numpy as np
import pytest

from smartbkg_tf.errors import UserError
from smartbkg_tf.generation import decay_table
from smartbkg_tf.generation.decay_table import (
    Channel,
    apply_decay_table,
    cache_directory,
    matrix_element,
    obstacle,
    parse_decay_table,
    read_decay_table,
)
from smartbkg_tf.generation.pythia_source import engine_for
from smartbkg_tf.runtime import code_digest

TEXT = """
Alias myK*0 K*0
Decay B0
0.6 D*- e+ nu_e ISGW2;
0.3 myK*0 gamma HELAMP 1.0 0.0 1.0 0.0;
0.1 u anti-d anti-c d PYTHIA 42;
0.0 pi+ pi- PHSP;
Enddecay
CDecay anti-B0
Decay D*+
1.0 D0 pi+ VSS;
Enddecay
Decay myK*0
1.0 K+ pi- VSS;
Enddecay
End
"""


def channel(model, names, codes, parameters=()):
    return Channel(0.5, model, parameters, tuple(names), tuple(codes))


def test_a_small_file_is_read_as_it_stands():
    table = parse_decay_table(TEXT)
    assert set(table) == {511, 413}  # antiparticles and aliases are no mothers of their own
    rows = table[511]
    assert [row.fraction for row in rows] == [0.6, 0.3, 0.1, 0.0]
    assert [row.codes for row in rows] == [(-413, -11, 12), (313, 22), (2, -1, -4, 1), (211, -211)]
    assert rows[2].model == "PYTHIA"
    assert rows[2].parameters == (42.0,)


@pytest.mark.parametrize(
    ("row", "mode", "products"),
    [
        (channel("BGL", "ab", (-413, -11, 12)), 22, (12, -11, -413)),
        (channel("PYTHIA", "ab", (2, -1, -4, 1), (43.0,)), 43, (2, -1, -4, 1)),
        (channel("PYTHIA", "ab", (2, -1)), 0, (2, -1)),
        (channel("VSS", "ab", (421, 211)), 2, (421, 211)),
        (channel("PI0_DALITZ", "abc", (-11, 11, 22)), 11, (22, 11, -11)),
        (channel("OMEGA_DALITZ", "abc", (-211, 211, 111)), 1, (211, -211, 111)),
        (channel("SVV_HELAMP", "ab", (-413, 213)), 0, (-413, 213)),
        (channel("PHSP", "abcd", (-413, 111, -13, 14)), 0, (-413, 111, -13, 14)),
    ],
)
def test_models_become_matrix_element_codes(row, mode, products):
    assert matrix_element(row) == (mode, products)


def test_the_table_is_cached_and_a_damaged_cache_is_made_again(monkeypatch, tmp_path):
    monkeypatch.setenv("SMARTBKG_TF_CACHE", str(tmp_path / "new" / "folder"))
    monkeypatch.setattr(decay_table, "_installed_table", lambda: TEXT)
    first = read_decay_table()
    (file,) = cache_directory().iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(decay_table, "parse_decay_table", lambda _: pytest.fail("parsed again"))
        assert read_decay_table() == first
    file.write_text(file.read_text()[:100])
    assert read_decay_table() == first
    # Another file is another entry.
    monkeypatch.setattr(decay_table, "_installed_table", lambda: TEXT.replace("0.6", "0.5"))
    assert read_decay_table()[511][0].fraction == 0.5
    assert len(list(cache_directory().iterdir())) == 2
    # So is other code.
    source = code_digest._source
    monkeypatch.setattr(code_digest, "_source", lambda spec: f"{source(spec)}\nANOTHER = 1\n")
    read_decay_table()
    assert len(list(cache_directory().iterdir())) == 3


def test_cache_directory_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("SMARTBKG_TF_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "smartbkg_tf"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "smartbkg_tf"


def test_an_unwritable_cache_does_not_stop_the_work(monkeypatch, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    monkeypatch.setenv("SMARTBKG_TF_CACHE", str(blocker))
    monkeypatch.setattr(decay_table, "_installed_table", lambda: TEXT)
    assert set(read_decay_table()) == {511, 413}


def test_without_decaylanguage_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "decaylanguage", None)
    monkeypatch.setitem(sys.modules, "decaylanguage.data", None)
    with pytest.raises(UserError, match=r"pip install 'smartbkg_tf\[generate\]'"):
        read_decay_table()


def test_what_pythia_cannot_hold_is_recorded():
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    table = {
        511: [
            channel("PHSP", ("D-", "pi+"), (-411, 211)),
            channel("PHSP", ("D-", "pi-"), (-411, -211)),
            channel("PHSP", ("nobody", "pi-"), (0, -211)),
            channel("PHSP", "123456789", (211, -211, 111, 111, 111, 111, 111, 111, 111)),
            channel("PYTHIA", (), ()),
        ],
        15: [channel("PHSP", ("pi-", "nu_tau"), (-211, 16))],
    }
    table[511] = [
        row._replace(fraction=f) for row, f in zip(table[511], (16, 1, 1, 1, 1), strict=True)
    ]
    lost = apply_decay_table(pythia, table)
    assert lost == pytest.approx({511: 0.2})
    assert [obstacle(pythia.particleData, 511, row) for row in table[511]] == [
        "",
        "charge not conserved",
        "product nobody unknown to Pythia",
        "more than 8 products",
        "no products in the file",
    ]
    assert pythia.particleData.findParticle(511).sizeChannels() == 1
    assert pythia.particleData.findParticle(15).sizeChannels() > 10  # left to Pythia


def test_a_mother_that_would_lose_most_keeps_pythias_channels():
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    before = pythia.particleData.findParticle(4132).sizeChannels()
    table = {4132: [channel("PYTHIA", (), ()), channel("PHSP", ("Xi-", "pi+"), (3312, 211))]}
    table[4132][0] = table[4132][0]._replace(fraction=0.9)
    assert apply_decay_table(pythia, table) == {}
    assert pythia.particleData.findParticle(4132).sizeChannels() == before


def test_little_of_the_b_and_d_mesons_is_lost(source, mixed):
    lost = engine_for("mixed", source).lost
    for code in (511, 521, 421, 411, 431):
        assert lost.get(code, 0.0) < 0.005
    assert not {4132, 4332} & set(lost)


def test_generated_events_follow_the_table(mixed):
    """Branching fractions of exclusive channels, counted in the events."""
    pdg, mother = mixed.particles["PDG"], mixed.particles["motherIndex"]
    rows = np.flatnonzero(mother >= 0)
    parent = mother[rows] + mixed.offsets[:-1][mixed.event_of_particle()[rows]]
    n_b = np.count_nonzero(np.abs(pdg) == 511)
    table = read_decay_table()[511]
    total = sum(row.fraction for row in table)
    for lepton in (11, 13):
        wanted = {413, lepton, lepton + 1}
        expected = sum(row.fraction for row in table if {abs(c) for c in row.codes} == wanted) / (
            total * (1 - 0.0037)
        )
        found = np.zeros(len(pdg), dtype=int)
        for code in wanted:
            hits = np.abs(pdg[rows]) == code
            np.add.at(found, parent[hits], 1)
        count = np.count_nonzero(
            (found == 3) & (np.abs(pdg) == 511) & (mixed.particles["nDaughters"] == 3)
        )
        error = np.sqrt(expected * (1 - expected) / n_b)
        assert abs(count / n_b - expected) < 4 * error
