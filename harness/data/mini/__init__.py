"""The generator of `mini`, the embedded corpus: seed -> fixtures/mini, byte for byte.

A topic (`topics_*.py`: columns with their values and the words people use for them) gives tables
(`tables.py`); a table gives logical forms with WikiSQL's mix (`intents.py`); a logical form gives a
question (`phrasing.py`), untidy as crowd workers write (`surface.py`); `corpus.py` makes the
splits. Everything here is written for this project; no WikiSQL row, question or header list is in
it. `python -m harness.data.mini` regenerates the committed files.
"""
