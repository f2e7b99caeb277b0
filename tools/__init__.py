"""Commands about this project that are no part of it.

- `cuda_check.py` - check a bare machine with a GPU
- `wheels.py` - wheels in parts, joined and unpacked
- `requirements.py` - which packages a machine lacks
- `gpu_checks.py` - one check, in its own process
- `gpu_numbers.py` - the GPU's arithmetic beside the CPU's
- `check_report.py` - outcomes as JSON and Markdown

The first three and the last run on a bare Python: they import the standard library alone.
"""
