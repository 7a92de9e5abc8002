"""The cause of an exception: memory that ran out is told from all else, whoever raises it."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from search.retraining.workers.worker_pool import Workers
from xraytune.errors import FatalError, TrialError, classify, named
from xraytune.records import FailureCause


def named_error(name, text):
    return type(name, (Exception,), {})(text)


NO_MEMORY = [
    MemoryError(),
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1073741824 bytes."),
    RuntimeError("CUDA_ERROR_OUT_OF_MEMORY"),
    RuntimeError("CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("std::bad_alloc"),
    named_error("ResourceExhaustedError", "{{function_node __wrapped__Conv2D}} tensor with shape[64,512,512]"),
    named_error("InternalError", "OOM when allocating tensor with shape[64,512,512]"),
    named_error("OutOfMemoryError", "Task was killed."),
    ValueError("Failed to allocate 4 GB"),
]
OTHERS = [
    KeyError("room"),
    RuntimeError("the room is empty"),
    RuntimeError("(1) The process is killed by SIGKILL by OOM killer due to high memory usage. (2) ray stop."),
    RuntimeError("memory format channels_last is not supported"),
    RuntimeError(),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=repr)
def test_memory_that_ran_out_is_one_cause_inside_and_outside_of_training(error):
    cause, message = classify(error)
    assert cause is FailureCause.OOM
    assert message.startswith(f"out of memory: {type(error).__name__}: ")
    with pytest.raises(TrialError) as raised, named():
        raise error
    assert (raised.value.cause, raised.value.message) == (cause, message)


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_whatever_else_is_raised_is_an_error(error):
    assert classify(error)[0] is FailureCause.ERROR
    with pytest.raises(TrialError) as raised, named():
        raise error
    assert raised.value.cause is FailureCause.ERROR


def test_a_message_is_one_line_of_bounded_length():
    _, message = classify(RuntimeError("\n\n first " + 1000 * "x" + "\nsecond"))
    assert message.startswith("RuntimeError: first xxx")
    assert len(message) == 300


def allocate(report):
    return np.ones(2**45)


def fork(report):
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def misread(report):
    raise KeyError("width")


def write(report):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/results/fold.npz")


def test_a_retraining_tells_memory_a_place_that_can_t_be_written_and_our_mistakes_apart():
    with Workers(1, 1) as pool:
        ended = {outcome.index: outcome.error for outcome in pool.run([allocate, fork, misread, write])}
    assert [ended[i].cause for i in range(3)] == [FailureCause.OOM, FailureCause.OOM, FailureCause.ERROR]
    assert "KeyError: 'width' (" in ended[2].message
    assert 'raise KeyError("width")' in ended[2].message
    assert isinstance(ended[3], FatalError)
    assert "/results/fold.npz: Read-only file system" in str(ended[3])
