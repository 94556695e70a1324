"""An environment: nothing can be sent in one slot of the day."""

from copygym.envs.delivery import DeliveryVectorEnv


class WeekdayVectorEnv(DeliveryVectorEnv):
    """Delivery with a slot in which everybody must be left alone."""

    def __init__(self, *args, quiet=0, **kwargs):
        super().__init__(*args, **kwargs)
        self.quiet = quiet

    def action_masks(self):
        masks = super().action_masks().copy()
        slot = self.batch.time % self.users.catalogue.n_slots
        masks[slot == self.quiet, 1:] = False
        return masks
