"""Which processor features the name of a function speaks of: ``memcpy_avx2``, ``dot.arch_haswell``, ``sha256_ni_transform``.

A name is a claim, and is held against what the function holds: it explains features it stands for and no others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from workers.verify.isa.levels import LEVELS

_V3 = LEVELS["x86-64-v3"].features
_V4 = LEVELS["x86-64-v4"].features
_CRYPTO = frozenset(["AES", "PCLMULQDQ", "RDRAND", "RDSEED", "ADX", "FSGSBASE", "RDTSCP", "SHA", "XSAVEOPT", "XSAVEC"])
_AVX = frozenset(["AVX", "XSAVE"])
# AVX10 of later processors is made of these; what is named "avx512" is built with whatever of the family its author chose.
_AVX512 = _V4 | frozenset(
    "AVX512_BF16 AVX512_BITALG AVX512_FP16 AVX512_IFMA AVX512_VBMI AVX512_VBMI2 AVX512_VNNI AVX512_VP2INTERSECT "  # noqa: SIM905
    "AVX512_VPOPCNTDQ GFNI VAES VPCLMULQDQ".split()
)

# Every processor with AVX2 has the rest of x86-64-v3 (Intel since Haswell, AMD since Excavator): that is what compilers and
# libraries mean by the word, and how glibc, zstd and BLAS libraries use it.
_WORDS: dict[str, frozenset[str]] = {
    "sse3": frozenset(["SSE3"]),
    "ssse3": frozenset(["SSE3", "SSSE3"]),
    "avx": _AVX,
    "avx2": _V3,
    "fma3": _AVX | {"FMA"},
    "fma4": _AVX | {"FMA4"},
    "xop": _AVX | {"XOP", "FMA4"},
    "f16c": _AVX | {"F16C"},
    "bmi": frozenset(["BMI1"]),
    "bmi1": frozenset(["BMI1"]),
    "bmi2": frozenset(["BMI1", "BMI2", "LZCNT"]),
    "mulx": frozenset(["BMI1", "BMI2"]),
    "mulx4x": frozenset(["BMI1", "BMI2", "ADX"]),
    "mulx4": frozenset(["BMI1", "BMI2", "ADX"]),
    "adx": frozenset(["BMI1", "BMI2", "ADX"]),
    "adcx": frozenset(["BMI2", "ADX"]),
    "mulx8x": frozenset(["BMI1", "BMI2", "ADX"]),
    "lzcnt": frozenset(["LZCNT"]),
    "popcnt": frozenset(["POPCNT"]),
    "movbe": frozenset(["MOVBE"]),
    "aesni": frozenset(["AES", "PCLMULQDQ"]),
    "aes": frozenset(["AES"]),
    "vaes": _V3 | {"AES", "VAES", "VPCLMULQDQ", "PCLMULQDQ"},
    "clmul": frozenset(["PCLMULQDQ"]),
    "pclmul": frozenset(["PCLMULQDQ"]),
    "pclmulqdq": frozenset(["PCLMULQDQ"]),
    "vpclmulqdq": _V3 | {"VPCLMULQDQ", "PCLMULQDQ"},
    "gfni": frozenset(["GFNI"]),
    "shaext": frozenset(["SHA"]),
    "shani": frozenset(["SHA"]),
    "sha_ni": frozenset(["SHA"]),
    "rdrand": frozenset(["RDRAND"]),
    "rdseed": frozenset(["RDSEED"]),
    "rtm": frozenset(["RTM", "HLE_OR_RTM"]),
    "evex": _AVX512,
    "evex512": _AVX512,
    "vnni": _V3 | {"AVX_VNNI"},
    # Processors: GCC's manual, "x86 Options".
    "sandybridge": _AVX | {"AES", "PCLMULQDQ"},
    "ivybridge": _AVX | {"AES", "PCLMULQDQ", "F16C", "RDRAND", "FSGSBASE"},
    "bulldozer": _AVX | {"AES", "PCLMULQDQ", "FMA4", "XOP", "LWP"},
    "piledriver": _AVX | {"AES", "PCLMULQDQ", "FMA4", "XOP", "LWP", "FMA", "F16C", "BMI1", "TBM"},
    "steamroller": _AVX | {"AES", "PCLMULQDQ", "FMA4", "XOP", "LWP", "FMA", "F16C", "BMI1", "TBM"},
    "haswell": _V3 | _CRYPTO - {"ADX", "RDSEED", "SHA"},
    "broadwell": _V3 | _CRYPTO - {"SHA"},
    "skylake": _V3 | _CRYPTO - {"SHA"},
    "excavator": _V3 | {"AES", "PCLMULQDQ", "RDRAND", "FMA4", "XOP", "TBM"},
    **dict.fromkeys(("zen", "zen2", "zen3"), _V3 | _CRYPTO),
    **dict.fromkeys(("skylakex", "skx", "skylake_avx512", "knl", "cascadelake", "cooperlake"), _AVX512 | _CRYPTO),
    **dict.fromkeys(("icelake", "icl", "cannonlake", "tigerlake", "sapphirerapids", "spr"), _AVX512 | _CRYPTO),
    "x86_64_v2": LEVELS["x86-64-v2"].features,
    "x86_64_v3": _V3,
    "x86_64_v4": _V4,
}
# Other architectures: the features are named as the assembler's options name them.
_WORDS |= {
    "lse": frozenset(["lse"]),
    "sve": frozenset(["sve"]),
    "sve2": frozenset(["sve", "sve2"]),
    "sme": frozenset(["sve", "sve2", "sme"]),
    "dotprod": frozenset(["dotprod"]),
    "i8mm": frozenset(["i8mm"]),
    "bf16": frozenset(["bf16"]),
    "power10": frozenset(["power10"]),
    "cpu_power10": frozenset(["power10"]),
    "power11": frozenset(["power10", "power11"]),
    "cpu_power11": frozenset(["power10", "power11"]),
    "z15": frozenset(["z15"]),
    "arch13": frozenset(["z15"]),
    "z16": frozenset(["z15", "z16"]),
    "arch14": frozenset(["z15", "z16"]),
}
_PREFIXED = {
    "avx512": _AVX512,
    "avxifma": _V3 | {"AVX_IFMA"},
    "avx10": _AVX512,
    "znver": _V3 | _CRYPTO,
    "ifma": _AVX512,
}
_MANGLED = re.compile(r"\d+")
_PASSES = frozenset(["part", "constprop", "isra", "cold", "lto_priv", "localalias", "llvm", "resolver", "default"])


def clone_of(name: str) -> str:
    """The feature or processor for which the compiler cloned a function (attributes target and target_clones), or empty."""
    base, dot, rest = name.partition(".")
    if not base or not dot:
        return ""
    for part in rest.split("."):
        word = part.removeprefix("arch_")
        if word not in _PASSES and _features(word):
            return word
    return ""


def promised(name: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """The features a name stands for, and its words that say so."""
    features: frozenset[str] = frozenset()
    said = []
    for word in _words(name):
        if found := _features(word):
            features |= found
            said.append(word)
    return features, tuple(dict.fromkeys(said))


def _features(word: str) -> frozenset[str]:
    if word in _WORDS:
        return _WORDS[word]
    return next(
        (found for prefix, found in _PREFIXED.items() if re.fullmatch(prefix + r"[a-z0-9]*", word)), frozenset()
    )


def _words(name: str) -> Iterator[str]:
    """The words of a name, lower case, and each pair of neighbours: ``sha_ni``, ``x86_64_v3`` are words of several parts."""
    for identifier in _identifiers(name):
        parts = [part for part in re.split(r"[^a-z0-9]+", identifier.lower()) if part]
        yield from parts
        for size in (2, 3):
            yield from ("_".join(parts[i : i + size]) for i in range(len(parts) - size + 1))


def _identifiers(name: str) -> Iterator[str]:
    """The identifiers in a mangled name of C++ or Rust, each written behind its length; of others the name itself."""
    if not name.startswith(("_Z", "_R")):
        yield name
        return
    place = 2
    while match := _MANGLED.search(name, place):
        size = int(match.group()[:6])
        place = match.end() + size
        yield name[match.end() : place].lstrip("_")
