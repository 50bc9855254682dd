"""VGG16 in PyTorch, timed as `caffe time` times it; under a Python of its own: DEVICE BATCH PASSES fp32|tf32.

Prints JSON: milliseconds a batch, {"forward": ..., "both": ...}.
"""

import json
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

POOL = 0
WIDTHS = (64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512, POOL)


def vgg16() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width in WIDTHS:
        if width == POOL:
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
    layers += [nn.Flatten(), nn.Linear(512 * 49, 4096), nn.ReLU(True), nn.Dropout()]
    layers += [nn.Linear(4096, 4096), nn.ReLU(True), nn.Dropout(), nn.Linear(4096, 1000)]
    return nn.Sequential(*layers)


def milliseconds(device: torch.device, passes: int, once: Callable[[], object]) -> float:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(3):
        once()
    wait()
    started = time.perf_counter()
    for _ in range(passes):
        once()
    wait()
    return (time.perf_counter() - started) / passes * 1000


def main() -> None:
    device, batch, passes = torch.device(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    tf32 = sys.argv[4] == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    net = vgg16().to(device).train()
    pictures = torch.randn(batch, 3, 224, 224, device=device)
    labels = torch.randint(1000, (batch,), device=device)
    loss = nn.CrossEntropyLoss()

    def forward() -> None:
        with torch.no_grad():
            net(pictures)

    def both() -> None:
        net.zero_grad(set_to_none=True)
        loss(net(pictures), labels).backward()

    times = {"forward": milliseconds(device, passes, forward), "both": milliseconds(device, passes, both)}
    print(json.dumps(times))


if __name__ == "__main__":
    main()
