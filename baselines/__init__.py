"""What DynOPool is compared with, each usable on its own through the resizer's interface x, size -> y."""

__all__: list[str] = []
