r"""Training events on the grid, first half: keep what the generator made, simulate everything.

``basf2 write_training_files.py -n 1000`` writes ``generated.root`` (EventMetaData and MCParticles
as they are right after the generator: some kB an event) and ``mdst.root``, on which the skim
runs. The second half needs neither basf2 nor the grid:

    python -m smartbkg_tf.produce source=mdst source.particles=generator \
        input='generated/*.root' skim_files='skim/*.root' event_type=mixed output=tables

`skim_files` are the skim's own outputs: an event that is in one of them has passed. Take care
that the event keys (experiment, run, event, production) of all jobs differ: the join rests on
them.
"""

import basf2 as b2
import generators
import mdst
import reconstruction
import simulation

main = b2.create_path()
main.add_module("EventInfoSetter", expList=[1003], runList=[0], evtNumList=[1000])
generators.add_evtgen_generator(main, finalstate="mixed")
# Before the simulation: Geant4 adds the particles that the detector makes.
main.add_module(
    "RootOutput", outputFileName="generated.root", branchNames=["EventMetaData", "MCParticles"]
)
simulation.add_simulation(main)
reconstruction.add_reconstruction(main)
mdst.add_mdst_output(main, filename="mdst.root")
b2.process(main)
