"""WikiSQL-format data: records, sources, the embedded corpus, prompts."""
