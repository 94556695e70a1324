"""A text encoder for CTR models, and a family of response models."""

import numpy as np

from copygym.core.files.storage import read_arrays, read_json, write_arrays, write_json


class Letters:
    """How often each letter of the alphabet occurs in a text."""

    kind = "letters"
    width = 26

    def __init__(self, scale=1.0):
        self.scale = scale

    def fit(self, texts):
        pass

    def transform(self, texts):
        counts = [[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts]
        return self.scale * np.array(counts, np.float32).reshape(-1, 26)

    def save(self, folder):
        write_json(folder / "features.json", {"kind": self.kind, "scale": self.scale})

    @classmethod
    def load(cls, folder, state):
        return cls(state["scale"])


class ByCreative:
    """The click rate of each creative, the same for everybody."""

    def __init__(self, prior=10.0):
        self.prior = prior
        self.logits = np.zeros(1)

    def fit(self, counts, actions, sizes, *, validation=None, seed=0):
        creative = actions.creative[counts.cell]
        clicks = np.bincount(creative + 1, counts.successes, sizes.creative + 1)
        trials = np.bincount(creative + 1, counts.trials, sizes.creative + 1)
        mean = counts.successes.sum() / counts.trials.sum()
        rate = (clicks + self.prior * mean) / (trials + self.prior)
        self.logits = np.log(rate / (1 - rate))
        return self

    def logit(self, profiles_NP, actions):
        return self.logits[actions.creative + 1]

    def table(self, profiles_UP, actions):
        return np.tile(self.logits[actions.creative + 1], (len(profiles_UP), 1))

    def save(self, folder):
        write_arrays(folder / "rates.npz", {"logits": self.logits})
        write_json(folder / "model.json", {"family": "parcels.models:ByCreative"})

    @classmethod
    def load(cls, folder):
        read_json(folder / "model.json")
        model = cls()
        model.logits = read_arrays(folder / "rates.npz")["logits"]
        return model
