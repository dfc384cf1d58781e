"""Signals that end a program: handlers that the caller has set stay, and a command that works gets an exception."""

import os
import signal

import pytest

from dynpool.training.interrupts import interruptible, leave, leave_at_once

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _handlers_as_before():
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_default_handlers_are_replaced_and_others_stay():
    def mine(number, frame):
        raise AssertionError

    signal.signal(signal.SIGTERM, mine)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    leave_at_once()
    assert [signal.getsignal(number) for number in NUMBERS] == [leave, mine, signal.SIG_IGN]


def test_while_a_command_works_ctrl_c_is_an_exception_and_afterwards_it_ends_the_program_again():
    leave_at_once()
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is leave


def test_in_the_program_of_another_ctrl_c_stays_as_it_is():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruptible():
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
