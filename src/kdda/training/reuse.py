"""`Reuse`: what trainings of one process that start from one model need alike, made once; up to 24 results are kept."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from kdda.data.examples import Example
from kdda.tasks.base import Task
from kdda.tasks.features import Features
from kdda.text.encode import Encoder

T = TypeVar("T")

KEPT = 24  # results: the encoded splits of four languages, and what heads and teachers' caches need of them


class Reuse:
    """Results that depend on a model, rows and settings, and on no seed: they are made once and kept for later runs.

    Nothing of a training's outcome depends on it. All trainings that use one object start from the same checkpoint.

    Args:
        limit: of results; the one that was not used for longest is dropped. 0 keeps none.

    Attributes:
        tokenizer: of the model, once a training has opened it: one of 250,000 pieces takes a second to open.
    """

    def __init__(self, limit: int = KEPT):
        self.limit = limit
        self.tokenizer: Any = None
        self._results: OrderedDict[Hashable, tuple[Sequence[object], Any]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._results)

    def get(
        self,
        what: str,
        objects: Sequence[object],
        settings: Hashable,
        make: Callable[[], T],
        keep: Callable[[T], bool] = lambda _: True,
    ) -> T:
        """A result, made now unless it is kept.

        Args:
            what: names the kind of result.
            objects: that it is made of, such as rows. They count as the same where they are the same objects.
            settings: that decide it, beside the objects.
            make: makes it.
            keep: whether a result may be kept, which may need too much memory.
        """
        key = (what, tuple(map(id, objects)), settings)
        if key not in self._results:
            result = make()
            if not self.limit or not keep(result):
                return result
            self._results[key] = (objects, result)  # with the objects, so that no others get their ids
            if len(self._results) > self.limit:
                self._results.popitem(last=False)
        self._results.move_to_end(key)
        kept: T = self._results[key][1]
        return kept

    def encode(self, task: Task, examples: Sequence[Example], encoder: Encoder) -> Features:
        """A task's windows of some examples. `encoder.counts` grows by what was truncated, as if they were made now."""

        def make() -> tuple[Features, Counter[str]]:
            before = encoder.counts.copy()
            features = task.encode(examples, encoder)
            truncated = Counter({name: count - before[name] for name, count in encoder.counts.items()})
            encoder.counts = before
            return features, truncated

        settings = (repr(task), encoder.segmenter, encoder.max_length, encoder.overlap)
        features, truncated = self.get("windows", [examples], settings, make)
        encoder.counts.update(truncated)
        return features
