"""Images -> the feature network that generators of these images are scored with.

`stillhand features task=fmnist` trains a small classifier and writes NAME.safetensors and its card NAME.json.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.core.settings import Settings
from stillhand.scripts.stage import at_least, command, commit, plain, versions, writable_folder

if TYPE_CHECKING:
    from stillhand.datasets.pixels import ImageLoader, Images
    from stillhand.images.features import FeatureNet


@dataclass
class FeaturesConfig:
    """Settings of a feature network.

    Args:
        task: Configuration group.
        channels: Of the convolutions, multiples of 8.
        feature_dim: Numbers per image.
        training: Optimization.
        seed: Of weights and batches.
        batch_size: Images per step.
        out: Folder for NAME.safetensors and NAME.json; these must not exist.
        threads: Of torch.
    """

    task: Any = MISSING
    channels: list[int] = MISSING
    feature_dim: int = MISSING
    training: Settings = field(default_factory=Settings)
    seed: int = 0
    batch_size: int = 128
    out: str = MISSING
    threads: int = 1


ConfigStore.instance().store(name="features_schema", node=FeaturesConfig)


@command("features")
def main(config: DictConfig) -> None:
    """Train one feature network and write it with its card."""
    import torch

    from stillhand.datasets.pixels import ImageLoader
    from stillhand.images.features import FeatureNet, write_features
    from stillhand.scripts.image_sets import image_set

    settings = plain(config)
    at_least(settings, threads=1, seed=0)
    name, folder = settings["task"]["name"], Path(settings["out"])
    if there := [path.name for path in folder.glob(f"{name}.*")]:
        raise ValueError(f"out={folder} holds {there} already; choose another folder (nothing was changed)")
    optimization = _optimization(settings["training"])
    train, test = image_set(settings["task"])
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(settings["seed"])
    net = FeatureNet(train.spec, tuple(settings["channels"]), settings["feature_dim"])
    loader = ImageLoader(train, settings["batch_size"], settings["seed"], settings["task"]["flip"])
    writable_folder(settings["out"])
    begun = time.process_time()
    fit(net, loader, optimization)
    spent = {"train_cpu_seconds": round(time.process_time() - begun, 1)}
    card = {**_origin(settings), **spent, **_accuracies(net, train, test)}
    write_features(net, folder, card)
    print(f"trained {folder / name}.safetensors: test accuracy {card['test_accuracy']}")


def _optimization(training: Mapping[str, Any]) -> Settings:
    pairs = {key: tuple(training[key]) for key in ("betas", "restarts")}
    return Settings(**{**training, **pairs})


def fit(net: "FeatureNet", loader: "ImageLoader", settings: Settings) -> None:
    """Train; the net ends as the average of its weights."""
    from tqdm import tqdm

    from stillhand.core.training import TrainState, optimize
    from stillhand.images.features import classification_loss

    state = TrainState(net, settings)
    steps = optimize(state, lambda step: (classification_loss(net, loader.batch(step)), {}), settings)
    with tqdm(total=settings.steps, desc="features", mininterval=10) as bar:
        for values in steps:
            bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)
            bar.update()
    net.load_state_dict(state.average.state_dict())


def _accuracies(net: "FeatureNet", train: "Images", test: "Images") -> dict[str, Any]:
    from stillhand.images.features import accuracy, embed

    parts = {"train": train, "test": test}
    shares = {key: accuracy(embed(net, images.pixels), images.labels) for key, images in parts.items()}
    return {
        "dataset": {key: images.fingerprint for key, images in parts.items()},
        **{f"{key}_accuracy": round(share, 4) for key, share in shares.items()},
    }


def _origin(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe; where files lay is none of it."""
    recipe = {key: value for key, value in settings.items() if key not in ("out", "task", "threads")}
    words = [word for word in sys.argv[1:] if not word.startswith("out=")]
    return {
        "task": settings["task"]["name"],
        "recipe": recipe,
        "command": " ".join(["stillhand features", *words]),
        "commit": commit(),
        "versions": versions(),
    }


if __name__ == "__main__":
    main()
