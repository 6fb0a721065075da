"""The region that a FASTA header names, in the forms that common tools write.

    chr1:101-200  chr1:101..200  chr1:1,001-1,200    samtools faidx, GBrowse: from 1, the last base included
    chr1:100-200  name::chr1:100-200                 bedtools getfasta, twoBitToFa: from 0, end-exclusive
    hg38_dna range=chr1:101-200 strand=-             UCSC: from 1
    1 dna:chromosome chromosome:GRCh38:1:101:200:-1  Ensembl: from 1
    NC_000001.11:c200-101  CP000097.1/200-101        NCBI and Rfam: from 1, turned on the − strand
    gene loc=3R:complement(101..200);                FlyBase: from 1
    gene loc:chr1|101-200|-  loc:chr1(-)101-200      gffread: from 1
    YAL001C SGDID:S1, Chr I from 200-101, …          SGD: from 1, turned on the − strand
    NC_000913.3_gene_1 [location=complement(101..200)]  NCBI genes: from 1
    chr1_101-200:+  chr1_sliding:101-200             seqkit subseq and sliding: from 1
    chr1_100_200  chr1-100-200  chr1 100 200         scripts: read only where the length fits
    peak chr1 start=100 end=200  chrom=chr1 start=…  scripts: read only where the length fits

The strand is `(+)`, `:+`, `:-1`, `|+`, `/rc`, `_fwd` and the like behind the region or the chromosome
(`chr1+:101-200`, `chr1_-_100_200`), `+` or `rev_` before the chromosome, or `strand=+` anywhere. Text before
the region (`peak1|`, `loc=`) and behind it (`_shuffled`) is a label. Where a form does not say whether it
counts from 0 or from 1, the length of the sequence does.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

ENOUGH = 1000
"""So many headers tell whether all have a form."""


class Region(NamedTuple):
    """A place on a chromosome: 0-based, end-exclusive; the strand is '+', '-' or '.'."""

    chromosome: str
    start: int
    end: int
    strand: str


class _Claim(NamedTuple):
    """What a header says of its sequence, which the length can refute."""

    chromosome: str
    first: int
    last: int
    strand: str
    counts_from: int
    is_open: bool = False  # whether it can count from 0 as well as from 1
    is_loose: bool = False  # so common in plain names that the length alone makes it a region


POSITION = "([0-9]{1,3}(?:,[0-9]{3}){1,5}|[0-9]{1,18})"

_WORDS = "forward|reverse|fwd|rev|plus|minus|rc"
"""The strand as a word, set off by a separator."""

_PLAIN = re.compile(rf"(?<!\S)(\S+):([-+c]?){POSITION}(?:-|\.\.){POSITION}(?![0-9])(\S*)")
_BEHIND = re.compile(  # a strand, and a label that does not begin with a letter or digit
    rf"(?:\(([-+.*]|rc)\)|[:|,;_/]?([-+*.])(?![0-9A-Za-z])|:(-?1)(?![0-9A-Za-z])|[:|,;_/.-]({_WORDS}))?"
    r"(?![0-9A-Za-z])"
)
_TAGGED = (  # chromosome, strand, first, last, strand
    re.compile(r"(?<!\S)[A-Za-z_]+:[^\s:]+:([^\s:]+)():([0-9]{1,18}):([0-9]{1,18}):(-?1|0)(?!\S)"),
    re.compile(rf"(?<!\S)loc=([^\s:]+):(complement)\({POSITION}\.\.{POSITION}()\)"),
    re.compile(rf"(?<!\S)loc:([^\s|()]+)()\|{POSITION}-{POSITION}\|([-+.])"),
    re.compile(rf"(?<!\S)loc:([^\s|()]+)\(([-+.])\){POSITION}-{POSITION}()"),
    re.compile(rf"\bChr ([^\s,]+)() from {POSITION}-{POSITION}()(?![0-9]|,[0-9])"),
    re.compile(rf"^([^\s/]+)()/{POSITION}-{POSITION}()(?!\S)"),
    re.compile(
        r"(?<!\S)(?:lcl\|)?(\S+?)_(?:gene|cds|[a-z]*rna)_.*\[location=(complement)?\(?"
        rf"{POSITION}\.\.{POSITION}()\)?\]",
        re.IGNORECASE,
    ),
)
_BETWEEN = r"(?:[_.:|,/-]|\s+)"
_LOOSE = (  # chromosome, strand, first, last, strand
    re.compile(
        rf"(?<!\S)(\S+?)(?:{_BETWEEN}\(?([-+.]|{_WORDS})\)?)?{_BETWEEN}([0-9]{{1,18}})(?:{_BETWEEN}|\.\.|\u2013)([0-9]{{1,18}})"
        rf"(?:(?:{_BETWEEN}|\()([-+.])\)?)?(?!\S)"
    ),
    re.compile(
        r"(?:\b(?:chr|chrom|chromosome|contig|seqid)\s*[=:]\s*|(?<!\S)(?=chr))([^\s;,|]+)()"
        r".*?\bstart\s*[=:]\s*([0-9]{1,18})\b.*?\b(?:end|stop)\s*[=:]\s*([0-9]{1,18})\b()",
        re.IGNORECASE,
    ),
)
_LOOKS_SO = tuple(  # each begins with letters of its own, which makes a search among a million headers fast
    map(
        re.compile,
        (
            r":[-+c]?[0-9][0-9,]*(?:-|\.\.)[0-9]",
            r":[0-9]+:[0-9]+:(?:-?1|0)(?!\S)",
            r"/[0-9]+-[0-9]+(?!\S)",
            r"loc[:=]\S+[0-9](?:-|\.\.)[0-9]",
            r"Chr [^\s,]+ from [0-9]+-[0-9]",
            r"chr[0-9A-Za-z]+[-+]?([_.:|-]|[ \t]+)(?:[-+]\1)?[0-9]+\1[0-9]+(?![0-9])",
        ),
    )
)
_STRAND = re.compile(
    rf"\bstrand\s*[=:]\s*([-+]|-?1\b|(?:{_WORDS})\b)|(?<=\s)\(?([-+])\)?(?!\S)|\b(FORWARD|REVERSE)\b"
)
_STRANDS = {sign: "-" for sign in ("-", "-1", "reverse", "rev", "minus", "rc", "complement", "c")}
_STRANDS |= {sign: "+" for sign in ("+", "1", "forward", "fwd", "plus")}
_SIGN = re.compile(rf"\(?([-+])\)?|(-1|{_WORDS})")
_SIGN_BEFORE = re.compile(rf"(?:\(?([-+])\)?[_.:/]?|({_WORDS})[_.:/-])(?=[0-9A-Za-z])(.+)")
_SIGN_BEHIND = re.compile(
    rf"(.*?[^_.:/-])(?:[_.:/-]({_WORDS}))?(?:\(([-+.*])\)|[_.:/]?([-+])|:(\*)|[_.:/](-1))?"
)
_NO_CHROMOSOMES = {"", "exons", "segs"}  # gffread has the latter two before positions within the transcript
_LABELLED = re.compile(r"(.*[^0-9A-Za-z])chr[0-9A-Za-z]+")


def read_headers(headers: Sequence[str], lengths: ArrayLike | None = None) -> list[Region] | None:
    """The regions of headers, or None where one of them has none, or one that does not fit its length.

    `lengths`: of the sequences, integers (N,). Where the form leaves it open, all count from 0 or all from 1.

    >>> read_headers(["peak::chr1:100-200(-)", "chr2:0-50"], lengths=[100, 50])[0]
    Region(chromosome='chr1', start=100, end=200, strand='-')
    """
    for counts_from in (1, 0):
        regions = []
        for header, length in _pairs(headers, lengths):
            region = _read(header, length, counts_from)
            if region is None:
                break
            regions.append(region)
        else:
            return None if _label_before(regions) else regions
    return None


def unread_region(headers: Sequence[str], lengths: ArrayLike) -> str:
    """Why headers that look like regions cannot be read as such, or '' where none looks like one.

    >>> unread_region(["chr1:100-200", "peak2"], lengths=[100, 100])
    "'chr1:100-200' looks like a region, but 'peak2' does not"
    """
    looks_so = _looks_so("\n".join(headers))
    if not (looks_so or _spans_fit(headers, lengths)) or read_headers(headers, lengths) is not None:
        return ""
    if not looks_so:
        return (
            f"{headers[0][:80]!r} has numbers as far apart as its sequence is long, but in no known form "
            "of a region; write chr:start-end"
        )
    regions = []
    for header, length in _pairs(headers, lengths):
        regions.append(_read(header, length, 1) or _read(header, length, 0))
        if regions[-1] is None and _looks_so(header):
            return f"{header[:80]!r} looks like a region, but its sequence has {length} bases"
    if None in regions:
        like = next(filter(_looks_so, headers))
        return f"{like[:80]!r} looks like a region, but {headers[regions.index(None)][:80]!r} does not"
    if label := _label_before([region for region in regions if region]):
        return f"each region has a text of its own, as {label!r}, before the chromosome; end it in '::'"
    return "some of the regions count from 0, and others from 1"


def _looks_so(text: str) -> bool:
    return any(form.search(text) for form in _LOOKS_SO)


def _spans_fit(headers: Sequence[str], lengths: ArrayLike) -> bool:
    """Whether each of the first headers has two numbers in a row that its sequence fits between."""
    first = list(_pairs(headers[:ENOUGH], np.asarray(lengths)[:ENOUGH]))
    for header, length in first:
        numbers = [int(digits) for digits in re.findall("[0-9]{1,18}", header)]
        if not any(end - start in (length, (length or 0) - 1) for start, end in pairwise(numbers)):
            return False
    return bool(first)


def _pairs(headers: Sequence[str], lengths: ArrayLike | None) -> Iterator[tuple[str, int | None]]:
    return zip(
        headers, [None] * len(headers) if lengths is None else np.asarray(lengths).tolist(), strict=True
    )


def _read(header: str, length: int | None, counts_from: int) -> Region | None:
    """The region of a header; `counts_from` is for forms that leave it open, where the length is known."""
    for claim in _claims(header):
        usual = claim.counts_from if length is None or not claim.is_open else counts_from
        start = claim.first - usual
        if length is None:
            if not claim.is_loose:
                return Region(claim.chromosome, start, claim.last, claim.strand)
        elif claim.last - start == length:
            return Region(claim.chromosome, start, claim.last, claim.strand)
        elif start == 0 and header.startswith(f"{claim.chromosome} "):
            return Region(claim.chromosome, 0, length, claim.strand)  # the beginning of the chromosome itself
    return None


def _claims(header: str) -> Iterator[_Claim]:
    """What a header can mean, the likeliest first."""
    if match := _PLAIN.match(header):  # as nearly always, so that a million of them take seconds
        yield from _plain(match)
    for form in _TAGGED:
        for match in form.finditer(header):
            chromosome, before, *numbers, after = match.groups()
            first, last = map(_number, numbers)
            sign = _strand(header, before, after, "-" if first > last else None)
            yield _Claim(chromosome, min(first, last), max(first, last), sign, 1)
    for match in _PLAIN.finditer(header):
        yield from _plain(match)
    for form in _LOOSE:
        for match in form.finditer(header):
            name, between, *numbers, after = match.groups()
            chromosome, before = _chromosome(name)
            first, last = map(_number, numbers)
            if chromosome:
                sign = _strand(header, after, between, before)
                yield _Claim(chromosome, first, last, sign, 1, is_open=True, is_loose=True)


def _plain(match: re.Match[str]) -> Iterator[_Claim]:
    text, turned, *numbers, rest = match.groups()
    chromosome, before = _chromosome(text)
    behind = _BEHIND.match(rest)
    if behind and chromosome not in _NO_CHROMOSOMES:
        first, last = map(_number, reversed(numbers) if turned == "c" else numbers)
        sign = _strand(match.string, *behind.groups(), before, turned)
        yield _Claim(chromosome, first, last, sign, 0 if "::" in text else 1, is_open=True)


def _strand(header: str, *signs: str | None) -> str:
    """The first of these signs that is there, or the one that the header has anywhere, as + - or '.'."""
    sign = next(filter(None, signs), None)
    if sign is None and (named := _STRAND.search(header)):
        sign = next(filter(None, named.groups()))
    return _STRANDS.get((sign or "").lower(), ".")


def _chromosome(text: str) -> tuple[str, str | None]:
    """(chromosome, strand) in the text before a region's positions; '' where that is a region itself."""
    name = text.rsplit("::", 1)[-1].removesuffix("_sliding").rstrip("|")
    if name.isalnum():
        return name, None
    parts = re.split(r"[|;,=>]", name)
    signs = [part.strip("()") for part in parts if _SIGN.fullmatch(part)]
    if len(signs) == len(parts):
        return "", None
    name = [part for part in parts if not _SIGN.fullmatch(part)][-1] or name
    name = re.sub(r".*:(?=chr)", "", name.lstrip("[{"))
    if before := _SIGN_BEFORE.fullmatch(name):
        *found, name = before.groups()
        signs += filter(None, found)
    if behind := _SIGN_BEHIND.fullmatch(name := name.lstrip("(")):
        name, *found = behind.groups()
        signs += filter(None, found)
    return "" if re.search(r":[0-9,]+-[0-9,]+$", name) else name, next(iter(signs), None)


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def _label_before(regions: Sequence[Region]) -> str:
    """The first name with text before `chr`, where every region has one and no two the same."""
    matches = [_LABELLED.match(region.chromosome) for region in regions]
    labels = {match[1] for match in matches if match}
    return regions[0].chromosome if len(labels) == len(regions) > 1 else ""
