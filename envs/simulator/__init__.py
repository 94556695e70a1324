"""From a click log to simulated users: response models, the fit, and its fidelity card."""
