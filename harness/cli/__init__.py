"""`tunebench COMMAND`: one file for a group of commands.

- `bench.py`: bench, which is pytest
- `data.py`: describe, import, export, fetch, cache
- `machine.py`: doctor, params, plan
- `doctor.py`: the checks of `doctor`
- `doctor_device.py`: those of what computes
- `scoring.py`: score
- `runs.py`: compare, report, gate, adapter, list
- `output.py`: text or JSON on standard output
"""
