"""Reading model SQL, running it safely, grading it.

- `query.py` - the typed query and its parts
- `column_names.py` - which column a name means
- `values.py` - text and numbers of cells
- `failures.py` - why an answer fails
- `limited_process.py` - a process whose every answer has a limit
- `read/` - text to typed query
- `run/` - typed query to rows
- `grade/` - rows to verdicts and rates
"""
