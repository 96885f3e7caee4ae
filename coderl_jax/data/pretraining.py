"""Pretraining batches out of prepared documents, through grain: shuffled, corrupted, padded, from any position.

    documents -> windows -> shuffle -> repeat -> masked spans or next tokens -> batches

Every step is random access, so the batch of a number depends on the seed and that number alone: the position is one number, and each of
several hosts reads its own rows of the same batches.
"""

from typing import Any, Literal

import grain
import numpy as np
from jaxtyping import Int32

from coderl_jax.config import Lengths
from coderl_jax.data.batches import Batch, Example, Stream, pad_to
from coderl_jax.data.prepared import Prepared
from coderl_jax.data.spans import masked_spans, next_tokens, next_tokens_shape, span_shape
from coderl_jax.data.tokenizer import EOS
from coderl_jax.files import UserError

_EPOCHS = 1_000_000  # grain's own endless repetition overflows when it is cut
Objective = Literal["spans", "next-tokens"]


class JoinedWindows:
    """The documents joined, an `</s>` after each, and cut into windows of one length; what is left at the end is dropped.

    For masked spans (CodeRL section 4.1): every window is full, however short the documents are.
    """

    def __init__(self, documents: Prepared, length: int):
        """Windows of `length` tokens."""
        self._documents, self._length = documents, length
        self._ends = np.cumsum(documents.lengths[:, 0] + 1)

    def __len__(self) -> int:
        return int(self._ends[-1]) // self._length

    def __getitem__(self, number: int) -> Int32[np.ndarray, " length"]:
        start, stop = number * self._length, (number + 1) * self._length
        first, last = np.searchsorted(self._ends, (start, stop - 1), side="right")
        parts = [part for i in range(first, last + 1) for part in (*self._documents.ids(i), [EOS])]
        begins = int(self._ends[first - 1]) if first else 0
        return np.concatenate(parts).astype(np.int32)[start - begins : stop - begins]


class DocumentWindows:
    """Every document cut into the fewest windows, all about as long; none of two documents. The last of each ends in `</s>`.

    For next tokens: what a program goes on with, nothing else, is predicted from its beginning.
    """

    def __init__(self, documents: Prepared, length: int, least: int = 16):
        """Windows of up to `length` tokens, of the documents that have at least `least`."""
        self._documents = documents
        sizes = np.where(documents.lengths[:, 0] >= least, documents.lengths[:, 0] + 1, 0)
        self._sizes, self._windows = sizes, -(-sizes // length)
        self._ends = np.cumsum(self._windows)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> Int32[np.ndarray, " n"]:
        document = int(np.searchsorted(self._ends, number, side="right"))
        size, windows = int(self._sizes[document]), int(self._windows[document])
        window = number - (int(self._ends[document]) - windows)
        tokens = np.append(self._documents.ids(document)[0], np.int32(EOS))
        return tokens[window * size // windows : (window + 1) * size // windows]


class PretrainingStream(Stream):
    """Endless batches of one shape."""

    def __init__(
        self,
        documents: Prepared,
        objective: Objective,
        lengths: Lengths,
        *,
        sequence_length: int,
        batch_size: int,
        seed: int,
        readers: int = 1,
    ):
        """Plan; nothing is read yet.

        Args:
          documents: a split of a prepared corpus; for spans its tokenizer has the sentinels `<extra_id_0>`, ...
          objective: spans, or next-tokens.
          lengths: longest source (`max_prompt_tokens`) and target (`max_new_tokens`), of next tokens.
          sequence_length: tokens of a window.
          batch_size: examples a batch, of all hosts together.
          seed: of order and corruption.
          readers: threads that read and corrupt ahead; 0: none.

        Raises:
          UserError: no window, no sentinels.
        """
        windows = (JoinedWindows if objective == "spans" else DocumentWindows)(documents, sequence_length)
        if len(windows) == 0:
            tokens = int(documents.lengths.sum())
            raise UserError(f"--prepared: expected a window of {sequence_length} tokens or more, got {tokens} tokens in all; prepare more")
        super().__init__(len(windows), batch_size, seed)
        sentinels = documents.tokenizer.sentinels
        if objective == "spans" and not sentinels:
            raise UserError(
                "tokenizer: expected sentinels <extra_id_0>, ... for masked spans, got none; prepare with a tokenizer that has them"
            )
        if objective == "spans":
            count, source, target = span_shape(sequence_length)
            shape = (_rounded(source), _rounded(target))
            corrupt = lambda tokens, rng: masked_spans(tokens, sentinels[:count], rng)  # noqa: E731
        else:
            source, target = next_tokens_shape(sequence_length)  # what no window reaches would be padding
            shape = (min(lengths.max_prompt_tokens, _rounded(source)), min(lengths.max_new_tokens, _rounded(target)))
            corrupt = lambda tokens, rng: next_tokens(tokens, shape, rng)  # noqa: E731
        self.shape, self.shares = shape, [(*shape, 1.0)]
        self._corrupted = grain.MapDataset.source(windows).seed(seed).shuffle().repeat(_EPOCHS).random_map(corrupt)
        self._batches = self._corrupted.batch(batch_size, batch_fn=self._batch)
        self._readers = readers
        self._iterator: Any = None

    def _batch(self, examples: list[Example]) -> Batch:
        source, source_mask = pad_to([example.source for example in examples], self.shape[0])
        target, target_mask = pad_to([example.target for example in examples], self.shape[1])
        return Batch(source, source_mask, target, target_mask, np.zeros(len(examples), np.int32))

    def __next__(self) -> Batch:
        if self._iterator is None:
            options = grain.ReadOptions(num_threads=self._readers, prefetch_buffer_size=4 * self._readers)
            batches = self._batches
            if self.rows is not None:
                batches = _RowsOfBatches(self._corrupted, self.batch_size, self.rows).batch(len(self.rows), batch_fn=self._batch)
            self._iterator = iter(batches.to_iter_dataset(options))
            self._iterator.set_state({"next_index": self._next})
        self._next += 1
        return next(self._iterator)

    def __getitem__(self, number: int) -> Batch:
        """The whole batch of a number, 0 and up."""
        return self._batches[number]

    def restore(self, state: dict[str, Any]) -> None:
        """See `Stream.restore`; whatever the number of hosts was."""
        super().restore(state)
        self._iterator = None


class _RowsOfBatches(grain.MapDataset):
    """Certain rows of every batch that would be cut from a sequence, one after the other; no other row is read."""

    def __init__(self, sequence: grain.MapDataset, batch_size: int, rows: np.ndarray):
        super().__init__(sequence)
        self._batch_size, self._rows = batch_size, rows

    def __len__(self) -> int:
        return len(self._parent) // self._batch_size * len(self._rows)

    def __getitem__(self, number: int) -> Example:
        batch, row = divmod(number, len(self._rows))
        return self._parent[batch * self._batch_size + int(self._rows[row])]


def _rounded(length: int) -> int:
    return -(-length // 16) * 16
