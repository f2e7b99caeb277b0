"""A model's text -> the typed query.

- `bounded.py` - reads many texts, none longer than a second
- `reading_process.py` - the process that does, and may be killed
- `reader.py` - the order of the readers
- `gold.py` - gold queries of own data that are SQL text
- `answer.py` - finds where in a text the answer stands
- `statement.py` - finds the statement in that place
- `dialect.py` - the schema-aware reader: SELECT, FROM, clauses
- `dialect_where.py` - its conditions
- `literals.py` - where a value ends
- `scanner.py` - names and keywords at a position
- `sqlglot_reader.py` - standard SQL, by sqlglot
- `sqlglot_limits.py` - what sqlglot is not asked
- `sqlglot_where.py` - its conditions and allowed nodes
"""
