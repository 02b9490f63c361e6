#!/usr/bin/env python3
"""Run a skim inside basf2 and write which events passed it: one flag file for each mDST file.

    basf2 examples/basf2/passing_events.py -- fei feiHadronicB0 passing.csv mdst_000001.root

The arguments are the skim's module in ``skim.WGs``, its class, the file to write, and mDST
files. FEI skims need an analysis global tag: put it into BELLE2_ANALYSIS_GLOBALTAG. This script
needs basf2 (release 06 or later) and nothing of smartbkg_tf; what it writes is read by

    python -m smartbkg_tf.produce source=mdst input='mdst_*.root' skim_files='passing*.csv' \
        source.skim_name=feiHadronicB0 event_type=mixed output=tables
"""

import importlib
import os
import sys

import basf2
import modularAnalysis
from ROOT import Belle2


class WritePassingEvents(basf2.Module):
    """Write experiment, run, event and production of every event whose skim flag is set."""

    def __init__(self, flag, path):
        super().__init__()
        self.flag = flag
        self.path = path
        self.rows = []

    def initialize(self):
        self.meta_data = Belle2.PyStoreObj("EventMetaData")
        self.extra_info = Belle2.PyStoreObj("EventExtraInfo")

    def event(self):
        if self.extra_info.obj().getExtraInfo(self.flag) > 0:
            event = self.meta_data.obj()
            self.rows.append(
                (event.getExperiment(), event.getRun(), event.getEvent(), event.getProduction())
            )

    def terminate(self):
        # Written under another name first: a job that is killed leaves no list that looks whole.
        partial = self.path + ".partial"
        with open(partial, "w") as stream:
            stream.write("experiment,run,event,production\n")
            for row in self.rows:
                stream.write(",".join(str(part) for part in row) + "\n")
        os.replace(partial, self.path)


def main(arguments):
    if len(arguments) < 4:
        sys.exit(__doc__)
    module, name, output, *inputs = arguments
    path = basf2.Path()
    modularAnalysis.inputMdstList(filelist=inputs, path=path)
    skim_class = getattr(importlib.import_module("skim.WGs." + module), name)
    skim = skim_class(
        udstOutput=False, analysisGlobaltag=os.environ.get("BELLE2_ANALYSIS_GLOBALTAG")
    )
    skim(path)
    # On the main path, behind the skim: its flag is 0 for events that its own cuts stop.
    path.add_module(WritePassingEvents(skim.flag, output))
    basf2.process(path)
    print(basf2.statistics)


if __name__ == "__main__":
    main(sys.argv[1:])
