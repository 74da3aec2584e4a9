"""Model structures, one file each, and the pre-trained encoders that some of them begin with.

From above: `architectures.architectures()`, `pretrained.names`.
"""
