"""Batches: how many pictures Caffe takes at once, a step, and a test."""


def shared(effective: int, gpus: int, most: int) -> tuple[int, int]:
    """(batch_size, iter_size) that make `effective` pictures a step on so many GPUs (none is the CPU).

    Caffe gives every GPU the whole of batch_size, iter_size times a step; a GPU takes `most` at once, or the
    largest equal part below. The article's 128: shared(128, 2, 64) is (64, 1), shared(128, 1, 64) is (64, 2).
    Raises ValueError where the GPUs can't have equal parts.
    """
    part, left = divmod(effective, max(1, gpus))
    if left or not part:
        below, above = max(1, part) * gpus, (part + 1) * gpus
        instead = f"{below} or {above}" if part else f"{above}"
        raise ValueError(
            f"{effective} pictures a step can't be shared evenly by {gpus} GPUs: take {instead} a step "
            f"(EFFECTIVE_BATCH), or {_largest_divisor(effective, gpus)} of the GPUs"
        )
    batch = _largest_divisor(part, most)
    return batch, part // batch


def test_batches(images: int, batch: int) -> tuple[int, int]:
    """(batch_size, test_iter) that see each of the validation images exactly once.

    The article's: test_batches(208260, 52) is (52, 4005). Fewer images than a batch are one batch. Raises
    ValueError where the batch doesn't divide the images: some would be tested twice, or never.
    """
    if images < batch:
        return images, 1
    if images % batch:
        raise ValueError(
            f"{images} validation images are no multiple of the test batch, {batch}: `python -m "
            f"data_prep.split --test-batch {batch}` deals them out so that they are; or take "
            f"--test-batch {_largest_divisor(images, batch)}"
        )
    return batch, images // batch


def _largest_divisor(number: int, most: int) -> int:
    return next(divisor for divisor in range(min(most, number), 0, -1) if number % divisor == 0)
