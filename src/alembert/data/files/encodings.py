"""The encoding of a text file: UTF-8, what its first bytes say, or plainly Western European."""

import codecs
import logging
import re
from collections.abc import Iterable
from pathlib import Path

MARKS = {  # the longer ones first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# bytes of Western European texts in Windows-1252, which has all of Latin-1's
_MARKS = rb"\x80\x82\x84\x85\x91-\x97\x99\xa0\xa1\xa3\xa7\xa9-\xab\xae\xb0-\xb5\xb7\xba-\xbf"
_LETTERS = rb"\x8a\x8c\x8e\x9a\x9c\x9e\xc0-\xcf\xd1-\xdc\xdf-\xef\xf1-\xfc\xff"
_WESTERN = re.compile(rb"[\t-\r -~" + _MARKS + _LETTERS + rb"]*")
# in Cyrillic or Greek, words are of such bytes alone, and in Chinese of these and signs; Polish in
# Windows-1250 has the bytes of an oe before a consonant, of a cube before a letter, and of a turned
# question mark after one; the last is half of an emoji
_FOREIGN = re.compile(
    rb"[\xa2-\xaa\xac-\xb6\xb8-\xba\xbc-\xbe\xc0-\xff]{3}|\x9c[wlmprkz]|\xb3[a-z]|[a-z]\xbf"
    rb"|\xed[\xa0-\xbf][\x80-\xbf]"
)
# Czech has the bytes of o with a stroke, which is of Danish, and of letters that Danish lacks
_DANISH, _CZECH = re.compile(rb"\xf8"), re.compile(rb"[\xec\xef\xf2\xf9\x9a\x9e]|[a-z]\xe8")
_BESIDE = re.compile(rb"[A-Za-z][\xc0-\xff]|[\xc0-\xff][A-Za-z]|[" + _MARKS + rb"]")

log = logging.getLogger(__name__)


def encoding_of(head: bytes, path: Path) -> str:
    """The encoding that a file's first four bytes say; else UTF-8, with or without a mark."""
    encoding = next((name for mark, name in MARKS.items() if head.startswith(mark)), None)
    if encoding is None and len(head) == 4 and (head[1::2] == b"\0\0") and all(head[::2]):
        encoding = "utf-16-le"  # ASCII characters, without a mark
    if encoding is None:
        return "utf-8-sig"
    log.info(f"{path}: read as {encoding.upper()}")
    return encoding


def western_as_utf8(content: bytes, path: Path) -> bytes | None:
    """Text in Windows-1252 as UTF-8; None where the text may as well be in another encoding."""
    western = _WESTERN.fullmatch(content) and not _FOREIGN.search(content)
    czech = _DANISH.search(content) and _CZECH.search(content)
    if not western or czech or not _BESIDE.search(content):
        return None
    log.info(
        f"{path}: is not UTF-8 and is read as Windows-1252 (Western European): save it as UTF-8 "
        "if it is in another encoding"
    )
    return content.decode("cp1252").encode()


def not_utf8(lines: Iterable[bytes], path: Path) -> str:
    """The message that locates invalid UTF-8 in the lines of a file, which is read once more."""
    before = 0
    for number, line in enumerate(lines, start=1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            return (
                f"{path}, line {number}: byte {before + error.start} is not UTF-8; "
                "save the file as UTF-8"
            )
        before += len(line)
    return f"{path}: changed while it was read; start again"
