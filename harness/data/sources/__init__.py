"""What a dataset's files look like and where they come from.

- `resolve.py`: a dataset's name or folder, read
- `wikisql.py`: WikiSQL's format, read and written
- `mlx_lm_formats.py`: mlx-lm's formats without tables
- `own_tables.py`: a user's CSV, Parquet, JSON lines and SQLite files
- `hub.py`: data by a Hugging Face id
- `jsonlines.py`: lines of a file, every problem reported
- `students.py`: the article's questions and their table
- `archive.py`: the official WikiSQL archive, unpacked safely
- `download.py`: one file, resumable and verified
"""
