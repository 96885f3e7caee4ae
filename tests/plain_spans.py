"""Masked spans and next tokens undone."""


def restored(example, sentinels):
    """The tokens of a sequence out of either kind of example."""
    marks = set(sentinels)
    source = example.source[1:-1]
    if not marks.intersection(source):
        return source + example.target[1:]
    spans: dict[int, list[int]] = {}
    for token in example.target[1:-1]:
        if token in marks:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    return [token for mark in source for token in (spans[mark] if mark in marks else [mark])]
