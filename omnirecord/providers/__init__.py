"""Everything specific to the APIs of model providers: OpenAI Responses, OpenAI Chat Completions, Anthropic Messages.

- `openai_responses`, `openai_chat`, `anthropic_messages`: the models of the events, and a contract for each API.
- `summary`: an event in one line.
- `conversation`: the body of a request as one `Conversation`, equal for requests with the same meaning.
- `call`: a recorded exchange as one `ModelCall`; `answers` reads its answer.
"""
