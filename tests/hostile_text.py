"""Texts and JSON documents that break careless readers; the same for every service and reader, in every checkout."""

from __future__ import annotations

import json

# What a person, a scanner or a broken client puts where a word is expected. None of them is a number or a name in use.
TEXTS = [
    # nothing, and what looks like nothing
    "", " ", "\t", "\n", "\r\n", "\x00", "\x0b\x0c", "\u00a0", "\u2003", "\u200b", "\ufeff", "\u2028", "\u2029", "\x85",
    # words of programs
    "null", "None", "undefined", "NaN", "nil", "true", "False", "Infinity", "-Infinity", "[object Object]", "__proto__",
    "constructor", "hasOwnProperty", "__class__", "CON", "nul.txt", "..", "../../../../etc/passwd", "file:///etc/passwd",
    # quotes and escapes of everything a value may be pasted into
    "'", '"', "''", '"""', "'\"'", "\\", "\\\\", "\\'", "\\u0041", "\\x00", "%", "%s%n", "%00", "&amp;", "&#0;", "`id`", "$(id)",
    "${HOME}", "{{7*7}}", "#{7*7}", "{0.__class__}", "<!--", "-->", "]]>", "<![CDATA[", "--", ";", "/*", "*/", "#", "=", "@",
    "' OR 1=1 --", "'; drop table users; --", '"; import os; os.abort() #', "=1+1", "+1", "-1+1", "@SUM(1)", "\t=1",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)", "</title><b>", "[a](javascript:b)",
    "![](http://127.0.0.1:1/x)", "**b**", "|a|b|", "$x^2$", ":red[a]", ":material/home:", "~~a~~", "---\n", "```",
    # letters that are counted, cut or compared wrongly
    "é", "e\u0301", "Å", "ß", "ı", "İ", "ﬁ", "😀", "👩‍👩‍👧‍👦", "🇫🇷", "𝒳", "田中さん", "مرحبا", "שלום", "ไทย", "नमस्ते", "한국어", "Ω≈ç√∫",
    "\u202eabc", "\u2066abc\u2069", "\u200f", "Z\u0351\u036b\u0343a\u0362l\u0349g\u033bo", "\U0010fffd", "\ufffe", "\ue000", "\x1b[31mred\x1b[0m", "\x07",
    "\x7f", "\x08", "a\x00b",
    # numbers that are none
    "1e", "0x", "1_000", "١٢٣x", "1,000.00", "1.2.3", "½", "Ⅷ", "∞", "1/0", "--1", "1e999999x",
    # long ones
    "a" * 3000, "é" * 1500, "😀" * 800, "(" * 2000, "a b " * 700,
]  # fmt: skip

_DEEP = 20_000


def _documents() -> dict[str, bytes]:
    """Documents by what is wrong with them, or what is rare in them."""
    cut = [
        '{"a": 1',
        '{"a":',
        '{"a"',
        "{",
        '["a"',
        "[1,",
        "[",
        '"abc',
        '"\\',
        '"\\u00',
        '"\\ud83d\\u',
        "tru",
        "nul",
        "-",
        "1e",
        "1.",
        "+",
    ]
    wrong = [
        "{a: 1}", "{'a': 1}", "{1: 2}", "{null: 1}", '{"a" 1}', '{"a": 1,}', '{"a": 1 "b": 2}', '{"a": 1}}', "{,}", "{:}",
        "[1,]", "[,1]", "[1 2]", "[1]]", "[1}", "{]", "[,,]", "(1)", "<a/>", "a", "True", "None", "undefined", "NULL", "TRUE",
        "01", "-01", "00", ".5", "-.5", "1.e3", "0x1F", "0b1", "1_000", "+1", "++1", "1e+", "1e1.5", "1-2", "--1", "NaN", "-NaN",
        "Infinity", "-Infinity", "1 2", "1,2", '"a" "b"', "1 // one", "/* */ 1", "# 1", '"\\x41"', '"\\a"', '"\\u00g0"', '"\\U0041"',
        '"a\nb"', '"a\tb"', '"a\x00b"', "\x00", "\x0c1", "\u00a01", "\u20281", "\ufeff1", ";", "1;", "=1",
    ]  # fmt: skip
    rare = [
        "null", "true", "false", "0", "-0", "-0.0", "1e0", "1E+2", "123456789012345678901234567890", "-9223372036854775809",
        "1e308", "-1e308", "1e309", "-1e309", "1e-400", "0.1e-99999999999", "1e99999999999", "9" * 4301, "-" + "9" * 5000, "0." + "1" * 5000,
        '""', '" "', '"\\u0000"', '"\\u2028"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\ud83dx"', '"\\/"', '"\x7f"', '"\u2028"',
        "[]", "{}", "[[]]", "[{}]", '{"": null}', '{"a": 1, "a": 2}', '{"\\u0061": 1, "a": 2}', '{"\\u0000": 0}', '{"\\ud800": 0}', '{"__proto__": {}}',
        " 1 ", "\n[\n]\n", '[null, true, -1.5e-3, "x", {}, []]', "[" + "1," * 3000 + "1]", json.dumps({str(n): n for n in range(2000)}),
        json.dumps("a" * 20_000), json.dumps({"k" * 20_000: 1}),
    ]  # fmt: skip
    bytes_of = {
        "nothing": b"", "a space": b" ", "lone continuation": b'"\x80"', "cut off in a letter": b'"\xe2\x82"', "overlong": b'"\xc0\xaf"',
        "an encoded surrogate": b'"\xed\xa0\x80"', "beyond unicode": b'"\xf4\x90\x80\x80"', "latin-1": b'"\xe9"', "ff": b"\xff", "in a key": b'{"\xff": 1}',
        "utf-16 little": '{"a": "é"}'.encode("utf-16-le"), "utf-16 marked": '["é"]'.encode("utf-16"), "utf-32": "[1]".encode("utf-32"),
        "marked utf-8": b"\xef\xbb\xbf{}", "deep lists": b"[" * _DEEP, "deep lists, closed": b"[" * _DEEP + b"]" * _DEEP,
        "deep objects": b'{"a":' * _DEEP, "deep objects, closed": b'{"a":' * _DEEP + b"1" + b"}" * _DEEP, "deep mixture": b'[{"a":' * (_DEEP // 2),
        "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\xae\x05\x00C\xbf\xa6\xa3\x02\x00\x00\x00", "zeros": b"\x00" * 64,
    }  # fmt: skip
    named = {
        f"{kind}: {text[:30]}": text.encode("utf-8")
        for kind, texts in (("cut", cut), ("wrong", wrong), ("rare", rare))
        for text in texts
    }
    return named | bytes_of


DOCUMENTS = _documents()
