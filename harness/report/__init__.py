"""An analysis of runs in words, tables, charts and a page.

`report.py` - the report, its sections in order
`terminal.py` - the end of a run on the terminal
`comparison.py` - `compare`'s text, pairs, seeds
`conclusions.py` - what may be claimed, in sentences
`columns.py` - every variant under its label
`provenance.py` - the line under every table
`base_weights.py` - what the variants' bases are, in words
`changed_examples.py` - what broke by a failing gate
`warnings.py` - what to know before the numbers
`article.py` - the published comparison as a run
`paper.py` - CSV, LaTeX, PNG and PDF
`leaderboard.py` - published runs and README's tables
`write.py` - run folder, report and page written
`tables/` - Markdown tables; `charts/` - SVG; `page/` - HTML
"""
