"""A picture that a deployment does not take as it is becomes one that it takes; prompts go in, masks come back."""
