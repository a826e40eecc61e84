"""A small component with weights, which a site keeps in a file."""

from __future__ import annotations

from claimed_med.component import component
from claimed_med.handles import Report, Table


@component(version="1.0.0", weights="site_weights:digest")
def weigh_rows(table: Table, *, scale: float = 1.0) -> Report:
    """Multiply the number of rows by a weight.

    Args:
        table: Any table.
        scale: Multiplies too.

    Returns:
        weighed: The product.
    """
    import site_weights

    return Report({"product": len(table.load()) * site_weights.weight() * scale})
