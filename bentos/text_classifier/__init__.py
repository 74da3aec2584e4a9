"""The contract that ships: texts to model inputs, inputs to scores, scores to labels.

Training imports this package, so that training and serving cannot drift apart. It imports
neither Prefect, TensorFlow, Great Expectations nor anything of `flows` or `tasks`.
"""
