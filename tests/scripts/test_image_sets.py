"""Every image task's configuration reads the layout it names, on a small set generated in that layout."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from stillhand.datasets.pixels import ImageSpec
from stillhand.scripts.image_sets import image_set

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def task(name: str) -> dict[str, Any]:
    loaded = OmegaConf.load(CONFIGS / "task" / f"{name}.yaml")
    return {"name": name, "images": OmegaConf.to_container(loaded["images"]), "flip": loaded["flip"]}


def pictures(n: int, side: int) -> np.ndarray:
    return np.random.default_rng(n).integers(256, size=(n, side, side, 3), dtype=np.uint8)


def test_digits_come_with_the_library() -> None:
    train, test = image_set(task("digits"))
    assert (train.spec.name, len(train), len(test)) == ("digits", 1442, 355)


def test_cifar10_is_two_npz_files(tmp_path: Path) -> None:
    for split, n in (("train", 30), ("test", 20)):
        np.savez(tmp_path / f"{split}.npz", images=pictures(n, 32), labels=np.arange(n) % 10)
    config = task("cifar10")
    config["images"]["folder"] = str(tmp_path)
    train, test = image_set(config)
    assert train.spec == ImageSpec("cifar10", 3, 32, 32, classes=10, peak=255)
    assert np.array_equal(test.pixels, pictures(20, 32).transpose(0, 3, 1, 2))
    assert config["flip"]


def test_imagenet64_is_ten_npz_files_and_one(tmp_path: Path) -> None:
    for i in range(10):
        labels = np.arange(1, 1001)[i::10]
        rows = pictures(100, 64).transpose(0, 3, 1, 2).reshape(100, -1)
        np.savez(tmp_path / f"train_data_batch_{i + 1}.npz", data=rows, labels=labels, mean=rows.mean(0))
    np.savez(tmp_path / "val_data.npz", data=rows, labels=labels)
    config = task("imagenet64")
    config["images"]["folder"] = str(tmp_path)
    train, test = image_set(config)
    assert train.spec == ImageSpec("imagenet64", 3, 64, 64, classes=1000, peak=255)
    assert sorted(train.labels) == list(range(1000))
    assert np.array_equal(test.pixels, pictures(100, 64).transpose(0, 3, 1, 2))


def test_what_is_no_task_of_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="task=avoiding has no images; expected one such as task=digits"):
        image_set({"name": "avoiding"})
    config = task("fmnist")
    assert config["images"]["folder"] == "/usr/share/datasets/fashion-mnist"
    config["images"]["folder"] = str(tmp_path)
    with pytest.raises(ValueError, match="`make images-data` installs those of Fashion-MNIST"):
        image_set(config)
    config["images"]["_target_"] = "os.system"
    with pytest.raises(ValueError, match=r"_target_ 'os\.system' is not on the allow-list"):
        image_set(config)
