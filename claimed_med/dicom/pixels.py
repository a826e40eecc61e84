"""Read stored values into one array, and turn them into real units. Native pixels are read straight into place."""

from __future__ import annotations

import mmap
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder

from claimed_med.dicom.codestream import coded_size
from claimed_med.dicom.finding import Finding
from claimed_med.dicom.header import NATIVE, UNDEFINED, Instance, whole
from claimed_med.errors import InputError
from claimed_med.workers import die_with_parent, n_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from claimed_med.dicom.grouping import Frame

Array = npt.NDArray[np.generic]
_TYPES = {(8, 0): "u1", (8, 1): "i1", (16, 0): "u2", (16, 1): "i2", (32, 0): "u4", (32, 1): "i4"}
_FLOATS = {0x7FE00008: "f4", 0x7FE00009: "f8"}
# Least processor time a frame, measured on CT: pyjpegls 5 ms (gdcm 8) for JPEG-LS, openjpeg 27 ms (gdcm 37, on two
# threads of its own) for JPEG 2000. Frames are spread over processes, so time on one core is what counts.
FASTEST = {
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
}
_INT16 = np.iinfo(np.int16)
_FEW = 8


def stored_type(instance: Instance) -> np.dtype[np.generic]:
    """The type of the stored values of one object.

    Raises:
        InputError: A pixel format that no image has.
    """
    if instance.pixel_tag in _FLOATS:
        return np.dtype("<" + _FLOATS[instance.pixel_tag])
    header = instance.dataset
    bits, signed = whole(header, "BitsAllocated", 16), whole(header, "PixelRepresentation", 0)
    if (bits, signed) not in _TYPES:
        raise InputError("dicom", "the pixel format cannot be read", got=f"{bits} bits allocated", allowed="8, 16, 32")
    return np.dtype("<" + _TYPES[bits, signed])


def truncated(instance: Instance) -> bool:
    """Whether native pixel data are shorter than the header promises."""
    if instance.path is None or instance.syntax == "1.2.840.10008.1.2.1.99":
        return False
    if not instance.pixel_tag:
        return True
    if instance.pixel_length == UNDEFINED or instance.syntax.is_compressed:
        return instance.pixel_offset + 8 >= instance.file_size
    return instance.pixel_offset + expected_bytes(instance) > instance.file_size


def expected_bytes(instance: Instance) -> int:
    """Bytes that native pixel data of this header have."""
    header = instance.dataset
    per_frame = whole(header, "Rows") * whole(header, "Columns") * whole(header, "SamplesPerPixel", 1)
    bits = {0x7FE00008: 32, 0x7FE00009: 64}.get(instance.pixel_tag, whole(header, "BitsAllocated", 16))
    return (per_frame * instance.n_frames * bits + 7) // 8


def read_stored(frames: Sequence[Frame]) -> Array:
    """Stored values of all slices: shape (slice, row, column), in the order of `frames`.

    Raises:
        InputError: Pixel formats differ within a volume, or pixel data are damaged.
    """
    first = frames[0].instance
    dtype = np.result_type(*{stored_type(instance) for instance in _instances(frames)})
    shape = (len(frames), whole(first.dataset, "Rows"), whole(first.dataset, "Columns"))
    native = all(_direct(instance, dtype) for instance in _instances(frames))
    if native:
        volume = np.empty(shape, dtype)
        _read_native(volume, frames)
    else:
        volume = _decode(shape, dtype, frames)
    _clean_bits(volume, first)
    return volume


def real_values(stored: Array, frames: Sequence[Frame], *, lookup: bool = False) -> Array:
    """Stored values in real units: int16 when every value is a whole number that fits, else float32.

    Args:
        stored: Shape (slice, row, column); used as the result's memory where possible.
        frames: The slices, for slope and intercept of each.
        lookup: Whether a modality lookup table is applied instead.
    """
    if lookup:
        from pydicom.pixels import apply_modality_lut

        values = np.stack(
            [apply_modality_lut(one, frame.instance.dataset) for one, frame in zip(stored, frames, strict=True)]
        )
        return _smallest(values)
    slopes = np.asarray([frame.slope for frame in frames])
    intercepts = np.asarray([frame.intercept for frame in frames])
    whole_numbers = (
        stored.dtype.kind in "iu" and (slopes == np.round(slopes)).all() and (intercepts == np.round(intercepts)).all()
    )
    if whole_numbers and (slopes == slopes[0]).all() and (intercepts == intercepts[0]).all():
        exact = _shifted(stored, int(slopes[0]), int(intercepts[0]), frames[0].instance)
        if exact is not None:
            return exact
    result = np.empty(stored.shape, np.float32)
    for index, (slope, intercept) in enumerate(zip(slopes, intercepts, strict=True)):
        result[index] = stored[index].astype(np.float64) * slope + intercept
    return result


def _smallest(values: Array) -> Array:
    if values.dtype.kind in "iu" and values.min() >= _INT16.min and values.max() <= _INT16.max:
        return values.astype(np.int16)
    return values.astype(np.float32)


def _shifted(stored: Array, slope: int, intercept: int, instance: Instance) -> Array | None:
    """Slope and intercept in int16 without a copy of the array, or None when a value would not fit."""
    low, high = _stored_range(stored, instance)
    ends = sorted((low * slope + intercept, high * slope + intercept))
    if ends[0] < _INT16.min or ends[1] > _INT16.max:
        low, high = int(stored.min()), int(stored.max())
        ends = sorted((low * slope + intercept, high * slope + intercept))
        if ends[0] < _INT16.min or ends[1] > _INT16.max:
            return None
    result = stored.view(np.int16) if stored.dtype.itemsize == 2 else stored.astype(np.int16)
    if slope != 1:
        result *= np.array(slope).astype(np.int16)
    if intercept:
        result += np.array(intercept).astype(np.int16)  # wraps, and the sum wraps back: both ends were checked
    return result


def _stored_range(stored: Array, instance: Instance) -> tuple[int, int]:
    bits = whole(instance.dataset, "BitsStored", stored.dtype.itemsize * 8)
    if stored.dtype.kind == "i":
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1


def _instances(frames: Sequence[Frame]) -> list[Instance]:
    return list({id(frame.instance): frame.instance for frame in frames}.values())


def _direct(instance: Instance, dtype: np.dtype[np.generic]) -> bool:
    return (
        instance.path is not None
        and instance.syntax in NATIVE
        and instance.pixel_length != UNDEFINED
        and whole(instance.dataset, "SamplesPerPixel", 1) == 1
        and stored_type(instance) == dtype
    )


def _read_native(volume: Array, frames: Sequence[Frame]) -> None:
    """Read every slice straight into its place; reading releases the interpreter lock."""
    size = volume[0].nbytes

    def fill(span: range) -> None:
        for index in span:
            frame = frames[index]
            handle = os.open(frame.instance.path or "", os.O_RDONLY)
            try:
                target = memoryview(volume[index]).cast("B")
                if os.preadv(handle, [target], frame.instance.pixel_offset + frame.index * size) != size:
                    raise _damaged(frame)
            finally:
                os.close(handle)

    _spread(fill, len(frames))


def _spread(fill: Callable[[range], None], count: int) -> None:
    workers = min(n_cores(), 4)
    if workers < 2 or count < _FEW:
        fill(range(count))
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(fill, [range(start, count, workers) for start in range(workers)]))


def _decode(shape: tuple[int, ...], dtype: np.dtype[np.generic], frames: Sequence[Frame]) -> Array:
    """Decode on all cores: forked children write into shared memory; decoders hold the interpreter lock."""
    workers = min(n_cores(), len(frames))
    if workers < 2 or len(frames) < _FEW or sys.platform != "linux":
        volume: Array = np.empty(shape, dtype)
        _decode_span(volume, frames, range(len(frames)))
        return volume
    _load_decoders(frames)
    memory = mmap.mmap(-1, int(np.prod(shape)) * dtype.itemsize)
    shared = np.frombuffer(memory, dtype).reshape(shape)
    children = [_fork(shared, frames, range(start, len(frames), workers)) for start in range(1, workers)]
    try:
        _decode_span(shared, frames, range(0, len(frames), workers))
    finally:
        failed = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(failed):
        for start in range(1, workers):  # in this process, so that the error has its finding
            _decode_span(shared, frames, range(start, len(frames), workers))
    return shared


def _fork(shared: Array, frames: Sequence[Frame], span: range) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads that were joined are no danger
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        die_with_parent()
        _decode_span(shared, frames, span)
        code = 0
    finally:
        os._exit(code)


def _load_decoders(frames: Sequence[Frame]) -> None:
    for syntax in {frame.instance.syntax for frame in frames if frame.instance.syntax.is_compressed}:
        try:
            get_decoder(syntax)
        except NotImplementedError:
            continue


def _decode_span(volume: Array, frames: Sequence[Frame], span: range) -> None:
    held: tuple[Instance | None, Array | None] = (None, None)
    for index in span:
        frame = frames[index]
        if held[0] is not frame.instance:
            held = (frame.instance, _decoded(frame))
        pixels = held[1]
        if pixels is None or pixels.shape[1:] != volume.shape[1:]:
            raise _damaged(frame)
        volume[index] = pixels[frame.index]


def _decoded(frame: Frame) -> Array:
    """All frames of one object: shape (frame, row, column), as stored."""
    instance = frame.instance
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = instance.dataset if instance.path is None else dcmread(instance.path, force=True)
            if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
                dataset.file_meta.TransferSyntaxUID = instance.syntax
            if instance.pixel_tag in _FLOATS:
                return _floats(dataset, instance)
            pixels = _plain(dataset, instance)
    except Exception as error:  # noqa: BLE001 - decoders fail in every way; each becomes a finding
        raise _damaged(frame, type(error).__name__) from None
    return pixels if pixels.ndim == 3 else pixels[None]


def _plain(dataset: Dataset, instance: Instance) -> Array:
    """Decode as stored, by the fastest decoder that is installed, else by any."""
    if not instance.syntax.is_compressed:
        return dataset.pixel_array
    _check_sizes(dataset, instance)
    decoder = get_decoder(instance.syntax)
    fastest = FASTEST.get(instance.syntax, "")
    if fastest in decoder.available_plugins:
        try:
            return decoder.as_array(dataset, raw=True, decoding_plugin=fastest)[0]
        except (RuntimeError, ValueError):
            pass  # another decoder may be more lenient with what this file holds
    return dataset.pixel_array


def _check_sizes(dataset: Dataset, instance: Instance) -> None:
    """Refuse frames that say that they are of another size: a decoder would take memory for what they say."""
    size = whole(instance.dataset, "Rows"), whole(instance.dataset, "Columns")
    for frame in generate_frames(dataset.PixelData, number_of_frames=instance.n_frames):
        if coded_size(frame) not in {None, size}:
            raise ValueError


def _floats(dataset: object, instance: Instance) -> Array:
    header = instance.dataset
    shape = (instance.n_frames, whole(header, "Rows"), whole(header, "Columns"))
    raw: bytes = getattr(dataset, "FloatPixelData", b"") or getattr(dataset, "DoubleFloatPixelData", b"")
    return np.frombuffer(raw, stored_type(instance))[: int(np.prod(shape))].reshape(shape)


def _damaged(frame: Frame, error: str = "") -> InputError:
    told = f" ({error})" if error else ""
    which = f"frame {frame.index + 1}" if frame.instance.n_frames > 1 else "one slice"
    text = f"the pixel data of {which} end too early or are damaged{told}"
    return InputError(
        "dicom",
        "pixel data cannot be decoded",
        do="fetch the series again from its archive",
        findings=[Finding("Truncated", text, {}, fatal=True)],
    )


def _clean_bits(volume: Array, first: Instance) -> None:
    """Drop what old writers left in the unused high bits: overlays, and missing sign bits."""
    if volume.dtype.kind not in "iu" or first.syntax.is_compressed:
        return
    allocated, stored = volume.dtype.itemsize * 8, whole(first.dataset, "BitsStored", volume.dtype.itemsize * 8)
    spare = allocated - stored
    if spare <= 0 or stored <= 0:
        return
    if volume.dtype.kind == "i":
        np.left_shift(volume, spare, out=volume)
        np.right_shift(volume, spare, out=volume)
    elif any(0x60000102 + (group << 16) in first.dataset for group in range(0, 0x20, 2)):
        np.bitwise_and(volume, volume.dtype.type((1 << stored) - 1), out=volume)
