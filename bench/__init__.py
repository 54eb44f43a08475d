"""The benchmark: shmq and its peers side by side, in one run, on this machine.

`python -m bench` from the repository root; `--help` tells the rest. A peer is one file in `bench/peers`; a suite is
one file here (`throughput`, `pingpong`, `healing`, `scaling`). Nothing here is imported by shmq.
"""
