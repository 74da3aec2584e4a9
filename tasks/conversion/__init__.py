"""From a trained Keras model to what is served: ONNX and SavedModel, then smaller and faster variants.

From above: `convert.convert`, `optimise.optimise`.
"""
