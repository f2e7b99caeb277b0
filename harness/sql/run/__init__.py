"""The typed query -> rows, in a process of its own.

- `database.py` - a split's tables in DuckDB
- `render.py` - a typed query as SQL
- `batch.py` - thousands of queries in one statement
- `executor.py` - which query runs how
- `sandbox.py` - the worker process: parent's side
- `sandbox_process.py` - the worker process: child's side
"""
