"""What is measured on a loaded model: loss, answers, speed, memory.

- ``loss.py`` - loss by three definitions, per example
- ``token_nll.py`` - negative log-likelihood of each target
- ``generate.py`` - greedy answers to prompts
- ``answer_end.py`` - the fence that ends an answer
- ``decode.py`` - batches of rows, step by step
- ``batch_plan.py`` - which rows are computed together
- ``speed.py`` - timed trials of generation
- ``memory.py`` - peaks of one phase
- ``contention.py`` - CPU time that others took
"""
