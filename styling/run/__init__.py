"""One run made definite: sizes and scales, memory, states, progress, recorder."""
