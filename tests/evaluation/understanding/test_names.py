"""Names of particles and decays in the notation of the field."""

from __future__ import annotations

from matplotlib.mathtext import MathTextParser

from smartbkg_tf.evaluation.understanding import names
from smartbkg_tf.events.vocabulary import default_vocabulary


def test_names_are_those_of_the_field() -> None:
    given = [511, -511, 413, 310, -12, 30343, -30343, 99999999]
    texts = ["B0", "anti-B0", "D*+", "K_S0", "anti-nu_e", "Xsd", "anti-Xsd", "99999999"]
    assert [names.text_name(code) for code in given] == texts
    assert names.formula(-511) == r"$\overline{B}^{0}$"


def test_decays_read_as_they_are_written() -> None:
    daughters = names.sorted_daughters([12, -11, -413])
    assert daughters == [-413, -11, 12]
    assert names.decay_text(511, daughters) == "B0 -> D*- e+ nu_e"
    assert names.sorted_daughters([211, 99999999, 413]) == [413, 211, 99999999]
    assert names.decay_formula(111, [22, 22]) == r"$\pi^{0} \to 2\,\gamma$"


def test_every_known_particle_can_be_drawn() -> None:
    parser = MathTextParser("agg")
    for code in default_vocabulary().codes.tolist():
        parser.parse(names.formula(code))
