"""What ``source.inclusive`` changes: branching fractions, retention, CPU time.

Run: ``python benchmarks/inclusive_decays.py [n_events] [repeats]``. Events of both kinds of B pairs
with the same seeds under either setting; errors are binomial. CPU times are those of the generation
alone, in pairs; printed is the median of the ratios with its error.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

import numpy as np

from smartbkg_tf.events.table import EventTable
from smartbkg_tf.generation.chunks import label_events
from smartbkg_tf.generation.decay_table import read_decay_table
from smartbkg_tf.generation.pythia import LISTED
from smartbkg_tf.generation.pythia_source import PythiaSource, generate_events
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.generation import ProduceSettings

SETTINGS = ("as_pythia", "avoid_listed")

#: Decays of the B0 and the B+, with those of their antiparticles.
DECAYS = {
    511: {
        "D- pi+": (-411, 211),
        "D- pi+ pi0": (-411, 211, 111),
        "D*- pi+ pi0": (-413, 211, 111),
        "D- pi+ pi+ pi-": (-411, 211, 211, -211),
        "D*- pi+ pi+ pi-": (-413, 211, 211, -211),
        "D- rho+": (-411, 213),
        "D*- rho+": (-413, 213),
    },
    521: {
        "D0bar pi+": (-421, 211),
        "D0bar pi+ pi0": (-421, 211, 111),
        "D*0bar pi+ pi0": (-423, 211, 111),
        "D0bar pi+ pi+ pi-": (-421, 211, 211, -211),
        "D*0bar rho+": (-423, 213),
    },
}

_SELF_CONJUGATE = (22, 111, 113, 223)


def fractions(table: EventTable, species: int) -> tuple[int, dict[str, int]]:
    """Count the B mesons of a species and their decays of `DECAYS`."""
    code = table.particles["PDG"].astype(np.int64)
    mother = table.particles["motherIndex"].astype(np.int64)
    row = np.where(mother >= 0, mother + table.offsets[:-1][table.event_of_particle()], -1)
    mesons = np.flatnonzero(np.abs(code) == species)
    products: dict[int, list[int]] = {int(m): [] for m in mesons}
    for i in np.flatnonzero(np.isin(row, mesons)):
        sign = 1 if code[i] in _SELF_CONJUGATE else int(np.sign(code[row[i]]))
        products[int(row[i])].append(sign * int(code[i]))
    decays = [tuple(sorted(codes)) for codes in products.values()]
    return len(decays), {
        name: decays.count(tuple(sorted(codes))) for name, codes in DECAYS[species].items()
    }


def with_error(passed: int, n: int) -> str:
    share = passed / n
    return f"{100 * share:6.3f} +- {100 * np.sqrt(max(share * (1 - share), 1 / n) / n):5.3f}"


def main() -> None:
    n_events = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    settings = compose_settings("produce", ProduceSettings, ["skim=all"])
    listed = read_decay_table()
    print(f"{'per cent':<32}{SETTINGS[0]:>18}{SETTINGS[1]:>18}{'the file':>10}")
    for event_type, species in (("mixed", 511), ("charged", 521)):
        decays, retention, again, ratios = [], [], 0, []
        for inclusive in SETTINGS:
            source = PythiaSource(inclusive=inclusive)
            failures = Counter()
            table = generate_events(event_type, source, n_events, 1, 0, failures)
            decays.append(fractions(table, species))
            labels = label_events(
                table, source.beams, settings.detector, settings.skim, np.random.default_rng(1)
            ).labels
            retention.append({name: int(values.sum()) for name, values in labels.items()})
            again = failures[LISTED]
        for chunk in range(1, repeats + 1):
            spent = []
            for inclusive in SETTINGS:
                start = time.process_time()
                source = PythiaSource(inclusive=inclusive)
                generate_events(event_type, source, n_events, 1, chunk, Counter())
                spent.append(time.process_time() - start)
            ratios.append(spent[1] / spent[0])
        for name, codes in DECAYS[species].items():
            sides = [with_error(found[name], n) for n, found in decays]
            inside = sum(c.fraction for c in listed[species] if sorted(c.codes) == sorted(codes))
            print(f"{event_type:<8}{name:<24}{sides[0]:>18}{sides[1]:>18}{100 * inside:10.3f}")
        for name in retention[0]:
            sides = [with_error(passed[name], n_events) for passed in retention]
            print(f"{event_type:<8}{name:<24}{sides[0]:>18}{sides[1]:>18}")
        error = np.std(ratios, ddof=1) / np.sqrt(len(ratios))
        print(
            f"{event_type}: {100 * again / (n_events + again):.1f} % of the events made anew; CPU "
            f"time of the generation x {np.median(ratios):.2f} +- {error:.2f} ({repeats} pairs)"
        )


if __name__ == "__main__":
    main()
