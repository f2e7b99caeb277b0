"""Intervals, paired tests and power: numbers in, numbers out.

`rates.py` - share of right answers, Wilson interval
`intervals.py` - intervals over tables as clusters
`paired.py` - permutation tests, McNemar, Holm, ratios
`power.py` - minimum detectable effect
"""
