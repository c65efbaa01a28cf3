"""Vision transformer (Dosovitskiy et al., 2021): patches of the image as a sequence, attention, and a linear head.

The projections are matrices on crossbars. The scores of the attention are products of two activations and stay digital.
"""

import torch
from torch import Tensor, nn

from hw_models.errors import InfeasibleDesign
from hw_models.number_format import check_whole
from pipeline.networks.families.checks import check_image


def build(
    input: tuple[int, ...],
    classes: int,
    *,
    patch: int = 4,
    width: int = 64,
    depth: int = 4,
    heads: int = 4,
    mlp_ratio: int = 2,
    class_token: bool = False,
) -> nn.Module:
    """A vision transformer with normalisation before each part. Long because the parameters take half of it.

    Layers are named `patches`, `blocks.0.qkv`, `blocks.0.project`, `blocks.0.widen`, `blocks.0.narrow`, ..., `fc`.

    Args:
        input: Channels, height and width of an image.
        classes: Outputs.
        patch: Side of the square patches in pixels, 1 to 64; it divides height and width.
        width: Length of the vector of each patch, 1 to 2048; a multiple of `heads`.
        depth: Blocks of attention and two fully connected layers, 1 to 24.
        heads: Of the attention, 1 to 32.
        mlp_ratio: Units between the two fully connected layers over `width`, 1 to 8.
        class_token: A vector of its own gathers what the head sees; else the head sees the mean over all patches.

    Raises:
        InfeasibleDesign: If `patch` does not divide the image, or `heads` the width.
        ValueError: If a value is out of its range.
    """
    check_image("vit", input)
    check_whole("patch", patch, 1, 64)
    check_whole("width", width, 1, 2048)
    check_whole("depth", depth, 1, 24)
    check_whole("heads", heads, 1, 32)
    check_whole("mlp_ratio", mlp_ratio, 1, 8)
    if input[1] % patch or input[2] % patch:
        raise InfeasibleDesign(f"patches of {patch} x {patch} do not divide an image of {input[1]} x {input[2]} pixels")
    if width % heads:
        raise InfeasibleDesign(f"width must be a multiple of the {heads} heads, got {width}")
    count = (input[1] // patch) * (input[2] // patch)
    blocks = [_Block(width, heads, width * mlp_ratio) for _ in range(depth)]
    return _ViT(nn.Conv2d(input[0], width, patch, patch), count, blocks, class_token, nn.Linear(width, classes))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, units: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, units), nn.Linear(units, width)
        self.activation = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.project(self._attention(self.qkv(self.norm1(x))))
        out: Tensor = x + self.narrow(self.activation(self.widen(self.norm2(x))))
        return out

    def _attention(self, qkv: Tensor) -> Tensor:
        """(images, patches, 3 * width) -> (images, patches, width)."""
        images, patches, width = qkv.shape
        split = qkv.reshape(images, patches, 3, self.heads, width // 3 // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        mixed: Tensor = scores.softmax(-1) @ value
        return mixed.transpose(1, 2).reshape(images, patches, width // 3)


class _ViT(nn.Module):
    def __init__(self, patches: nn.Conv2d, count: int, blocks: list[_Block], class_token: bool, fc: nn.Linear) -> None:
        super().__init__()
        width = patches.out_channels
        self.patches, self.blocks, self.fc = patches, nn.ModuleList(blocks), fc
        self.token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.places = nn.Parameter(torch.empty(1, count + class_token, width))
        nn.init.trunc_normal_(self.places, std=0.02)  # as in the paper's code
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.token is not None:
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        x = x + self.places
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        scores: Tensor = self.fc(x.mean(1) if self.token is None else x[:, 0])
        return scores
