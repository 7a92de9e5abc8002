"""A study and a view for the conductor's tests: they note what they are told."""

from __future__ import annotations

from types import SimpleNamespace

from xraytune.records import TrialConfig


class Told:
    """A study that notes what it is told, and counts it."""

    def __init__(self):
        self.said, self.ended, self.running, self.best, self.since_best, self.failed_of_all = [], 0, 0, None, 0, 0.0
        self.tally, self.left = self, {}

    def failing(self, share):
        return f"{self.failed_of_all:.0%} failed" if self.failed_of_all >= share else None

    def ask(self):
        self.running += 1
        number = self.running + self.ended - 1
        return SimpleNamespace(number=number, config=TrialConfig("cnn", {}, number))

    def _end(self, *what):
        self.said.append(what)
        self.running, self.ended = self.running - 1, self.ended + 1

    def report(self, number, report):
        self.said.append(("report", number, report.epoch))

    def reported(self, number):
        return any(s[:2] == ("report", number) for s in self.said)

    def has_epoch(self, number, epoch):
        return ("report", number, epoch) in self.said

    def complete(self, number, result):
        self._end("complete", number)

    def pruned(self, number, result):
        self._end("pruned", number)

    def failed(self, number, cause, message):
        self._end("failed", number, str(cause))

    def touch(self): ...

    def leave(self, choices, why):
        self.left = choices
        self.said += [("left", line) for line in why]

    def describe(self, stopped=""): ...

    def ran_on(self, number, machine): ...


class Silent:
    def __getattr__(self, name):
        return lambda *a: None
