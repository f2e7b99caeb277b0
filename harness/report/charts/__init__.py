"""Charts of a report as SVG.

`curves.py` - loss and accuracy; all charts by name
`details.py` - failure kinds, speed trials, checkpoints
`tradeoff.py` - quality against memory, size, speed
`style.py` - colours, markers, limits, SVG text
"""
