# shellcheck shell=bash disable=SC2034,SC2154 # settings and names are run_all.sh's
# One's own pictures stay where they are; they have been checked before the first stage.
