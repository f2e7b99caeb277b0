"""Is one variant better than another, by how much, and is the difference real?

`analysis.py` - everything compared, computed once
`metrics.py` - each metric's name, unit, direction, value
`sides.py` - variants of runs, comparable or not
`pairing.py` - two variants' rows, by example
`quality.py` - paired differences and their verdicts
`cost.py` - ratios of speed and memory
`seeds.py` - differences over seeds
`checkpoints.py` - last saved checkpoint beside the best
`thresholds.py` - gate rules of gates.toml
`gates.py` - a run judged against its baseline
`evidence.py` - results.json held against its own rows
`regrade.py` - stored answers graded again
`gate_power.py` - examples with which equal checkpoints pass a gate
"""
