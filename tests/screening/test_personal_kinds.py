"""Each kind of personal data against the conformance suite, with the forms it takes and the look-alikes it must leave alone."""

from __future__ import annotations

import random

import pytest

from penstock.screening.masking import masked
from penstock.screening.personal import PersonalData
from penstock.screening.personal.table import KINDS
from penstock.testing.screening import KindConformance, marked, streamed


class TestEmail(KindConformance):
    kind = "email"
    yes = (
        "write to «bob.jones+x@mail.example.co.uk».",
        "<«a_b@x.io»>",
        "mailto:«müller@bücher.example»",
        "«a@b.xn--p1ai»,«c@d.de»",
    )
    no = ("a @ b", "@handle", "x@y", "user@localhost", "5 @ 3.50 each")


class TestUrl(KindConformance):
    kind = "url"
    yes = (
        "see «https://x.example/a?b=c@d.example#e».",
        "(«http://x.example/a_(b)»)",
        "at «www.x.example/y», ok",
        "«HTTPS://X.EXAMPLE/»",
        "[text](«https://x.example/z»)",
    )
    no = ("readme.md", "http:// nothing", "a://b", "the file www and more")


class TestIban(KindConformance):
    kind = "iban"
    yes = (
        "IBAN «GB82 WEST 1234 5698 7654 32» to other bank",
        "«gb82west12345698765432»",
        "«DE89370400440532013000».",
        "«NO93-8601-1117-947»",
        "«FR14 2004 1010 0505 0001 3M02 606»",
    )
    no = ("GB82 WEST 1234 5698 7654 33", "ZZ82WEST12345698765432", "DE8937040044053201300", "AB12 order")


class TestCard(KindConformance):
    kind = "card"
    yes = (
        "card «4111 1111 1111 1111».",
        "«5500-0000-0000-0004» and «340000000000009»",
        "on 2020 «4111111111111111»",
        "my card «36257583983048» is lost",
    )
    no = ("4111 1111 1111 1112", "1234567890123456", "order 4000000000000", "3.4111111111111111")


class TestCrypto(KindConformance):
    kind = "crypto"
    yes = (
        "send to «1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa»",
        "«bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq».",
        "«0x52908400098527886E0F7030069857D2E4169EE7»",
    )
    no = ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp", "0x1234", "d41d8cd98f00b204e9800998ecf8427e")


class TestSsn(KindConformance):
    kind = "ssn"
    yes = ("SSN: «460-89-9847».", "my social security number is «460899847»", "ssn «460 89 9847»")
    no = ("000-12-3456", "666-12-3456", "123-00-4567", "123-45-0000", "2270-66-1551", "460899847", "460 89 9847")


class TestIp(KindConformance):
    kind = "ip"
    yes = ("from «10.0.0.255».", "|«86.121.97.248»|", "«2001:db8::1» and «::1»", "at «6e40:4041:c617:e898:c11:40d2:c669:2eb4» now")
    no = ("256.1.1.1", "1.2.3", "version 1.2.3.4.5", "std::vector", "12:30:45", "a::b::c", "::")


class TestDate(KindConformance):
    kind = "date"
    yes = (
        "born «4/14/1962».",
        "on «2018-02-24 12:45:18», the",
        "«2018-02-24T12:45:18Z»",
        "«24.12.1999»",
        "«5 March 1980» or «March 5th, 1980»",
        "on the «3rd of May»",
        "due «Jan. 2»",
    )
    no = ("in 1977", "on Sunday", "13/13/2020", "1.2.3", "ratio 3/4", "may 5 people come", "2-3 weeks")


class TestPhone(KindConformance):
    kind = "phone"
    yes = (
        "call «+41 (0)62 585 51 90» today",
        "at «618-226-1460».",
        "me on «(64) 3591-3246»?",
        "«(898)666-3621x0135»",
        "«01.84.17.61.18» rings",
        "phone: «434 14 557»",
        "my number is «9498777106»",
        "«416 60 039» office",
        "«+447700 208 815»-Fax",
    )
    no = (
        "9498777106",
        "years 1990-1995",
        "10 20 30 40 50",
        "3.1415926535",
        "order number 1234567890",
        "call 2 of 3",
        "1,000,000",
        "12345678-90ab",
    )


class TestAge(KindConformance):
    kind = "age"
    yes = ("a «36» year old man", "a «62»-year-old", "I'm «41» y/o", "at the age of «72».", "just turned «47»", "aged «8»")
    no = ("36 years of work", "turned 90 degrees", "page 36", "3.5 years old cheese", "old 36")


class TestPostcode(KindConformance):
    kind = "postcode"
    yes = ("ZIP: «7412 SL»", "my zip code is «76400».", "London «SW1A 1AA»", "Springfield IL «62704-1234»", "postcode «3610-114»")
    no = ("76400", "zip it", "zip file 3", "A1 9ZZZ", "the code is 12345")


class TestAddress(KindConformance):
    kind = "address"
    yes = (
        "lives at «221B Baker Street», London",
        "to «90 Whitchurch Road».",
        "«1 N. Main St Apt 4»",
        "in «Hauptstrasse 12» today",
        "near «Via Roma 131».",
        "«P.O. Box 123»",
        "«Suite 464»",
        "«PSC 3294, Box 9168»",
    )
    no = ("the 2 streets", "5 Apples", "Chapter 3", "take 10 steps down the road", "Suite of rooms", "Box 3")


class TestDocument(KindConformance):
    kind = "document"
    yes = ("driver's license number is «U62928788557186».", "my passport number is «X1234567»", "driving licence: «F162823540116»")
    no = ("the passport office", "driver's license is expired", "a driver with a license", "licence plate 12345")


def test_every_kind_has_its_suite() -> None:
    assert {suite.kind for suite in KindConformance.__subclasses__()} == set(KINDS.rows)


@pytest.mark.parametrize("seed", range(8))
def test_mixed_texts_are_masked_in_a_stream_as_in_one_piece(seed: int) -> None:
    chance, everything = random.Random(seed), PersonalData()
    examples = [marked(text)[0] for suite in KindConformance.__subclasses__() for text in (*suite.yes, *suite.no)]
    for number in range(40):
        between = chance.choice((" ", ". ", ", ", "\n", " and "))
        text = between.join(chance.choice(examples) for _ in range(chance.randint(1, 4)))
        assert streamed(everything, text, number) == masked(text, everything.find(text)), text
