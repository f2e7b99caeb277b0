"""Reading model SQL, running it safely, grading it.

- `query.py` - the typed query and its parts
- `column_names.py` - which column a name means
- `values.py` - text and numbers of cells
- `failures.py` - why an answer fails
- `read/` - text to typed query
- `run/` - typed query to rows
- `grade/` - rows to verdicts and rates
"""
