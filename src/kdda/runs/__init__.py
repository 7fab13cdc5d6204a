"""The run-folder format, read and written: the only interface between training and reporting."""
