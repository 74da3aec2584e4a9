"""Pre-trained encoders: `folder` finds and reads them, `encoder` is their structure in Keras."""
