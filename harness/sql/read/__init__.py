"""A model's text -> the typed query.

- `reader.py` - the order of the readers
- `statement.py` - finds the statement in an answer
- `dialect.py` - the schema-aware reader: SELECT, FROM, clauses
- `dialect_where.py` - its conditions
- `literals.py` - where a value ends
- `scanner.py` - names and keywords at a position
- `sqlglot_reader.py` - standard SQL, by sqlglot
- `sqlglot_where.py` - its conditions and allowed nodes
"""
