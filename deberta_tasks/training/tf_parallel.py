"""Several devices and hosts that train one TensorFlow model, on TensorFlow's own strategies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf


def start_strategy(devices: int = 0) -> tf.distribute.Strategy:
    """The strategy for what there is; call it before anything else of TensorFlow.

    Args:
        devices: how many to use on this host: GPUs, or without GPUs virtual CPUs; 0 for all GPUs, or one CPU.

    Returns:
        ``MultiWorkerMirroredStrategy`` where the environment names other workers (``TF_CONFIG``), ``MirroredStrategy``
        for several devices, else the default strategy.

    Raises:
        ValueError: if there are not so many GPUs.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and devices > len(gpus):
        raise ValueError(f"{devices} devices are asked for, there are {len(gpus)} GPUs")
    if devices > 1 and not gpus:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    if os.environ.get("TF_CONFIG"):
        return tf.distribute.MultiWorkerMirroredStrategy()
    kind, count = ("GPU", devices or len(gpus)) if gpus else ("CPU", devices)
    if count < 2:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(count)])


def is_first(strategy: tf.distribute.Strategy) -> bool:
    """Whether this is the process that writes."""
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.task_type or (resolver.task_type, resolver.task_id) in (
        ("chief", 0), ("worker", 0),
    )  # fmt: skip


def cut(strategy: tf.distribute.Strategy, batch: dict[str, Any], *, parts: int = 1) -> dict[str, tf.Tensor]:
    """A batch in as many pieces as there are replicas, of which each takes its own inside ``run``.

    All replicas are given all examples, so that one graph with open shapes serves them; ids are small.

    Args:
        strategy: with so many replicas that the batch can be cut evenly.
        batch: arrays ``[B, ...]``.
        parts: pieces of a replica's examples.

    Returns:
        Tensors ``[replicas, parts, B / replicas / parts, ...]``.
    """
    pieces = (strategy.num_replicas_in_sync, parts, -1)
    return {name: tf.constant(np.reshape(array, (*pieces, *array.shape[1:]))) for name, array in batch.items()}


def of_replica(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Inside ``run``: this replica's pieces of what ``cut`` gave."""
    context = tf.distribute.get_replica_context()
    return {name: value[context.replica_id_in_sync_group] for name, value in batch.items()}


def training_data(strategy: tf.distribute.Strategy, stream: Any, model: Any) -> Any:
    """The batches of a stream for ``model.fit``, from the step on that the model's optimiser has reached.

    Give ``fit`` the stream's ``steps_per_epoch`` and, to resume, the callback ``BackupAndRestore``: it brings back the
    optimiser's count of steps before the first batch is drawn. Each replica gets its part of a batch; the batch does
    not depend on how many there are.

    Args:
        strategy: that the model was made under.
        stream: ``deberta_tasks.training.stream.Stream``, or another with ``batches(done)``.
        model: compiled.

    Raises:
        ValueError: if a batch cannot be cut into equal parts.
    """
    first = next(stream.batches(0))
    count, replicas = len(first["input_ids"]), strategy.num_replicas_in_sync
    if count % replicas:
        raise ValueError(f"batch_size {count} cannot be cut into {replicas} equal parts, one for each replica")
    each = count // replicas
    signature = {
        name: tf.TensorSpec([each, *[None] * (array.ndim - 1)], array.dtype) for name, array in first.items()
    }  # fmt: skip

    def of_worker(context: Any) -> tf.data.Dataset:
        local = replicas // context.num_input_pipelines
        parts = range(context.input_pipeline_id * local, (context.input_pipeline_id + 1) * local)

        def draw() -> Iterator[dict[str, Any]]:
            # Asked when the first batch is drawn, not now: by then BackupAndRestore has brought the count back.
            for batch in stream.batches(int(model.optimizer.iterations.numpy())):
                for part in parts:
                    yield {name: array[part * each : (part + 1) * each] for name, array in batch.items()}

        return tf.data.Dataset.from_generator(draw, output_signature=signature)

    return strategy.distribute_datasets_from_function(of_worker)
