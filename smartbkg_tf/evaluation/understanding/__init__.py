"""Why a model decides as it does: answered with the events of a run, and by asking its network."""
