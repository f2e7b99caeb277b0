"""Every record that is stored or sent between processes; nothing else of the project is imported.

- ``record.py`` - the base class of all
- ``results.py`` - `results.json` as a whole
- ``dataset.py`` - the data set and its splits
- ``variant_result.py`` - one variant's sections
- ``execution.py`` - execution accuracy, kinds of failure
- ``power.py`` - the power state of a timing
- ``rows.py`` - the files of rows beside
- ``stage_results.py`` - calls of the model's process
"""
