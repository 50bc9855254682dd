"""VGG16 in PyTorch, forward passes and training steps, under a Python of its own.

DEVICE DIVISOR SIDE HIDDEN CLASSES ITERATIONS SECONDS BATCHES: the network of bench/gpu_check/nets.py, and how
often. Prints a line of JSON each: {"what": "forward" or "train", "batch": ..., "how": ...,
"milliseconds": median}.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

POOL = 0
WIDTHS = (64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512, POOL)
KINDS = {
    "FP32 NCHW": (torch.contiguous_format, False, False),
    "FP32 channels last": (torch.channels_last, False, False),
    "TF32 channels last": (torch.channels_last, True, False),
    "bf16 channels last": (torch.channels_last, True, True),
}
"""Order in memory, whether TF32 is allowed, whether autocast computes in bf16."""


def vgg16(divisor: int, side: int, hidden: int, classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width in WIDTHS:
        if width == POOL:
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, width // divisor, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width // divisor
    layers += [nn.Flatten(), nn.Linear(channels * (side // 32) ** 2, hidden), nn.ReLU(True)]
    layers += [nn.Linear(hidden, hidden), nn.ReLU(True), nn.Linear(hidden, classes)]
    return nn.Sequential(*layers)


def median(device: torch.device, iterations: int, seconds: int, once: Callable[[], object]) -> float:
    """Milliseconds of `once` with the wait for it, after three to warm up."""
    times: list[float] = []
    for i in range(3 + iterations):
        started = time.perf_counter()
        once()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if i >= 3:
            times.append((time.perf_counter() - started) * 1000)
        if len(times) >= 3 and sum(times) > 1000 * seconds:
            break
    return statistics.median(times)


class Work:
    """A network in one of the kinds, with a batch."""

    def __init__(self, net: nn.Module, device: torch.device, how: str, batch: int, side: int) -> None:
        order, _, self.bf16 = KINDS[how]
        self.net, self.device = net, device
        self.pictures = torch.rand(batch, 3, side, side, device=device).to(memory_format=order)
        self.labels = torch.randint(8, (batch,), device=device)
        self.steps = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0005)

    def loss(self) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return nn.functional.cross_entropy(self.net(self.pictures), self.labels)

    def forward(self) -> None:
        with torch.no_grad():
            self.loss()

    def train(self) -> None:
        self.steps.zero_grad(set_to_none=True)
        self.loss().backward()
        self.steps.step()


def main() -> None:
    device = torch.device(sys.argv[1])
    divisor, side, hidden, classes, iterations, seconds = map(int, sys.argv[2:8])
    torch.backends.cudnn.benchmark = True
    for how, (order, tf32, _) in KINDS.items():
        if device.type == "cpu" and tf32:
            continue
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        net = vgg16(divisor, side, hidden, classes).to(device, memory_format=order)
        for batch in map(int, sys.argv[8].split(",")):
            work = Work(net, device, how, batch, side)
            for what, once in (("forward", work.forward), ("train", work.train)):
                took = median(device, iterations, seconds, once)
                row = {"what": what, "batch": batch, "how": how, "milliseconds": took}
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
