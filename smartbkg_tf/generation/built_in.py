"""The package's own sources and skims, so that the JSON schema of ``produce`` knows them all."""

from __future__ import annotations

from smartbkg_tf.generation.hepmc_source import HepmcSource
from smartbkg_tf.generation.mdst_source import MdstSource
from smartbkg_tf.generation.pythia_source import PythiaSource
from smartbkg_tf.generation.skims.base import Skim
from smartbkg_tf.generation.skims.btox_gamma import BtoXGamma
from smartbkg_tf.generation.skims.dstar_d0_kpi import DstarToD0Pi
from smartbkg_tf.generation.skims.fei_hadronic import FeiHadronic
from smartbkg_tf.generation.skims.fei_semileptonic import FeiSemileptonic
from smartbkg_tf.generation.skims.jpsi_ll import JpsiToLeptons
from smartbkg_tf.generation.skims.low_multiplicity import LowMultiplicity
from smartbkg_tf.generation.skims.tau_thrust import TauThrust
from smartbkg_tf.generation.source import EventSource

__all__ = [
    "BtoXGamma",
    "DstarToD0Pi",
    "EventSource",
    "FeiHadronic",
    "FeiSemileptonic",
    "HepmcSource",
    "JpsiToLeptons",
    "LowMultiplicity",
    "MdstSource",
    "PythiaSource",
    "Skim",
    "TauThrust",
]
