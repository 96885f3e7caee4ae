"""Text to token ids and back, in CodeT5's layout: byte-level BPE behind five special tokens.

Ids 0 to 4 are `<pad>`, `<s>`, `</s>`, `<unk>`, `<mask>`; every byte has an entry, so any text encodes and comes back unchanged.
CodeT5's own tokenizer has 32,000 entries and 100 span sentinels after them; one trained here has as many entries as asked for.
"""

import itertools
import os
import pathlib
import re
from collections.abc import Iterable, Sequence

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from coderl_jax.files import UserError, existing, from_hub, replacing, write_json

# The library's threads and processes that are forked later do not get along.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")
PAD, BOS, EOS = 0, 1, 2

_SENTINELS = [f"<extra_id_{i}>" for i in range(99, -1, -1)]
_FILES = ("tokenizer*.json", "vocab.json", "merges.txt")
_NEWLINE = "\u010a"  # what a byte-level alphabet writes for it
_PROBE = "".join(map(chr, range(256))) + " def f(x) :\n\treturn x , '<s>'  \r\n\u65e5\U0001f600 n't ."


class Tokenizer:
    """A byte-level BPE whose special tokens never come from text: a program that prints `</s>` stays a program."""

    pad = PAD
    bos = BOS
    eos = EOS

    def __init__(self, backend: tokenizers.Tokenizer):
        """Wrap a Hugging Face tokenizer in CodeT5's layout.

        Raises:
          UserError: other special tokens, or an alphabet that changes text.
        """
        ids = [backend.token_to_id(token) for token in SPECIAL_TOKENS]
        if ids != list(range(len(SPECIAL_TOKENS))):
            raise UserError(f"tokenizer: expected {' '.join(SPECIAL_TOKENS)} as ids 0 to 4, got {ids}; use a tokenizer of CodeT5's layout")
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True  # the library's name for: special tokens in text are ordinary text
        self._backend = backend
        bytes_known = all(backend.token_to_id(letter) is not None for letter in pre_tokenizers.ByteLevel.alphabet())
        if not bytes_known or self.decode(self.encode(_PROBE)) != _PROBE:
            raise UserError("tokenizer: expected a byte-level one, which gives text back unchanged, got another; use CodeT5's layout")

    @property
    def size(self) -> int:
        """Number of ids."""
        return self._backend.get_vocab_size()

    @property
    def sentinels(self) -> list[int]:
        """Ids of `<extra_id_0>`, `<extra_id_1>`, ...; empty where it has none."""
        return [i for i in (self._backend.token_to_id(token) for token in reversed(_SENTINELS)) if i is not None]

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without `<s>` and `</s>`. A lone surrogate, which UTF-8 cannot hold, counts as `?`."""
        text = text.encode("utf-8", "replace").decode("utf-8")
        return self._backend.encode(text, add_special_tokens=False).ids

    def starts(self, text: str) -> list[int]:
        """Where in the text each id of `encode` begins, in characters; ids that share a character begin at it."""
        text = text.encode("utf-8", "replace").decode("utf-8")
        # The library's own offsets leave out the space that begins a token. A byte-level token has a letter for each of its bytes.
        character_of_byte = [i for i, character in enumerate(text) for _ in character.encode("utf-8")] + [len(text)]
        lengths = map(len, self._backend.encode(text, add_special_tokens=False).tokens)
        return [character_of_byte[end] for end in itertools.accumulate(lengths, initial=0)][:-1]

    def lines(self, ids: Sequence[int]) -> list[range]:
        """The lines, from 1, that each id's text has a character on; none for special tokens. A line's end belongs to it."""
        found, line = [], 1
        for text in map(self._backend.id_to_token, map(int, ids)):
            if text is None or text in SPECIAL_TOKENS or text in _SENTINELS:
                found.append(range(0))
                continue
            ends = text.count(_NEWLINE)
            found.append(range(line, line + ends + (not text.endswith(_NEWLINE))))
            line += ends
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids up to the first `</s>`, special tokens left out.

        Inverse of `encode`: spaces before punctuation stay. Bytes that are no UTF-8 become U+FFFD; ids beyond the vocabulary,
        which an embedding padded to a round size can emit, are left out.
        """
        ids = [int(i) for i in ids]
        if EOS in ids:
            ids = ids[: ids.index(EOS)]
        return self._backend.decode(ids, skip_special_tokens=True)

    def same_as(self, other: "Tokenizer") -> bool:
        """Whether two tokenizers write every text in the same ids."""
        return self._backend.to_str() == other._backend.to_str()

    def save(self, folder: str | os.PathLike) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json`, which `load_tokenizer` and transformers' AutoTokenizer read."""
        folder = pathlib.Path(folder)
        with replacing(folder / "tokenizer.json") as temporary:
            self._backend.save(str(temporary))
        names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token", "mask_token"), SPECIAL_TOKENS, strict=True))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **names}
        write_json(folder / "tokenizer_config.json", config)


def train_tokenizer(texts: Iterable[str], size: int, sentinels: bool = False) -> Tokenizer:
    """A tokenizer fitted to texts; the same texts give the same tokenizer, in whatever order they come.

    Args:
      texts: what it should write in few tokens, such as statements and solutions.
      size: entries wanted, special tokens included; fewer come out where the texts hold no further pair to merge.
      sentinels: add CodeT5's 100 on top, for masked spans.

    Raises:
      UserError: a size that does not hold the special tokens and the 256 bytes.
    """
    least = len(SPECIAL_TOKENS) + len(pre_tokenizers.ByteLevel.alphabet())
    if size < least:
        raise UserError(f"--tokenizer-size: expected a whole number >= {least} (special tokens and bytes), got {size}; change the flag")
    backend = _assemble(models.BPE(unk_token="<unk>"))
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[_special(token) for token in SPECIAL_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator((text.encode("utf-8", "replace").decode("utf-8") for text in texts), trainer)
    if sentinels:
        backend.add_special_tokens([_special(token) for token in _SENTINELS])
    return Tokenizer(backend)


def load_tokenizer(folder: str | os.PathLike) -> Tokenizer:
    """The tokenizer of a folder: `tokenizer.json`, or CodeT5's `vocab.json` and `merges.txt` (sentinels are added to these).

    A run folder has it in `model/`, a prepared folder in `tokenizer/`. A name OWNER/NAME that is no folder is asked of the hub.

    Raises:
      UserError: neither is there, a file is damaged, or the layout is not CodeT5's.
    """
    folder = (
        from_hub(str(folder), "tokenizer", _FILES)
        if not os.path.exists(folder) and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(folder))
        else folder
    )
    folder = existing(folder, "tokenizer")
    folder = next((folder / inside for inside in ("model", "tokenizer") if (folder / inside).is_dir()), folder)
    whole, vocabulary, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    found = next((path.name for path in (vocabulary, merges) if path.exists()), "neither")
    if not whole.exists() and not (vocabulary.exists() and merges.exists()):
        raise UserError(f"{folder}: tokenizer: expected tokenizer.json, or vocab.json and merges.txt, got {found}; check the folder")
    try:
        if whole.exists():
            backend = tokenizers.Tokenizer.from_file(str(whole))
        else:
            model = models.BPE.from_file(str(vocabulary), str(merges), unk_token="<unk>")
    except Exception as error:  # noqa: BLE001  the library raises bare Exception for every damaged file
        raise UserError(f"{folder}: tokenizer: expected readable files, got {error}; fetch them again") from None
    if not whole.exists():
        backend = _assemble(model)
        backend.add_special_tokens([_special(token) for token in (*SPECIAL_TOKENS, *_SENTINELS)])
    try:
        return Tokenizer(backend)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from None


def _special(token: str) -> tokenizers.AddedToken:
    return tokenizers.AddedToken(token, special=True, normalized=False, lstrip=token == "<mask>")


def _assemble(model: models.BPE) -> tokenizers.Tokenizer:
    """RoBERTa's pipeline around a BPE; the post-processor serves users who load the saved file with transformers."""
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.RobertaProcessing(("</s>", EOS), ("<s>", BOS), True, False)
    return backend
