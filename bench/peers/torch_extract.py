"""Features of a folder of pictures as people write it: a DataLoader that decodes, VGG16 in PyTorch.

    python bench/peers/torch_extract.py DIR WEIGHTS.npz OUT.npy

Channels last, batches of 8. The same features as eval.extract's fc7 of the same weights: resized without
keeping the aspect (OpenCV, bilinear), BGR less one mean a channel. Rows in the names' order.
"""

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

MEAN = torch.tensor([104.00698793, 116.66876762, 122.67891434]).view(3, 1, 1)
BLOCKS = (2, 2, 3, 3, 3)


class Pictures(Dataset):
    """The pictures of a folder, (3, 224, 224) float32."""

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.iterdir())

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, i: int) -> torch.Tensor:
        picture = cv2.imread(str(self._paths[i]))
        assert picture is not None
        pixels = cv2.resize(picture, (224, 224), interpolation=cv2.INTER_LINEAR)
        return torch.from_numpy(pixels).permute(2, 0, 1).float() - MEAN


def fc7(x: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """VGG16 up to fc7, before its ReLU: (N, 3, 224, 224) to (N, 4096)."""
    for block, count in enumerate(BLOCKS, 1):
        for i in range(1, count + 1):
            name = f"conv{block}_{i}"
            x = functional.relu(
                functional.conv2d(x, weights[name], weights[f"{name}_bias"], padding=1), inplace=True
            )
        x = functional.max_pool2d(x, 2)
    x = functional.relu(functional.linear(x.flatten(1), weights["fc6"], weights["fc6_bias"]))
    return functional.linear(x, weights["fc7"], weights["fc7_bias"])


def main() -> None:
    """Write the features of argv[1]'s pictures to argv[3]."""
    folder, weights_file, out = (Path(argument) for argument in sys.argv[1:])
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    weights = {name: torch.from_numpy(array) for name, array in np.load(weights_file).items()}
    for name, array in weights.items():
        if array.ndim == 4:
            weights[name] = array.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        rows = [
            fc7(batch.to(memory_format=torch.channels_last), weights).numpy()
            for batch in DataLoader(Pictures(folder), batch_size=8, num_workers=cores)
        ]
    np.save(out, np.concatenate(rows))


if __name__ == "__main__":
    main()
