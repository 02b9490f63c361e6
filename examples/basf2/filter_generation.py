"""Simulate and reconstruct only what pays: ``basf2 filter_generation.py -n 1000``.

Needs smartbkg_tf with ONNX Runtime inside basf2's Python (``pip install smartbkg_tf``)
and an exported model. The weight of every kept event is in EventExtraInfo (``NNFilter_weight``);
write it into ntuples as ``eventExtraInfo(NNFilter_weight)``, and use it in every histogram.
"""

import basf2 as b2
import generators
import reconstruction
import simulation

from smartbkg_tf.filtering.basf2_module import NNFilterModule

main = b2.create_path()
main.add_module("EventInfoSetter", expList=[1003], runList=[0], evtNumList=[1000])
generators.add_evtgen_generator(main, finalstate="mixed")

keep = NNFilterModule("exported/model.onnx", event_type="mixed", seed=1)
main.add_module(keep)
keep.if_false(b2.create_path())  # events that are not kept end here

simulation.add_simulation(main)
reconstruction.add_reconstruction(main)
main.add_module(
    "RootOutput",
    outputFileName="filtered.root",
    additionalBranchNames=["EventExtraInfo"],
)
b2.process(main)
print(b2.statistics)
