"""Masks against the keystream of AES-256, on one core and on several, and the packed result.

    python benchmarks/secagg_masks.py [--workers N] [--repeats N] [--json FILE]

Everything is measured in turn in the same run, and each figure is the best of its repeats, so that the ratios
mean something on a machine that others use too.  The keystream alone is AES-256 in counter mode written into
one buffer again and again, at the block size that suits it best: by OpenSSL's CTR, and by its GCM, of which
masks are made.  Bytes are those of the vector in memory, 4 a word.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from keystream import ctr, gcm

from fedpriv.crypto import MaskWorkers, add_masks, digest
from fedpriv.encoding.packing import pack, unpack

WORDS = (10_000, 100_000, 1_000_000, 10_000_000)
SOME_BYTES = 128 * 1024 * 1024
BLOCKS = (128 * 1024, 256 * 1024, 512 * 1024)
PACKED_BITS = (16, 20, 22, 26, 32, 40)
PACKED_VALUES = 2**18


def in_turn(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The best wall time of each, one after the other, again and again."""
    best = {name: float("inf") for name in works}
    for repeat in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if repeat:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def keystream(step: Callable[[], None], times: int) -> None:
    """Expand block after block into one buffer."""
    for _ in range(times):
        step()


def keystreams(count: int, size: int, block: int) -> None:
    """As many threads, each of which expands its part."""
    threads = [
        threading.Thread(target=keystream, args=(gcm(block), size // count // block)) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def keys(count: int) -> list[tuple[bytes, bool]]:
    return [(digest("benchmark", number.to_bytes(4, "big")), number % 2 == 1) for number in range(count)]


def one_core(repeats: int) -> list[dict[str, float]]:
    """Rates and ratios of one mask and of many, by size."""
    rows = []
    for words in WORDS:
        vector = np.zeros(words, dtype="<u4")
        count = max(16, min(200, SOME_BYTES // vector.nbytes))
        many = keys(count)
        single = max(1, SOME_BYTES // 8 // vector.nbytes)

        def alone(vector: np.ndarray = vector, many: list = many, single: int = single) -> None:
            for number in range(single):
                add_masks(vector, [many[number % len(many)]])

        works: dict[str, Callable[[], object]] = {
            f"{name} {block}": partial(keystream, make(block), SOME_BYTES // 2 // block)
            for name, make in (("ctr", ctr), ("gcm", gcm))
            for block in BLOCKS
        }
        works["one"] = alone
        works["many"] = lambda vector=vector, many=many: add_masks(vector, many)
        best = in_turn(works, repeats)
        raw, fast = (
            SOME_BYTES // 2 / min(best[f"{name} {block}"] for block in BLOCKS) for name in ("ctr", "gcm")
        )
        one, together = single * vector.nbytes / best["one"], count * vector.nbytes / best["many"]
        rows.append(
            {
                "words": words,
                "masks": count,
                "keystream_bytes_per_s": raw,
                "gcm_bytes_per_s": fast,
                "one_mask_bytes_per_s": one,
                "many_masks_bytes_per_s": together,
                "one_mask_share_of_keystream": one / raw,
                "many_masks_share_of_keystream": together / raw,
                "many_masks_share_of_gcm": together / fast,
            }
        )
    return rows


def several_cores(most: int, repeats: int) -> list[dict[str, float]]:
    """How masks, and the keystream alone, go faster on several cores."""
    rows = []
    for words in WORDS[2:]:
        vector = np.zeros(words, dtype="<u4")
        masks = keys(max(16, 2 * SOME_BYTES // vector.nbytes))
        size = len(masks) * vector.nbytes
        crews = {count: MaskWorkers(count) for count in range(1, most + 1)}
        works: dict[str, Callable[[], object]] = {}
        for count, crew in crews.items():
            works[f"masks {count}"] = lambda crew=crew, v=vector, m=masks: crew.add_masks(v, m)
            works[f"raw {count}"] = lambda count=count, size=size: keystreams(count, size, 512 * 1024)
        best = in_turn(works, repeats)
        for count, crew in crews.items():
            start = time.process_time()
            crew.add_masks(vector, masks)
            processor = time.process_time() - start
            crew.close()
            rows.append(
                {
                    "words": words,
                    "masks": len(masks),
                    "workers": count,
                    "seconds": best[f"masks {count}"],
                    "processor_seconds": processor,
                    "speedup": best["masks 1"] / best[f"masks {count}"],
                    "keystream_speedup": best["raw 1"] / best[f"raw {count}"],
                }
            )
    return rows


def packing(repeats: int) -> list[dict[str, float]]:
    """Packed bytes a second, by bits, for parts of 2**18 values in the narrowest word."""
    rows = []
    for bits in PACKED_BITS:
        word = np.uint16 if bits <= 16 else np.uint32 if bits <= 32 else np.uint64
        values = np.random.default_rng(bits).integers(0, 2**bits, PACKED_VALUES, dtype=word)
        packed = pack(values, bits)
        best = in_turn(
            {
                "pack": lambda values=values, bits=bits: pack(values, bits),
                "unpack": lambda packed=packed, bits=bits, word=word: unpack(
                    packed, bits, PACKED_VALUES, dtype=word
                ),
            },
            20 * repeats,
        )
        rows.append({"bits": bits, **{f"{name}_bytes_per_s": len(packed) / t for name, t in best.items()}})
    return rows


def table(rows: list[dict[str, float]], columns: dict[str, tuple[str, float, str]]) -> None:
    """Print rows under headings; a column has the key of its figure, its unit and its format."""
    print("  ".join(f"{heading:>14}" for heading in columns))
    for row in rows:
        print("  ".join(f"{row[key] / unit:>14{form}}" for key, unit, form in columns.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Masks against the keystream that they are made of.")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="the most worker threads")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()

    alone, shared = one_core(options.repeats), several_cores(options.workers, options.repeats)
    packed = packing(options.repeats)
    print("One core; many masks against the keystream alone")
    table(
        alone,
        {
            "words": ("words", 1, ".0f"),
            "masks": ("masks", 1, ".0f"),
            "CTR GB/s": ("keystream_bytes_per_s", 1e9, ".2f"),
            "GCM GB/s": ("gcm_bytes_per_s", 1e9, ".2f"),
            "one mask GB/s": ("one_mask_bytes_per_s", 1e9, ".2f"),
            "of CTR": ("one_mask_share_of_keystream", 1, ".2f"),
            "many GB/s": ("many_masks_bytes_per_s", 1e9, ".2f"),
            "of  CTR": ("many_masks_share_of_keystream", 1, ".2f"),
            "of GCM": ("many_masks_share_of_gcm", 1, ".2f"),
        },
    )
    print("\nWorkers; beside their speed-up, that of the keystream alone on as many cores")
    table(
        shared,
        {
            "words": ("words", 1, ".0f"),
            "masks": ("masks", 1, ".0f"),
            "workers": ("workers", 1, ".0f"),
            "ms": ("seconds", 1e-3, ".1f"),
            "cpu ms": ("processor_seconds", 1e-3, ".1f"),
            "speed-up": ("speedup", 1, ".2f"),
            "keystream": ("keystream_speedup", 1, ".2f"),
        },
    )
    print(f"\nPacking in parts of {PACKED_VALUES} values; packed bytes")
    table(
        packed,
        {
            "bits": ("bits", 1, ".0f"),
            "pack GB/s": ("pack_bytes_per_s", 1e9, ".2f"),
            "unpack GB/s": ("unpack_bytes_per_s", 1e9, ".2f"),
        },
    )
    if options.json is not None:
        result = {
            "benchmark": "secagg_masks",
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in ("cryptography", "numpy")},
            "one_core": alone,
            "workers": shared,
            "packing": packed,
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
