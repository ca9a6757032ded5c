"""Everything specific to the APIs of model providers: OpenAI Responses, OpenAI Chat Completions, Anthropic Messages."""
