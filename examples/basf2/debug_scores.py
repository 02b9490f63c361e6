"""Keep every event and store what the network says of it: ``basf2 debug_scores.py -n 1000``.

To look at scores beside the skim's decision before a filter is used: `smartbkg_tf.evaluate` wants
both, and distributions of kept and of all events can be compared.
"""

import basf2 as b2
import generators
from variables import variables

from smartbkg_tf.filtering.basf2_module import NNFilterModule

main = b2.create_path()
main.add_module("EventInfoSetter", expList=[1003], runList=[0], evtNumList=[1000])
generators.add_evtgen_generator(main, finalstate="mixed")
main.add_module(NNFilterModule("exported/model.onnx", "debug", event_type="mixed"))

variables.addAlias("score", "eventExtraInfo(NNFilter_fei_hadronic_b0)")
variables.addAlias("probability", "eventExtraInfo(NNFilter_fei_hadronic_b0_probability)")
main.add_module(
    "VariablesToNtuple",
    fileName="scores.root",
    treeName="scores",
    variables=["evtNum", "runNum", "expNum", "score", "probability"],
)
b2.process(main)
