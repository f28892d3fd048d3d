"""Who competes, literally."""


def excluded(row, catalogue) -> set[int]:
    """Items of a row's history that are no candidates: those of domains where nobody comes back."""
    return {
        item
        for item in map(int, row["items"])
        if item and not catalogue.repeats[catalogue.item_domains[item - 1]]
    }
