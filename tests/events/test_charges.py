from __future__ import annotations

import numpy as np

from smartbkg_tf.events.charges import charges
from smartbkg_tf.events.vocabulary import default_vocabulary


def test_charges_of_known_particles() -> None:
    # From the Review of Particle Physics, not from the package that is asked.
    expected = {
        11: -1, -13: 1, 22: 0, 211: 1, -321: -1, 2212: 1, -2212: -1, 2224: 2, 4222: 2, -4122: -1,
        3122: 0, 511: 0, -521: -1, 413: 1, 300553: 0, 130: 0, 10022: 0, 1000020040: 2, 30353: -1,
        -30353: 1, 20413: 1, 0: 0,
    }  # fmt: skip
    charge, without = charges(np.array(list(expected)))
    assert charge.dtype == np.float64
    assert charge.tolist() == [float(c) for c in expected.values()]
    assert without == {}


def test_every_code_of_belle2_has_a_charge() -> None:
    vocabulary = default_vocabulary()
    charge, without = charges(vocabulary.codes)
    assert without == {}
    opposite = dict(zip(vocabulary.codes.tolist(), charge, strict=True))
    for code, value in opposite.items():
        if -code in opposite:
            assert opposite[-code] == -value, code


def test_charge_of_a_code_of_no_scheme_is_0_and_counted() -> None:
    charge, without = charges(np.array([777777777, 211, 777777777]))
    assert charge.tolist() == [0.0, 1.0, 0.0]
    assert without == {777777777: 2}
    assert charges(np.array([], dtype=np.int32))[0].shape == (0,)
