"""`python -m harness COMMAND`: what needs no pytest session, one file for a group of commands.

- `data.py`: describe, export, fetch, cache
- `machine.py`: doctor, params, plan
- `doctor.py`: the checks of `doctor`
- `doctor_device.py`: those of what computes
- `scoring.py`: score
- `runs.py`: compare, report, gate
- `output.py`: text or JSON on standard output
"""
