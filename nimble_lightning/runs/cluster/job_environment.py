"""What a run has to know of the scheduler's job that its process is a task of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from nimble_lightning.run_folder import RunFolder


class JobEnvironment(ABC):
    """One scheduler. Another one is another class in a file of its own, and a word in `schedulers.py`.

    Attributes:
        name: What people call it.
        key: Under which its jobs are noted: for an attempt in run.json, and for the owner of a lock.
    """

    name: ClassVar[str]
    key: ClassVar[str]

    @property
    @abstractmethod
    def job_id(self) -> str | None:
        """The job that was started for this run; None outside of one."""

    @abstractmethod
    def comes_back(self) -> bool:
        """Whether the job goes on when its tasks have ended now, as they were asked to."""

    @abstractmethod
    def asked_command(self, folder: RunFolder) -> str | None:
        """What was typed for the run in a folder, if this is its job."""

    @abstractmethod
    def is_over(self, job: str) -> bool:
        """Whether nothing runs any more of what that job had started before; asked from anywhere."""
