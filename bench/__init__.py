"""The benchmark: shmq and its peers side by side, in one run, on this machine.

`python -m bench` from the repository root; README.md beside this file tells the rest. What is measured is in `suites`,
what the measured processes do in `roles`, with whom in `peers`, what is drawn in `plots`. shmq imports nothing of it.
"""
