"""The copywriter: a language model that learns from clicks what to say to whom."""
