"""What is kept on disk: a file is whole or absent, also after a crash.

- `files.py`: atomic writes, hashes, content keys, refusals
- `cache.py`: folders of finished work by key
- `manifest.py`: checksums of a cached folder
- `locks.py`: file locks that name their holder
- `prune.py`: emptying the cache
- `scratch.py`: temporary folders that outlive no process
- `kernels.py`: the folder of code that MLX compiles
- `journal.py`: rows of an evaluation under way
"""
