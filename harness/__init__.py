"""tunebench: a pytest-driven benchmark of MLX adapter variants on Text2SQL."""

__version__ = "0.1.0"
