"""The CTR reward model: texts (and profiles) to a calibrated logit of a click."""
