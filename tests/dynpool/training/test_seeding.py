"""Generators follow from what they are for, and from nothing else."""

import torch

from dynpool.training.seeding import generator_for


def test_the_same_parts_give_the_same_draws_and_others_give_others():
    torch.manual_seed(1)
    first = torch.rand(4, generator=generator_for(0, 3, "order"))
    torch.manual_seed(2)
    assert torch.equal(torch.rand(4, generator=generator_for(0, 3, "order")), first)
    for other in ((0, 3, "augmentation"), (0, 4, "order"), (1, 3, "order"), (0, "3", "order"), (0, 3)):
        assert not torch.equal(torch.rand(4, generator=generator_for(*other)), first)
