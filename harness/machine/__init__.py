"""The machine, asked of the system and not of MLX: importing this loads no MLX.

- `system.py`: runs a program of the system, reads its words
- `chip.py`: the device that will compute
- `power.py`: power source, limits, throttling
- `memory_limits.py`: MLX's limits of memory, by environment variables
- `identity.py`: a machine's lasting name
- `installed.py`: MLX's backend and BLAS, by the installed packages
"""
