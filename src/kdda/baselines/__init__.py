"""Systems that KDDA is compared with: ViReader."""
