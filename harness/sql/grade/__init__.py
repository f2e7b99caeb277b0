"""Rows -> verdicts, rates and single answers.

- `score.py` - grades predictions by every protocol
- `predictions.py` - predictions files and structured queries
- `gold.py` - gold results, kept in the cache
- `official.py` - WikiSQL's official evaluator
- `equality.py` - equal results, same queries
- `strict.py` - whether a text needs repair
- `hardened.py` - test-suite accuracy on perturbed tables
- `perturb.py` - the perturbed copies of a table
- `column_values.py` - new values of a column
- `given_tables.py` - gold and answer on given tables
- `counterexample.py` - the smallest table on which they part
- `summary.py` - rates of a split
- `answer.py` - one text on one table
- `selftest.py` - known answers, graded
"""
