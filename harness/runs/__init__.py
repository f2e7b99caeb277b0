"""A run on disk: its folder written whole, read back and checked.

`store.py` - a run's folder, written and read
`file_names.py` - names of runs and row files
`checksums.py` - damage noticed when files are read
`baseline.py` - a run becomes the baseline
`git_state.py` - commit and changes of the checkout
`run_estimate.py` - how long a run will take
`upgrades.py` - older schema versions made current
"""
