Comparison=compare=None
