"""Records, store, statistics, comparison, gates, tables, charts."""
