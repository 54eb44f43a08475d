"""Lines: rates and costs by something that grows."""

import statistics
from collections.abc import Sequence
from typing import Any

from bench.plots.looks import (
    DASHES,
    INK,
    MARKERS,
    OTHERS,
    OURS,
    draw_line,
    finish,
    format_bytes,
    format_rate,
    format_time,
    looks_of,
    measured,
    number_in,
    show_ticks,
)
from bench.results import Results


def draw_sizes(axes: Any, results: Results) -> bool:
    """Rate against record size."""
    peers = measured(results, "throughput")
    looks = looks_of(list(peers), results)
    for peer, rows in peers.items():
        ordered = sorted(rows, key=lambda row: number_in(row.case))
        draw_line(axes, [number_in(row.case) for row in ordered], ordered, peer, looks[peer])
    sizes = sorted({number_in(row.case) for rows in peers.values() for row in rows})
    if sizes:
        axes.set(xscale="log", yscale="log")
        show_ticks(axes.xaxis, sizes, [format_bytes(size) for size in sizes])
        axes.yaxis.set_major_formatter(format_rate)
        finish(axes, "Throughput: one producer, one consumer, one call a record", "record size", "records per second")
    return bool(sizes)


def draw_bulk(axes: Any, results: Results) -> bool:
    """Rate against length of list."""
    peers = measured(results, "bulk", "lists")
    looks = looks_of(list(peers), results)
    for peer, rows in peers.items():
        draw_line(axes, [number_in(row.case) for row in rows], rows, peer, looks[peer])
    alone = results.median("bulk", "one by one", "shmq-memory")
    if alone:
        axes.axhline(alone, color=OURS, ls=":", label="shmq-memory, one by one")
    if peers:
        lengths = sorted({number_in(row.case) for rows in peers.values() for row in rows})
        axes.set(xscale="log", yscale="log")
        show_ticks(axes.xaxis, lengths, [f"{length:,}" for length in lengths])
        axes.yaxis.set_major_formatter(format_rate)
        axes.yaxis.set_minor_formatter(lambda value, _: format_rate(value) if f"{value:e}"[0] in "25" else "")
        finish(axes, "Whole lists of 100 B records in one call", "records in a list", "records per second")
    return bool(peers)


def draw_scaling(axes: Any, results: Results, words: Sequence[str], title: str, x: str) -> bool:
    """Rates by number of processes."""
    names = {
        "producers": "producers, nobody reads",
        "consumers": "consumers, each reads all",
        "groups": "groups, each reads all",
        "members": "members of one group",
    }
    counts: set[int] = set()
    for number, word in enumerate(words):
        for rows in measured(results, "scaling", word).values():
            counts |= {number_in(row.case) for row in rows}
            look = (OURS if not number else OTHERS[0], MARKERS[number], DASHES[number])
            draw_line(axes, [number_in(row.case) for row in rows], rows, names[word], look)
    if counts:
        show_ticks(axes.xaxis, sorted(counts), [str(count) for count in sorted(counts)])
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(format_rate)
        finish(axes, title, x, "records per second, all together")
    return bool(counts)


def draw_producers(axes: Any, results: Results) -> bool:
    """Scaling with producers."""
    return draw_scaling(axes, results, ["producers"], "Scaling with producers, 100 B", "producer processes")


def draw_consumers(axes: Any, results: Results) -> bool:
    """Scaling with consumers."""
    return draw_scaling(
        axes, results, ["consumers"], "Scaling with consumers: one producer, 100 B", "consumer processes"
    )


def draw_groups(axes: Any, results: Results) -> bool:
    """Scaling with groups, and with members of one."""
    title = "Scaling with groups and members: one producer, 4 partitions, 100 B"
    return draw_scaling(axes, results, ["groups", "members"], title, "groups, or members of one group")


def draw_costs(axes: Any, results: Results, suite: str, operations: Sequence[str], title: str, x: str) -> bool:
    """Nanoseconds by something that grows."""
    labels: dict[str, None] = {}
    for number, operation in enumerate(operations):
        for rows in measured(results, suite, f"{operation} ").values():
            names = [row.case.removeprefix(f"{operation} ") for row in rows]
            labels |= dict.fromkeys(names)
            look = ((OURS, *OTHERS)[number], MARKERS[number], DASHES[number % len(DASHES)])
            draw_line(axes, [list(labels).index(name) for name in names], rows, operation, look)
    if labels:
        show_ticks(axes.xaxis, range(len(labels)), list(labels))
        axes.yaxis.set_major_formatter(format_time("ns"))
        finish(axes, title, x, "time")
    return bool(labels)


def draw_partitions(axes: Any, results: Results) -> bool:
    """Cost of a record by number of partitions."""
    title = "Scaling with partitions: cost of a record of 100 B, the same bytes retained in all"
    found = draw_costs(axes, results, "partitions", ["send", "poll"], title, "partitions")
    axes.set_ylim(bottom=0)
    return found


def draw_retained(axes: Any, results: Results) -> bool:
    """Cost of a call by what is retained."""
    title = "Cost of a call, or of a record, by what one partition retains"
    operations = ["offset", "time", "offset+poll", "send", "poll"]
    found = draw_costs(axes, results, "seek", operations, title, "retained (above 1 MB: as many segments as that has)")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(format_time("ns"))
    bare = [row.median for row in results.suite("seek") if row.case == "bare call" and row.median]
    if found and bare:
        axes.axhline(20 * statistics.median(bare), color=INK, ls=":", lw=1.2, label="20 bare C calls")
        names = {
            "offset": "seek()",
            "time": "offsets_for_times()",
            "offset+poll": "seek(), poll() of one",
            "send": "send() at the end",
            "poll": "poll() at the end",
        }
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(
            handles,
            [names.get(label, label) for label in labels],
            frameon=False,
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
        )
    return found
