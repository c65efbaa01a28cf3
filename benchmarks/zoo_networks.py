"""Networks of the zoo that no library brings: small ones of the forms that users write themselves."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeywordSpotting(nn.Module):
    """Words from 40 mel bands over time: an LSTM, and a linear layer on its last output."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 64, batch_first=True)
        self.head = nn.Linear(64, 12)

    def forward(self, frames: Tensor) -> Tensor:
        outputs, _ = self.lstm(frames)
        scores: Tensor = self.head(outputs[:, -1])
        return scores


class Recurrent(nn.Module):
    """A recurrent encoder (sequence first) of any kind, and a linear layer on the mean over time."""

    def __init__(self, encoder: nn.RNNBase) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.hidden_size * (1 + encoder.bidirectional), 5)

    def forward(self, sequence: Tensor) -> Tensor:
        outputs, _ = self.encoder(sequence)
        scores: Tensor = self.head(outputs.mean(0))
        return scores


class AddmmLinear(nn.Module):
    """A linear layer as GPT-2 has it: the weight is (inputs, outputs), and the product is `addmm`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * 0.02 * 4)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], -1)


class DecoderBlock(nn.Module):
    """One pre-norm block of a GPT: causal attention and a hidden layer, both with a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = AddmmLinear(width, 3 * width), AddmmLinear(width, width)
        self.expand, self.reduce = AddmmLinear(width, 4 * width), AddmmLinear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(self.norm1(x)).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        weights = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        y = weights.masked_fill(future, float("-inf")).softmax(-1) @ value
        x = x + self.project(y.transpose(1, 2).flatten(2))
        return x + self.reduce(F.gelu(self.expand(self.norm2(x))))


class Decoder(nn.Module):
    """A small GPT: token and place embeddings, two blocks, a head that is the token table itself."""

    def __init__(self, vocabulary: int = 65, width: int = 64, heads: int = 4, length: int = 32) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList([DecoderBlock(width, heads) for _ in range(2)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        scores: Tensor = self.head(self.norm(x))
        return scores


class Siamese(nn.Module):
    """How alike two images are: both go through one tower."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 32)),
        )
        self.head = nn.Linear(32, 1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        score: Tensor = self.head((self.tower(left) - self.tower(right)).abs())
        return score


class UNet(nn.Module):
    """Two levels down, two up by transposed convolutions, with skips."""

    def __init__(self, width: int = 8, classes: int = 3) -> None:
        super().__init__()
        sides = [3, width, 2 * width, 4 * width]
        self.down = nn.ModuleList([self._double(a, b) for a, b in itertools.pairwise(sides)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in itertools.pairwise(sides[1:])])
        self.join = nn.ModuleList([self._double(2 * a, a) for a in sides[1:-1]])
        self.head = nn.Conv2d(width, classes, 1)

    @staticmethod
    def _double(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            *(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()),
            *(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = self.join[level](torch.cat([self.up[level](x), skips[level]], 1))
        masks: Tensor = self.head(x)
        return masks


class TextEncoder(nn.Module):
    """torch's own Transformer encoder on words, and a linear layer on the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(100, 48)
        block = nn.TransformerEncoderLayer(48, 4, 96, batch_first=True)
        self.encoder = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.head = nn.Linear(48, 4)

    def forward(self, words: Tensor) -> Tensor:
        scores: Tensor = self.head(self.encoder(self.words(words)).mean(1))
        return scores


class Translator(nn.Module):
    """torch's own Transformer: an encoder, and a decoder that attends to it."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 32)
        self.transformer = nn.Transformer(32, 4, 1, 1, 64, batch_first=True)
        self.head = nn.Linear(32, 50)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1], device=target.device)
        scores: Tensor = self.head(self.transformer(self.words(source), self.words(target), tgt_mask=mask))
        return scores


class AudioNet(nn.Module):
    """Raw audio: 1-D convolutions, depthwise and pointwise in turn, some dilated."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, width, 16, stride=4)
        blocks: list[nn.Module] = []
        for dilation in (1, 2, 4):
            blocks += [nn.Conv1d(width, width, 9, padding=4 * dilation, dilation=dilation, groups=width, bias=False)]
            blocks += [nn.BatchNorm1d(width), nn.Conv1d(width, width, 1), nn.ReLU(), nn.AvgPool1d(2)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width, 10)

    def forward(self, audio: Tensor) -> Tensor:
        scores: Tensor = self.head(self.blocks(F.relu(self.stem(audio))).mean(-1))
        return scores


class Generator(nn.Module):
    """A picture from a code, by transposed convolutions (DCGAN)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.ConvTranspose2d(32, 32, 4, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.ConvTranspose2d(32, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.ConvTranspose2d(16, 1, 4, 2, 1, bias=False), nn.Tanh()),
        )

    def forward(self, code: Tensor) -> Tensor:
        picture: Tensor = self.layers(code[:, :, None, None])
        return picture


class Autoencoder(nn.Module):
    """A hidden layer and back with the same matrix, transposed: tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(64, 16)
        self.bias = nn.Parameter(torch.zeros(64))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.relu(self.encode(x)), self.encode.weight.t(), self.bias)


class PointNet(nn.Module):
    """Point clouds: 1 x 1 convolutions over points, a maximum, and a learnt 3 x 3 transformation of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.align = nn.Sequential(nn.Conv1d(3, 32, 1), nn.ReLU())
        self.matrix = nn.Linear(32, 9)
        self.features = nn.Sequential(nn.Conv1d(3, 32, 1), nn.ReLU(), nn.Conv1d(32, 64, 1), nn.ReLU())
        self.head = nn.Linear(64, 10)

    def forward(self, points: Tensor) -> Tensor:
        turn = self.matrix(self.align(points).amax(-1)).view(-1, 3, 3)
        turn = turn + torch.eye(3, device=points.device)
        scores: Tensor = self.head(self.features(torch.bmm(turn, points)).amax(-1))
        return scores


class GraphNet(nn.Module):
    """Two graph convolutions: the graph is an input, so its product with the features is digital."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, nodes: Tensor, graph: Tensor) -> Tensor:
        hidden = torch.relu(graph @ self.first(nodes))
        scores: Tensor = self.second(graph @ hidden)
        return scores
