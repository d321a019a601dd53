"""Signals: the first stops at a batch, the second at once."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from nnfast.train import stop_on_signals

pytestmark = pytest.mark.skipif(os.name != "posix", reason="os.kill sends signals on POSIX only")


class FakeTrainer:
    def __init__(self):
        self.signals = []

    def interrupt(self, number):
        self.signals.append(number)


@pytest.fixture(autouse=True)
def usual_handlers():
    """Ctrl-C as in a terminal, even if the tests run in the background of a shell."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_the_trainer(number):
    trainer = FakeTrainer()
    with stop_on_signals(trainer):
        os.kill(os.getpid(), number)
    assert trainer.signals == [number]


def test_the_second_signal_interrupts_at_once():
    trainer = FakeTrainer()

    def press_twice():
        with stop_on_signals(trainer):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert trainer.signals == [signal.SIGINT]


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def fail():
        with stop_on_signals(FakeTrainer()):
            assert signal.getsignal(signal.SIGINT) is not before[0]
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    trainer = FakeTrainer()
    with stop_on_signals(trainer):
        os.kill(os.getpid(), signal.SIGINT)
    assert trainer.signals == []


def test_other_threads_are_let_alone():
    seen = []

    def run():
        before = signal.getsignal(signal.SIGINT)
        with stop_on_signals(FakeTrainer()):
            seen.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [True]
