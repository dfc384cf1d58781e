"""The image files of a dataset: which there are in each split, and of which class."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dynpool.analysis.common.statistics import plural

from .config_sections import DataConfig
from .errors import DataError

__all__ = ["ImageFiles", "aircraft_files", "folder_files"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"})
EXPECTED = "expected ROOT/train/CLASS/* and ROOT/test/CLASS/* (or val/ for test/) with image files"


@dataclass(frozen=True)
class ImageFiles:
    """The files and labels of the splits "train" and "test", the classes, and images that are in no class folder."""

    root: Path
    classes: tuple[str, ...]
    files: Mapping[str, tuple[Path, ...]]
    labels: Mapping[str, tuple[int, ...]]
    strays: tuple[Path, ...] = ()


def _is_image(path: Path) -> bool:
    """Whether a file has the name of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def folder_files(config: DataConfig) -> ImageFiles:
    """Those of any tree train/CLASS/*, test/CLASS/* (or val/CLASS/*), as torchvision's ImageFolder reads them.

    Raises:
        DataError: if it is not such a tree; the message names the folder.
    """
    if config.root is None:
        raise DataError(f"data.root is null; {EXPECTED}")
    root = Path(config.root)
    if root.is_file():
        raise DataError(f"data.root is {config.root!r}: a file, not a folder; {EXPECTED}")
    if not root.is_dir():
        raise DataError(f"data.root is {config.root!r}: no such folder; {EXPECTED}")
    names: dict[str, list[str]] = {}
    files: dict[str, tuple[Path, ...]] = {}
    labels: dict[str, tuple[int, ...]] = {}
    folders = {"train": root / "train", "test": root / "test"}
    if not folders["test"].is_dir() and (root / "val").is_dir():
        folders["test"] = root / "val"
    for split, folder in folders.items():
        if not folder.is_dir():
            inside = sorted(p.name for p in root.iterdir() if p.is_dir())[:5]
            raise DataError(f"{root}: no folder {split}/ (found: {', '.join(inside) or 'no folders'}); {EXPECTED}")
        names[split] = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
        by_class = {name: sorted(p for p in (folder / name).rglob("*") if _is_image(p)) for name in names[split]}
        for name, found in by_class.items():
            if not found:
                raise DataError(f"{folder / name}: no image files; {EXPECTED}")
        files[split] = tuple(path for found in by_class.values() for path in found)
        labels[split] = tuple(label for label, found in enumerate(by_class.values()) for _ in found)
    if len(names["train"]) < 2:
        classes = plural(len(names["train"]), "class folder")
        raise DataError(f"{folders['train']}: {classes}, at least two are needed; {EXPECTED}")
    if names["train"] != names["test"]:
        only = [(a, sorted(set(names[a]) - set(names[b]))) for a, b in (("train", "test"), ("test", "train"))]
        missed = {split: f"{', '.join(odd[:5])}{', ...' * (len(odd) > 5)}" for split, odd in only if odd}
        listed = [f"only {folders[split].name}/ has {some}" for split, some in missed.items()]
        both = " and ".join(f"{folder.name}/" for folder in folders.values())
        raise DataError(f"{root}: {both} have different classes: {'; '.join(listed)}")
    strays = tuple(path for folder in folders.values() for path in sorted(folder.iterdir()) if _is_image(path))
    return ImageFiles(root, tuple(names["train"]), files, labels, strays)


def aircraft_files(config: DataConfig) -> ImageFiles:
    """Those of FGVC-Aircraft (Maji et al., 2013), as torchvision unpacks it: 100 variants, 6,667 and 3,333 images.

    Raises:
        DataError: if the dataset is not there or incomplete; the message names the folder or file.
    """
    import torchvision

    folder = "fgvc-aircraft-2013b"
    if config.root is None:
        raise DataError(f"data.root is null; aircraft needs the folder that holds {folder}/")
    root = Path(config.root)
    if config.download:
        torchvision.datasets.FGVCAircraft(str(root), download=True)
    data = root / folder / "data"
    if not data.is_dir():
        raise DataError(
            f"data.root is {config.root!r}: no folder {folder}/data/ in it; "
            "unpack the dataset there, or download it with --data.download true"
        )
    classes = tuple(_lines(data / "variants.txt"))
    numbers = {name: number for number, name in enumerate(classes)}
    files: dict[str, tuple[Path, ...]] = {}
    labels: dict[str, tuple[int, ...]] = {}
    for split, part in (("train", "trainval"), ("test", "test")):
        listing = data / f"images_variant_{part}.txt"
        pairs = [line.partition(" ")[::2] for line in _lines(listing)]
        unknown = sorted({name for _, name in pairs} - numbers.keys())
        if unknown or not pairs:
            raise DataError(f"{listing}: damaged: {f'unknown variant {unknown[0]!r}' if unknown else 'no images'}")
        files[split] = tuple(data / "images" / f"{image}.jpg" for image, _ in pairs)
        labels[split] = tuple(numbers[name] for _, name in pairs)
        _all_there(files[split])
    return ImageFiles(root, classes, files, labels)


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _all_there(files: Iterable[Path]) -> None:
    missing = next((path for path in files if not path.is_file()), None)
    if missing is not None:
        raise DataError(f"{missing}: no such file, though the dataset lists it")
