"""Every exception that pysplitcodec raises on purpose.

SplitCodecError
|- ArgumentError (ValueError)      an argument of the wrong type, value or combination
|  |- FeatureError                 an array of the wrong dtype, shape or byte order
|  |- CodebookError                centroids that are no codebook, or data that give none
|  `- CoderModelError              a coder's model that is missing, damaged, or of other features
|- FrameError (ValueError)         bytes that cannot be decoded
|  |- NotAFrameError               they do not start like a frame
|  |- FrameVersionError            a version this library does not read
|  |- TruncatedFrameError          shorter or longer than they say
|  |- ChecksumError                damaged on the way
|  |- CodecMismatchError           made with another codebook, shape, dtype ...
|  |- CorruptFrameError            checksum right, content impossible
|  `- FrameLimitError              more elements than the caller allows
|- CoderUnavailableError           this build lacks the coder
|- ModelError (ValueError)         a model file that cannot be read or run
|  |- SplitError                   a model that cannot be cut there
|  `- CheckpointError              a state of training that is of something else, or damaged
|- TrainingError                   training that cannot go on: its loss is no number
|- ServerError                     the tail server refused, failed or is not there
|- ProtocolError (ValueError)      a request or answer that breaks the Open Inference Protocol
|- FirmwareError                  firmware that cannot be built, fails, or does not answer
`- MissingDependencyError (ImportError)   an extra or a tool that is not installed
"""

from __future__ import annotations


class SplitCodecError(Exception):
    """Base of all errors of this package."""


class ArgumentError(SplitCodecError, ValueError):
    """An argument has the wrong type, value or combination."""


class FeatureError(ArgumentError):
    """An array has the wrong dtype, shape or byte order."""


class CodebookError(ArgumentError):
    """Centroids are no codebook, or the data do not give one."""


class CoderModelError(ArgumentError):
    """What a coder learned is missing, damaged, or of other bits or channels."""


class FrameError(SplitCodecError, ValueError):
    """Bytes cannot be decoded."""


class NotAFrameError(FrameError):
    """The bytes do not start like a frame."""


class FrameVersionError(FrameError):
    """The frame has a version that this library does not read."""


class TruncatedFrameError(FrameError):
    """The frame is shorter, or longer, than it says."""


class ChecksumError(FrameError):
    """The CRC-32C differs: the frame was damaged on the way."""


class CodecMismatchError(FrameError):
    """The frame was made with another codebook, shape, dtype, channel axis, slice or model."""


class CorruptFrameError(FrameError):
    """The checksum is right but the content is impossible."""


class FrameLimitError(FrameError):
    """The frame claims more elements than the caller allows."""


class CoderUnavailableError(SplitCodecError):
    """This build of the core does not have the coder."""


class ModelError(SplitCodecError, ValueError):
    """A model file cannot be read, or cannot be run on the given input."""


class SplitError(ModelError):
    """A model cannot be cut where asked."""


class CheckpointError(ModelError):
    """A state of training is damaged, or was made of something else."""


class TrainingError(SplitCodecError):
    """Training cannot go on: the loss is no finite number."""


class ServerError(SplitCodecError):
    """The tail server refused, failed, or is not there.

    status: HTTP's, None if there is no answer.  retry_after_s: when to ask again, if it says so.
    """

    def __init__(
        self, message: str, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class ProtocolError(SplitCodecError, ValueError):
    """A message is not what the protocol says, or asks for what there is not."""


class FirmwareError(SplitCodecError):
    """Firmware cannot be built, answers with an error, or not at all.

    code: that of its error packet, docs/firmware.md, or None.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class MissingDependencyError(SplitCodecError, ImportError):
    """A package that an extra installs, or a tool, is not there."""


# The status numbers of csrc/include/splitcodec.h, which both bindings report.
_OF_STATUS: dict[int, type[SplitCodecError]] = {
    1: ArgumentError,
    2: CodebookError,
    5: CoderUnavailableError,
    6: FrameLimitError,
    7: NotAFrameError,
    8: FrameVersionError,
    9: TruncatedFrameError,
    10: ChecksumError,
    11: CodecMismatchError,
    12: CorruptFrameError,
    13: CoderModelError,
}


def from_status(status: int, text: str) -> SplitCodecError:
    """Return the exception for a status of the C core, with the core's sentence as message."""
    return _OF_STATUS.get(status, SplitCodecError)(text)
