"""The autoencoder that TCL puts into the cut: 16 times fewer elements."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from pysplitcodec.errors import ArgumentError

Last = Literal["silu", "none"]


def autoencoder(
    shape: tuple[int, ...], *, reduction: int = 4, stride: int = 2, last: Last = "silu"
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder for a feature [c, h, w] of any size (TCL, section III-B).

    The encoder is a 1x1 convolution to ceil(c / reduction) channels and one that halves (stride 2)
    height and width, rounding up; the decoder mirrors it by transposed convolutions and restores h
    and w exactly.  Each is followed by batch normalisation and SiLU.

    last: what follows the encoder's last normalisation, "silu" as published, whose values gather
    just below 0, or "none".  Raises ArgumentError.
    """
    if len(shape) != 3:
        raise ArgumentError(f"the feature has shape {shape}: an autoencoder needs [c, h, w]")
    for name, value in (("reduction", reduction), ("stride", stride)):
        if not isinstance(value, int) or value < 1:
            raise ArgumentError(f"{name} is {value!r}: expected a positive integer")
    if last not in ("silu", "none"):
        raise ArgumentError(f"last is {last!r}: expected 'silu' or 'none'")
    channels, *sides = shape
    narrow = -(-channels // reduction)
    # what a transposed convolution of kernel 3 and padding 1 lacks of the size before
    lacking = tuple((side - 1) % stride for side in sides)
    encoder = nn.Sequential(
        *_layer(nn.Conv2d(channels, narrow, 1, bias=False)),
        *_layer(nn.Conv2d(narrow, narrow, 3, stride, 1, bias=False)),
    )
    if last == "none":
        encoder = encoder[:-1]
    decoder = nn.Sequential(
        *_layer(nn.ConvTranspose2d(narrow, narrow, 3, stride, 1, lacking, bias=False)),
        *_layer(nn.ConvTranspose2d(narrow, channels, 1, bias=False)),
    )
    return encoder, decoder


def _layer(convolution: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
    return convolution, nn.BatchNorm2d(convolution.out_channels), nn.SiLU()


def folded(encoder: nn.Module) -> nn.Module:
    """A copy of a sequence of layers in eval() mode, with batch norm in the convolutions (T2)."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    if not isinstance(encoder, nn.Sequential):
        return encoder
    layers: list[nn.Module] = []
    for layer in encoder.eval():
        if isinstance(layer, nn.BatchNorm2d) and layers and type(layers[-1]) is nn.Conv2d:
            layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


class SplitModel(nn.Module):
    """head and encoder, on the device; decoder and tail, on the server."""

    def __init__(
        self, head: nn.Module, encoder: nn.Module, decoder: nn.Module, tail: nn.Module
    ) -> None:
        super().__init__()
        self.head, self.encoder, self.decoder, self.tail = head, encoder, decoder, tail

    @property
    def device(self) -> nn.Module:
        """What runs on the device, and gives the feature."""
        return nn.Sequential(self.head, self.encoder)

    @property
    def server(self) -> nn.Module:
        """What runs on the server, and takes the feature."""
        return nn.Sequential(self.decoder, self.tail)

    def feature(self, images: Tensor) -> Tensor:
        """What crosses the link: [n, c, h, w] in float32."""
        return self.encoder(self.head(images)).float()

    def answer(self, feature: Tensor) -> object:
        """The model's outputs."""
        return self.tail(self.decoder(feature))
