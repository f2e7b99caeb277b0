"""Intervals, paired tests and power: numbers in, numbers out.

`rates.py` - share of right answers, Wilson interval
`units.py` - table or question
`intervals.py` - intervals of a rate or a loss
`paired.py` - sign-flip tests, McNemar, Holm, ratios
`power.py` - smallest effect, examples needed
`welch.py` - two methods by their seeds
"""
