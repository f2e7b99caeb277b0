"""Markdown tables of a report.

`quality_tables.py` - summary, accuracy, failures, fuse parity
`cost_tables.py` - loss curve, parameters, time, memory, size
`gate_tables.py` - verdicts against a baseline
`comparison_tables.py` - speed trials, paired differences, ratios, seeds
`checkpoint_tables.py` - checkpoints and their best
`question_tables.py` - the students questions and their speeds
"""
