"""Intervals, paired tests and power: numbers in, numbers out.

`rates.py` - share of right answers, its interval
`units.py` - table or question
`intervals.py` - interval of a loss, sums
`paired.py` - sign-flip tests, McNemar, Holm, ratios
`power.py` - smallest effect, examples needed
`welch.py` - two methods by their seeds
"""
