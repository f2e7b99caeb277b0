"""A model behind a URL that answers as OpenAI's chat completions do: LM Studio, Ollama, an API.

`settings.py` - what a variant file says of it; no secret leaves this record
`client.py` - one question, one answer: retries, and what is wrong in a sentence
`answers.py` - the answers to many questions, several at a time, kept while unfinished
"""
