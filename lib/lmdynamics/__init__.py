"""The training dynamics of language models: models, observation, measures, claims."""
