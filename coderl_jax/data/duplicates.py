"""Leave out documents that a corpus already holds: the same words, or nearly the same (Lee et al. 2022, arXiv 2107.06499)."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator

from coderl_jax.data.corpus import Document
from coderl_jax.data.ngrams import ngrams

SHINGLE = 5
"""Words of a shingle: documents are compared as sets of them."""
PERMUTATIONS = 128
"""Hash functions of a MinHash; the similarity it estimates has a standard error below 1 / sqrt(128)."""


def without_duplicates(documents: Iterable[Document], threshold: float, reasons: Counter[str]) -> Iterator[Document]:
    """Of documents that are alike only the first; the others are counted into `reasons`.

    Alike are documents with the same words, and those whose sets of shingles have an estimated Jaccard similarity of about `threshold` or
    more (locality-sensitive hashing, so one near it may fall on either side).

    Args:
      documents: streamed; a digest and a MinHash of each are kept, about 2 KB.
      threshold: in (0, 1]; 0: only the same words count.
      reasons: why -> how many.
    """
    from datasketch import MinHash, MinHashLSH

    seen: set[bytes] = set()
    index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS) if threshold else None
    for document in documents:
        numbers = document.words
        digest = hashlib.blake2b(numbers.tobytes(), digest_size=16).digest()
        if digest in seen:
            reasons["duplicate"] += 1
            continue
        seen.add(digest)
        shingles = ngrams(numbers, SHINGLE)
        if index is not None and len(shingles):
            sketch = MinHash(num_perm=PERMUTATIONS, hashfunc=int)  # numbers already: nothing is hashed again
            sketch.update_batch((shingles & 0xFFFFFFFF).tolist())
            if index.query(sketch):
                reasons["near duplicate"] += 1
                continue
            index.insert(str(len(seen)), sketch, check_duplication=False)
        yield document
