"""A network with resizers that were placed by hand."""

from torch import nn

import dynpool


class ByHand(nn.Module):
    """Three resizers in a row, the last of which shares the alpha of `first`; `unused` is never called."""

    def __init__(self, kind=dynpool.DynOPool2d, **options):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.first = kind(**options)
        self.second = kind(**options)
        self.again = kind(tied_to=self.first)
        self.unused = kind(**options)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.again(self.second(self.first(self.conv(x).relu()))).mean((2, 3)))
