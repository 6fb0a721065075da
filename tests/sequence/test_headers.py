"""Regions in headers: every form, what the length decides, and what looks like a region and is none."""

import pytest

from helixband.sequence.headers import Region, read_headers, unread_region

FORMS = [
    ("chr1:101-200", "."),
    ("chr1:101-200 a peak", "."),
    ("chr1:101..200(+)", "+"),
    ("chr1:100-200", "."),
    ("chr1:100-200(+)", "+"),
    ("chr1:100-200(.)", "."),
    ("peak_7::chr1:100-200(-)", "-"),
    ("peak_7::chr1:100-200", "."),
    ("a peak::chr1:100-200(-)", "-"),
    ("::chr1:100-200", "."),
    ("chr1:100-200(-)::peak_7", "-"),
    ("chr1:101-200:+", "+"),
    ("chr1:101-200:*", "."),
    ("chr1:101-200:-1", "-"),
    ("chr1:101-200|-", "-"),
    ("chr1:101-200/rc", "-"),
    ("chr1(-):101-200", "-"),
    ("chr1:-:101-200", "-"),
    ("chr1:101-200 strand=-", "-"),
    ("chr1:101-200 (-)", "-"),
    ("chr1:101-200_shuffled", "."),
    ("peak_7 chr1:101-200", "."),
    ("peak_7|chr1:101-200|+", "+"),
    ("peak_7:chr1:101-200", "."),
    ("hg38_dna range=chr1:101-200 5'pad=0 3'pad=0 strand=- repeatMasking=none", "-"),
    ("chromosome:GRCh38:chr1:101:200:1", "+"),
    ("ENST1.2 cdna chromosome:GRCh38:chr1:101:200:-1 gene:ENSG1.1", "-"),
    ("chr1:c200-101 Homo sapiens", "-"),
    ("chr1/101-200", "."),
    ("chr1/200-101", "-"),
    ("FBgn1 type=gene; loc=chr1:101..200; ID=FBgn1", "."),
    ("FBgn1 type=gene; loc=chr1:complement(101..200); ID=FBgn1", "-"),
    ("T1 gene=G loc:chr1|101-200|- exons:101-200 segs:1-100", "-"),
    ("T1 gene=G loc:chr1(-)101-200 segs:1-100", "-"),
    ("YAL1C ABC1 SGDID:S1, Chr chr1 from 200-101, Genome Release 64-3-1", "-"),
    ("AT1G1.1 | Symbols: ABC1 | chr1:101-200 REVERSE LENGTH=100", "-"),
    ("chr1_100_200", "."),
    ("chr1_101_200_-", "-"),
    ("chr1-100-200", "."),
    ("peak_7 chr1 100 200 -", "-"),
    ("chr1_101-200:+ YAL1", "+"),
    ("chr1_sliding:101-200", "."),
    ("lcl|chr1_gene_7 [gene=thrL] [location=complement(101..200)] [gbkey=Gene]", "-"),
    ("lcl|chr1_cds_NP_1.1_7 [location=101..200]", "."),
    ("chr1_100-200", "."),
    ("peak_7 chr1 100-200", "."),
    ("chr1,100,200", "."),
    ("chr1/100/200", "."),
    ("chr1:100_200", "."),
    ("chr1:100\u2013200", "."),
    ("peak_7 chr1 start=100 end=200", "."),
    ("peak_7 chrom=chr1;start=100;end=200;strand=-", "-"),
    ("gi|123|ref|chr1|:101-200", "."),
    ("chr1:101-200(rc)", "-"),
    ("chr1+:100-200", "+"),
    ("chr1-:101-200", "-"),
    ("chr1_-:100-200", "-"),
    ("chr1_fwd+:100-200", "+"),
    ("chr1_rev:100-200", "-"),
    ("chr1:-1:101-200", "-"),
    ("+chr1:100-200", "+"),
    ("-_chr1:100-200", "-"),
    ("minus_chr1:100-200", "-"),
    ("peak_7|-|chr1:100-200", "-"),
    ("chr1:-100-200", "-"),
    ("chr1:100-200_rev", "-"),
    ("chr1:100-200 strand=minus", "-"),
    ("chr1_+_100_200", "+"),
    ("chr1-_100_200", "-"),
    ("chr1.-.101.200", "-"),
    ("chr1|-|100|200", "-"),
    ("chr1_rev_100_200", "-"),
    ("peak_7 chr1 - 100 200", "-"),
]


@pytest.mark.parametrize(("header", "strand"), FORMS)
def test_a_region_is_read_in_every_form(header: str, strand: str) -> None:
    assert read_headers([header], lengths=[100]) == [Region("chr1", 100, 200, strand)]
    assert unread_region([header], lengths=[100]) == ""


@pytest.mark.parametrize(
    ("header", "chromosome"),
    [
        ("1+:100-200", "1"),
        ("1_-_100_200", "1"),
        ("NC_000001.11-:100-200", "NC_000001.11"),
        ("HLA-A:100-200", "HLA-A"),
        ("chr1_random:100-200", "chr1_random"),
        ("scaffold_1:100-200", "scaffold_1"),
        ("chr1_forwarded:100-200", "chr1_forwarded"),
    ],
)
def test_a_strand_is_no_part_of_the_chromosome_and_takes_nothing_else_of_it(
    header: str, chromosome: str
) -> None:
    regions = read_headers([header], lengths=[100])
    assert regions is not None and [region.chromosome for region in regions] == [chromosome]


def test_positions_may_have_commas() -> None:
    assert read_headers(["chr1:1,000,001-1,000,100"], [100]) == [Region("chr1", 1_000_000, 1_000_100, ".")]


def test_without_lengths_bedtools_names_count_from_0_and_others_from_1() -> None:
    assert read_headers(["peak::chr1:100-200(+)", "chr1:101-200"]) == [
        Region("chr1", 100, 200, "+"),
        Region("chr1", 100, 200, "."),
    ]
    assert read_headers(["chr1_100_200"]) is None


def test_a_chromosome_cut_short_keeps_its_place() -> None:
    header = "1 dna:chromosome chromosome:GRCh38:1:1:248956422:1 REF"
    assert read_headers([header], lengths=[500]) == [Region("1", 0, 500, "+")]


@pytest.mark.parametrize(
    ("header", "length"),
    [
        ("chr1:100-200", 90),
        ("p::chr1:0-100", 90),
        ("chr1:100-200bp", 100),
        ("chr1:200-101", 100),
        ("chr1_100_200", 90),
        ("chr1-_100_200", 90),
        ("chr1.+.100.200", 90),
        ("chr1:1-500:11-20", 10),
        ("E1 cdna chromosome:A:1:101:900:1", 90),
        ("Y1 SGDID:S1, Chr I from 101-150,161-210, Verified", 100),
        ("T1 loc:chr1|101-900|+ exons:101-150,851-900 segs:1-50,51-100", 100),
        ("F1 loc=3R:join(101..150,851..900);", 100),
    ],
)
def test_a_region_that_its_sequence_refutes_is_told(header: str, length: int) -> None:
    assert read_headers([header], [length]) is None
    why = f"{header!r} looks like a region, but its sequence has {length} bases"
    assert unread_region([header], [length]) == why


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        (["chr1:1-100", "spike-in"], "'chr1:1-100' looks like a region, but 'spike-in' does not"),
        (["spike-in", "chr1:1-100"], "'chr1:1-100' looks like a region, but 'spike-in' does not"),
        (["chr1:0-100", "chr1:1-100"], "some of the regions count from 0, and others from 1"),
        (
            ["p1_chr1:1-100", "p2_chr1:11-110"],
            "each region has a text of its own, as 'p1_chr1', before the chromosome; end it in '::'",
        ),
    ],
)
def test_regions_that_do_not_go_together_are_told(headers: list[str], why: str) -> None:
    assert read_headers(headers, [100, 100]) is None
    assert unread_region(headers, [100, 100]) == why


def test_numbers_as_far_apart_as_the_sequence_is_long_are_told_if_the_form_is_unknown() -> None:
    headers = ["II <100 to 200>", "III <300 to 400>"]
    assert read_headers(headers, [100, 100]) is None
    assert unread_region(headers, [100, 100]) == (
        "'II <100 to 200>' has numbers as far apart as its sequence is long, but in no known form of a "
        "region; write chr:start-end"
    )
    assert unread_region(["II <100 to 200>", "spike-in"], [100, 100]) == ""


@pytest.mark.parametrize(
    "header",
    [
        "",
        "chr1",
        "chr1_KI270706v1_random",
        "1 dna:chromosome",
        "NC_000913.3 Escherichia coli str. K-12 substr. MG1655, complete genome",
        "NODE_1_length_100_cov_5.2",
        "scaffold_230000_len20_cov_13",
        "HLA-A*01:01:01:01 HLA00001 3503 bp",
        "sp|P12345|ABC_HUMAN Beta-1,3-transferase OS=Homo sapiens OX=9606 PE=1 SV=1",
        "gi|563317589|dbj|AB821309.1| Homo sapiens mRNA",
    ],
)
def test_a_name_is_no_region(header: str) -> None:
    assert read_headers([header], lengths=[90]) is None
    assert unread_region([header], lengths=[90]) == ""


def test_a_prefix_that_records_share_is_part_of_the_name() -> None:
    headers = ["hg38.chr1:1-100", "hg38.chr1:51-150"]
    assert read_headers(headers, [100, 100]) == [
        Region("hg38.chr1", 0, 100, "."),
        Region("hg38.chr1", 50, 150, "."),
    ]
