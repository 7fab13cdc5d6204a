"""Systems that KDDA is compared with: ViReader, which reads selected sentences of a passage."""
