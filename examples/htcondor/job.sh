#!/bin/bash
# What the jobs of the submit files here run: job.sh COMMAND [KEY=VALUE ...]
set -euo pipefail
# The home of a job need not be writable: caches go into its scratch folder.
cache="${_CONDOR_SCRATCH_DIR:-$PWD}/.cache"
export XDG_CACHE_HOME="$cache" MPLCONFIGDIR="$cache/matplotlib" NUMBA_CACHE_DIR="$cache/numba"
# A container brings the package. Elsewhere SETUP names a script that sets it up (environment = "SETUP=...").
if [ -n "${SETUP:-}" ]; then
    # shellcheck disable=SC1090
    source "$SETUP"
fi
exec python -m smartbkg_tf "$@"
