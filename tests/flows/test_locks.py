"""One training at a time on a device, whoever started it."""

import logging
import subprocess
import sys
import threading

import pytest
from running import environment

from flows.locks import only_training

HOLD = "from flows.locks import only_training as t\nwith t('cpu'): print('held', flush=True); input()"


def test_a_training_waits_for_that_of_another_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    began = threading.Event()

    def train() -> None:
        with only_training("cpu"):
            began.set()

    with caplog.at_level(logging.INFO, "al_engine.campaign"):
        waiting = threading.Thread(target=train)
        waiting.start()
        with only_training("cuda"):  # another device is free
            assert not began.wait(0.5)
        other.kill()  # the lock goes with its process
        other.communicate()
        waiting.join(10)
    assert began.is_set()
    assert caplog.messages == ["another campaign trains on this cpu; waiting until it is done"]
    with only_training("cuda"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        with only_training("cuda"):  # that of another number, too
            pass
