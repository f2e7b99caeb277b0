"""Text2SQL data: what a dataset holds and how it becomes texts and tokens.

- `records.py`: tables, logical forms, examples, splits
- `sources/`: files and archives that become a dataset
- `own_data.py`: a user's questions and tables, made a dataset
- `prompts.py`: prompt styles; table and question as text
- `chat_template.py`: rendering messages with a model's template
- `answer_marks.py`: what stands around an answer in a model's text
- `answer_sections.py`: which part of a text is called a draft
- `answer_values.py`: the query in data and in the strings of a program
- `special_tokens.py`: a tokenizer's BOS, EOS, stop tokens
- `tokens.py`: examples as rows of tokens, and their facts
- `sampling.py`: which examples `--limit` takes
- `leakage.py`: what splits share, what repeats
- `describe.py`: counts of a dataset, as Markdown
- `export.py`: files for mlx-lm's own test
"""
